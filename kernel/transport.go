package kernel

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-zeromq/zmq4"
	"github.com/go-zeromq/zmq4/transport"
)

// zmq4 reads a header and a body per frame straight from the socket (2–3 system calls), allocates whatever
// length a frame claims, and dials without a deadline. Registered under names of our own, a guardedTransport
// gives it connections that are buffered both ways, whose frames are checked before zmq4 sees them, and
// whose handshake obeys a context.

const (
	// maxFrameBytes bounds one ZMTP frame. A kernel sends a picture or a widget's buffer as one frame;
	// nothing that a browser survives is larger.
	maxFrameBytes = 1 << 30
	// heldFrameBytes is the size from which on a frame is held back until all of it has come: zmq4 allocates what a
	// header claims. It costs a copy of what is larger than most pictures.
	heldFrameBytes = 1 << 20
	// maxWireMessageBytes bounds the frames of one message together.
	maxWireMessageBytes = 2 << 30
	// maxWireFrames bounds the number of frames of one message.
	maxWireFrames = maxPrefixes + 2 + numParts + maxBuffers
	// greetingBytes is the length of a ZMTP 3.x greeting. https://rfc.zeromq.org/spec/23/#framing
	greetingBytes = 64
	// dialRetry is how soon a connection that is refused, or whose socket file is not there yet, is tried
	// again: a kernel binds its sockets some 100 ms after its process started. A failed try costs 10 µs.
	dialRetry = 4 * time.Millisecond
)

// errFrame is the cause of a connection that ends because its peer broke the framing.
var errFrame = errors.New("the peer broke the ZMTP framing")

// ZMTP flag bits. https://rfc.zeromq.org/spec/23/#framing
const (
	flagMore    = 1
	flagLong    = 2
	flagCommand = 4
)

// linkOptions travel in the context of a zmq4 socket to the transport, which puts the connection into link.
type linkOptions struct {
	dial      context.Context // bounds connecting and the handshake; the socket's own context does not
	readSize  int             // buffer sizes, in bytes
	writeSize int
	link      *link
}

type linkKey struct{}

// link is one guarded connection. Reads belong to zmq4's reader goroutine, writes to the socket's writer.
type link struct {
	net.Conn
	r *bufio.Reader
	w *bufio.Writer // guarded by wmu

	wmu  sync.Mutex
	live bool // guarded by wmu: the handshake is over, so writes wait for Flush

	endHandshake func() bool // stops watching the dial context; false when that has cut the connection

	// owned by the reader
	head   int    // bytes of a checked frame header that are still to be read
	held   []byte // what was read of a large frame, header included, and not handed on yet
	body   uint64 // bytes of a body, or of the greeting, that are still to be read
	frames int    // frames of the message under way
	bytes  uint64 // and their bytes
}

func newLink(c net.Conn, o *linkOptions) *link {
	return &link{
		Conn:         c,
		r:            bufio.NewReaderSize(c, o.readSize),
		w:            bufio.NewWriterSize(c, o.writeSize),
		body:         greetingBytes,
		endHandshake: context.AfterFunc(o.dial, func() { _ = c.SetDeadline(time.Unix(1, 0)) }),
	}
}

// Read never crosses a frame's border, so that every header is checked before a byte of it is handed on.
func (l *link) Read(p []byte) (int, error) {
	if l.body == 0 && l.head == 0 {
		if err := l.nextFrame(); err != nil {
			return 0, err
		}
	}
	left := uint64(l.head)
	if l.head == 0 {
		left = l.body
	}
	if uint64(len(p)) > left {
		p = p[:left]
	}
	n, err := l.take(p)
	if l.head > 0 {
		l.head -= n
	} else {
		l.body -= uint64(n)
	}
	return n, err
}

// take reads from what is held back, or from the connection.
func (l *link) take(p []byte) (int, error) {
	if l.held == nil {
		return l.r.Read(p)
	}
	n := copy(p, l.held)
	if l.held = l.held[n:]; len(l.held) == 0 {
		l.held = nil
	}
	return n, nil
}

// hold reads a large frame as it comes, so that no more is allocated than the peer has sent, twice at most.
func (l *link) hold(size uint64) error {
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(l.r, int64(size)))
	if err == nil && uint64(n) < size {
		err = io.ErrUnexpectedEOF
	}
	l.held = b.Bytes()
	return err
}

// nextFrame looks at the next frame's header without consuming it and refuses what is out of bounds.
func (l *link) nextFrame() error {
	b, err := l.r.Peek(2)
	if err != nil {
		return err
	}
	flags, size := b[0], uint64(b[1])
	l.head = 2
	if flags&flagLong != 0 {
		if b, err = l.r.Peek(9); err != nil {
			return err
		}
		l.head, size = 9, binary.BigEndian.Uint64(b[1:])
	}
	if flags&^(flagMore|flagLong|flagCommand) != 0 || size > maxFrameBytes {
		return fmt.Errorf("%w: flags %#x, a frame of %d bytes", errFrame, flags, size)
	}
	l.body = size
	l.frames++
	l.bytes += size
	if l.frames > maxWireFrames || l.bytes > maxWireMessageBytes {
		return fmt.Errorf("%w: a message of %d frames and %d bytes", errFrame, l.frames, l.bytes)
	}
	if flags&flagMore == 0 {
		l.frames, l.bytes = 0, 0
	}
	if size >= heldFrameBytes {
		return l.hold(uint64(l.head) + size)
	}
	return nil
}

// Write keeps p until Flush; during the handshake it goes out at once.
func (l *link) Write(p []byte) (int, error) {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	n, err := l.w.Write(p)
	if err == nil && !l.live {
		err = l.w.Flush()
	}
	return n, err
}

// Flush sends what was written. It blocks while the peer takes nothing, until Close.
func (l *link) Flush() error {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	return l.w.Flush()
}

// ready ends the handshake phase: the dial context no longer matters, and writes are buffered. It reports
// whether the context ended before that.
func (l *link) ready() bool {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	l.live = true
	return l.endHandshake()
}

// guardedTransport is zmq4's view of it.
type guardedTransport struct {
	transport.Transport
	network string
}

var registerTransports = sync.OnceValue(func() error {
	return errors.Join(
		zmq4.RegisterTransport("guarded-tcp", guardedTransport{transport.New("tcp"), "tcp"}),
		zmq4.RegisterTransport("guarded-ipc", guardedTransport{transport.New("unix"), "unix"}),
	)
})

// guardedEndpoint names the guarded transport for an endpoint such as ipc:///run/k-1 or tcp://127.0.0.1:5555.
func guardedEndpoint(ep string) string {
	return "guarded-" + strings.TrimSpace(ep)
}

// Dial connects, trying again while nobody listens yet, until the options' dial context ends.
func (t guardedTransport) Dial(ctx context.Context, _ transport.Dialer, addr string) (net.Conn, error) {
	o, ok := ctx.Value(linkKey{}).(*linkOptions)
	if !ok {
		return nil, errors.New("a guarded transport needs its options in the socket's context")
	}
	var d net.Dialer
	for {
		c, err := d.DialContext(o.dial, t.network, addr)
		switch {
		case err == nil:
			o.link = newLink(c, o)
			return o.link, nil
		case !notYetListening(err):
			return nil, err
		}
		select {
		case <-o.dial.Done():
			return nil, context.Cause(o.dial)
		case <-time.After(dialRetry):
		}
	}
}

func notYetListening(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.EAGAIN) ||
		errors.Is(err, os.ErrDeadlineExceeded) // the context's deadline, a moment before the context knows
}
