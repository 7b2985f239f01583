package remote

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
)

// pipe is a connection that carries frames. One goroutine at a time reads; writes may come from any.
type pipe struct {
	// immutable
	conn  *net.UnixConn
	raw   syscall.RawConn
	lends bool // what read returns may be gone when it is called again

	// owned by the reader
	buf   *[readBuffer]byte // nil while it holds nothing: an idle connection costs no buffer
	r, w  int
	large []byte // the beginning of a frame that buf cannot hold; nil for none
	need  int    // large's size in the end

	wg sync.WaitGroup // the flusher

	// guarded by mu
	mu       sync.Mutex
	queue    [][]byte // what the other side has not taken yet
	queued   int      // bytes in queue
	flushing bool
	broken   error
	closed   bool
}

const (
	// readBuffer is as much as the system's buffers for a unix socket give at once, and holds most pictures.
	readBuffer = 256 << 10
	// maxQueued bounds what waits for a kernel host that does not read, as Conn's queues bound what waits for a
	// kernel.
	maxQueued = 256 << 20
	// sendBuffer is what the system is asked to hold on the way, so that two processes that share a processor take
	// turns less often. Linux gives at most twice net.core.wmem_max.
	sendBuffer = 1 << 20
	// lendFrom is from which size frames are not copied out of a buffer that may be lent: who reads little, and waits
	// long, does not keep the buffer.
	lendFrom = 32 << 10
	// aheadBytes is how much of what follows a large frame is read with it.
	aheadBytes = 4 << 10
	// lingerTime bounds how long an ending connection may still take what was sent.
	lingerTime = time.Second
)

var readBuffers = sync.Pool{New: func() any { return new([readBuffer]byte) }}

// newPipe makes a pipe of conn, from which early was read already.
func newPipe(conn *net.UnixConn, early []byte) (*pipe, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	_ = conn.SetWriteBuffer(sendBuffer) // it works without, too
	p := &pipe{conn: conn, raw: raw}
	if len(early) > 0 {
		p.take()
		p.w = copy(p.buf[:], early)
		if p.w < len(early) {
			return nil, errFrame // more than a reader of net/http or bufio holds
		}
	}
	return p, nil
}

func (p *pipe) take() {
	if p.buf == nil {
		p.buf = readBuffers.Get().(*[readBuffer]byte)
	}
}

// drop gives the buffer back when it holds nothing.
func (p *pipe) drop() {
	if p.buf != nil && p.r == p.w {
		readBuffers.Put(p.buf)
		p.buf, p.r, p.w = nil, 0, 0
	}
}

// read gives the whole frames that have come, at least one, in memory of their own, unless p lends. Before it waits for
// more it calls idle once. The connection's read deadline bounds it; it may be called again after that.
func (p *pipe) read(idle func()) ([]byte, error) {
	for {
		if p.large != nil {
			return p.finishLarge()
		}
		whole, need, err := p.scan()
		switch {
		case err != nil:
			return nil, err
		case whole > 0:
			frames := p.buf[p.r : p.r+whole]
			p.r += whole
			if !p.lends || whole < lendFrom {
				frames = bytes.Clone(frames)
				p.drop()
			}
			return frames, nil
		case need > readBuffer:
			p.beginLarge(need)
			continue
		case p.r > 0:
			p.w = copy(p.buf[:], p.buf[p.r:p.w])
			p.r = 0
		}
		room := readBuffer
		if p.lends && need > lendFrom { // what follows would have to be moved
			room = need + aheadBytes
		}
		if err := p.more(&idle, room); err != nil {
			p.drop()
			return nil, err
		}
	}
}

// scan finds how many bytes of whole frames there are, and how many the one after them needs, as far as is known.
func (p *pipe) scan() (whole, need int, err error) {
	if p.buf == nil {
		return 0, 0, nil
	}
	rest := p.buf[p.r:p.w]
	for {
		_, _, after, ok, err := cutFrame(rest)
		if err != nil {
			return 0, 0, err
		}
		if !ok {
			break
		}
		rest = after
	}
	if len(rest) >= frameHead {
		need = 4 + int(binary.BigEndian.Uint32(rest))
	}
	return p.w - p.r - len(rest), need, nil
}

// more reads what there is, until buf holds limit bytes, waiting for at least one.
func (p *pipe) more(idle *func(), limit int) error {
	var n int
	var err error
	waitErr := p.raw.Read(func(fd uintptr) bool {
		p.take()
		n, err = readAgain(int(fd), p.buf[p.w:min(limit, readBuffer)])
		if !errors.Is(err, syscall.EAGAIN) {
			return true
		}
		p.drop()
		if *idle != nil {
			(*idle)()
			*idle = nil
		}
		return false
	})
	switch {
	case waitErr != nil:
		return waitErr
	case err != nil:
		return err
	case n == 0:
		return io.EOF
	}
	p.w += n
	return nil
}

// readAgain is read(2) that is not interrupted.
func readAgain(fd int, b []byte) (int, error) {
	for {
		n, err := syscall.Read(fd, b)
		if err != syscall.EINTR {
			return n, err
		}
	}
}

// maxTrusted is up to which size a frame's memory is allocated before it has come.
const maxTrusted = 16 << 20

// beginLarge begins with a frame of n bytes, which the buffer cannot hold.
func (p *pipe) beginLarge(n int) {
	p.large = append(make([]byte, 0, min(n, maxTrusted)), p.buf[p.r:p.w]...)
	p.need = n
	p.r = p.w
	p.drop()
}

// finishLarge reads what large needs. After an error it may be called again.
func (p *pipe) finishLarge() ([]byte, error) {
	for len(p.large) < p.need {
		if len(p.large) == cap(p.large) {
			p.large = slices.Grow(p.large, min(len(p.large), p.need-len(p.large)))
		}
		n, err := p.conn.Read(p.large[len(p.large):min(cap(p.large), p.need)])
		p.large = p.large[:len(p.large)+n]
		if err != nil {
			return nil, err
		}
	}
	frame := p.large
	p.large = nil
	return frame, nil
}

// write sends what o holds and waits until the connection has taken it. A pipe is written to by write alone, or by
// post alone.
func (p *pipe) write(o *outbox) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	pieces := net.Buffers(o.pieces())
	_, err := pieces.WriteTo(p.conn)
	return err
}

// errFull says that the other side takes less than is sent.
var errFull = fault.New(fault.Busy, "the kernel host is behind: too much waits for it")

// post sends what o holds without waiting. What the other side does not take at once is queued, and a flusher
// brings it there; beyond maxQueued it is errFull.
func (p *pipe) post(o *outbox) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken != nil {
		return p.broken
	}
	if p.closed {
		return net.ErrClosed
	}
	if p.queued > 0 && p.queued+o.size > maxQueued {
		return errFull
	}
	for _, piece := range o.pieces() {
		if len(p.queue) == 0 && !p.flushing {
			n, err := p.tryWrite(piece)
			if err != nil {
				p.broken = err
				return err
			}
			piece = piece[n:]
		}
		if len(piece) > 0 {
			p.queue = append(p.queue, bytes.Clone(piece))
			p.queued += len(piece)
		}
	}
	if len(p.queue) > 0 && !p.flushing {
		p.flushing = true
		p.wg.Go(p.flush)
	}
	return nil
}

// tryWrite writes as much of b as the connection takes now.
func (p *pipe) tryWrite(b []byte) (written int, err error) {
	waitErr := p.raw.Write(func(fd uintptr) bool {
		for written < len(b) {
			n, e := syscall.Write(int(fd), b[written:])
			switch {
			case e == syscall.EINTR:
				continue
			case e == syscall.EAGAIN:
				return true
			case e != nil:
				err = e
				return true
			}
			written += n
		}
		return true
	})
	if waitErr != nil {
		err = waitErr
	}
	return written, err
}

// flush writes what is queued, and ends when nothing is.
func (p *pipe) flush() {
	for {
		p.mu.Lock()
		queue := net.Buffers(p.queue)
		p.queue, p.queued = nil, 0
		if len(queue) == 0 || p.broken != nil {
			p.flushing = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		if _, err := queue.WriteTo(p.conn); err != nil {
			p.mu.Lock()
			p.broken = err
			p.mu.Unlock()
		}
	}
}

// close ends the connection, once what was posted is written, or after lingerTime. Idempotent.
func (p *pipe) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.conn.SetWriteDeadline(time.Now().Add(lingerTime))
	p.wg.Wait()
	_ = p.conn.Close()
}

// postBytes is post of one frame.
func (p *pipe) postBytes(frame []byte) error {
	o := newOutbox()
	defer o.free()
	o.put(frame)
	return p.post(o)
}
