package kerneltest

import (
	"net"
	"sync"
)

const (
	// copyBelow: shorter frames are copied into the batch, longer ones written from where they are.
	copyBelow = 8 << 10
	// blockAbove is how many bytes may wait for a connection's writer before senders wait: enough for a
	// write to carry hundreds of small messages.
	blockAbove = 256 << 10
	// keepSpare bounds the batch buffer kept for the next round.
	keepSpare = 1 << 20
)

// outbox collects what one connection has to send. Its writer takes all of it at once, so a burst costs few
// system calls and a single message is written at once. It is safe for concurrent use by many senders and
// one writer.
type outbox struct {
	hwm int // immutable: messages after which more are dropped; 0 makes senders wait instead

	mu         sync.Mutex
	work, room sync.Cond // of mu

	// guarded by mu
	segments net.Buffers // complete, in order, before tail[mark:]
	tail     []byte      // copied frames and frame headers
	mark     int         // what of tail is in segments already
	spare    []byte      // the previous tail, to be filled again
	bytes    int         // queued, not yet taken
	messages int         // queued or being written
	dropped  int
	draining bool // no more is taken in; the writer ends when all is written
	closed   bool // the writer ends now
}

func newOutbox(hwm int) *outbox {
	o := &outbox{hwm: hwm}
	o.work.L, o.room.L = &o.mu, &o.mu
	return o
}

// push queues one message and reports whether it was taken. The frames may be written after push returned:
// their bytes must not change.
func (o *outbox) push(frames [][]byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.admit() {
		return false
	}
	for i, f := range frames {
		flags := byte(flagMore)
		if i == len(frames)-1 {
			flags = 0
		}
		o.tail = appendFrameHeader(o.tail, flags, len(f))
		o.add(f)
	}
	o.work.Signal()
	return true
}

// pushRaw queues bytes that are no frames.
func (o *outbox) pushRaw(b []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.admit() {
		return false
	}
	o.add(b)
	o.work.Signal()
	return true
}

// admit waits for room or drops, as hwm says, and counts the message. mu is held.
func (o *outbox) admit() bool {
	for o.hwm == 0 && o.bytes >= blockAbove && !o.closed && !o.draining {
		o.room.Wait()
	}
	if o.closed || o.draining {
		return false
	}
	if o.hwm > 0 && o.messages >= o.hwm {
		o.dropped++
		return false
	}
	o.messages++
	return true
}

// add queues b as it is. mu is held.
func (o *outbox) add(b []byte) {
	o.bytes += len(b)
	if len(b) < copyBelow {
		o.tail = append(o.tail, b...)
		return
	}
	o.segments = append(o.segments, o.tail[o.mark:], b)
	o.mark = len(o.tail)
}

// writeTo writes what is queued to conn until the outbox is closed, or drained and empty, or conn fails.
func (o *outbox) writeTo(conn net.Conn) {
	for {
		batch, tail, messages := o.take()
		if batch == nil {
			return
		}
		if _, err := batch.WriteTo(conn); err != nil {
			return
		}
		o.wrote(tail, messages)
	}
}

// take waits for something to write; nil when there is no more to come.
func (o *outbox) take() (batch net.Buffers, tail []byte, messages int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.segments) == 0 && len(o.tail) == 0 && !o.closed && !o.draining {
		o.work.Wait()
	}
	if o.closed || len(o.segments) == 0 && len(o.tail) == 0 {
		return nil, nil, 0
	}
	batch = o.segments
	if len(o.tail) > o.mark {
		batch = append(batch, o.tail[o.mark:])
	}
	tail = o.tail
	o.segments, o.tail, o.mark, o.spare = nil, o.spare, 0, nil
	o.bytes = 0
	o.room.Broadcast()
	return batch, tail, o.messages
}

// wrote says that the messages of a batch are with the operating system. Until then they count for hwm.
func (o *outbox) wrote(tail []byte, messages int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.messages -= messages
	if cap(tail) <= keepSpare {
		o.spare = tail[:0]
	}
}

// drain takes no more and lets the writer finish what is queued.
func (o *outbox) drain() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.draining = true
	o.work.Broadcast()
	o.room.Broadcast()
}

func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.work.Broadcast()
	o.room.Broadcast()
}

func (o *outbox) drops() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.dropped
}
