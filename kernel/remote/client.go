package remote

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

const (
	// confirmBytes is after how much a client that reads without a pause says what was delivered.
	confirmBytes = windowBytes / 4
	// maxHeld and maxHeldBytes bound what clients may send while their kernel host is away, as for a kernel that
	// is not ready.
	maxHeld      = 1000
	maxHeldBytes = 64 << 20
)

// held is a frame that waits for the kernel host, and the request in it; nil for none.
type held struct {
	frame []byte
	q     *question
}

// client is a frontend of a kernel in another process. It implements kernel.Client.
type client struct {
	// immutable
	h    *Host
	id   string
	o    kernel.AttachOptions // has a ClientSession, unless it observes
	life context.Context      // ends with Detach, or Host.Close
	end  context.CancelFunc

	// owned by who calls Next
	frames  []byte // whole frames that have come and were not taken yet
	at      uint64 // the number of the last entry that Next returned
	inGap   bool   // since a gap notice: the numbers of what follows it do not grow
	unsaid  int    // bytes that were taken since the last confirmation
	final   error  // nothing follows
	bound   <-chan struct{}
	boundTo *pipe
	unbind  func() bool

	mu        sync.Mutex
	p         *pipe           // guarded by mu; nil while the kernel host is away
	position  kernel.Position // guarded by mu; at, for others
	taken     uint64          // guarded by mu; what Next returned before its last call
	said      uint64          // guarded by mu; of that, what the kernel host was told
	delivered uint64          // guarded by mu; of taken, unless o.Confirm, where the frontend says it
	confirmed uint64          // guarded by mu; what the kernel host was told
	asked     asked           // guarded by mu
	held      []held          // guarded by mu; what waits for it
	heldBytes int             // guarded by mu
	why       error           // guarded by mu; set by Detach
	over      error           // guarded by mu; final, for Send
}

// Send implements kernel.Client.
func (c *client) Send(m *kernel.Message) error {
	switch {
	case c.o.Observe:
		return fault.New(fault.Invalid, "observers cannot send")
	case m.Channel == kernel.IOPub || m.Channel > kernel.Control:
		return fault.New(fault.Invalid, "clients cannot send on the %s channel", m.Channel)
	}
	o := newOutbox()
	defer o.free()
	o.entry(frameMessage, kernel.Entry{Message: m})
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := cmp.Or(c.why, c.over); err != nil {
		return err
	}
	if c.p != nil {
		c.asked.add(m).posted()
		err := c.p.post(o)
		if err == nil {
			return nil
		}
		c.asked.forget(m)
		if errors.Is(err, errFull) {
			return err
		}
	}
	if len(c.held) >= maxHeld || c.heldBytes+o.size > maxHeldBytes {
		return fault.New(fault.Busy, "the kernel host is away, and too many messages wait for it")
	}
	c.held = append(c.held, held{bytes.Join(o.pieces(), nil), c.asked.add(m)})
	c.heldBytes += o.size
	return nil
}

// Next implements kernel.Client. It goes on over the end of a kernel host, when another one has the kernel.
func (c *client) Next(ctx context.Context, buf []kernel.Entry) (int, error) {
	c.take(c.at)
	if c.unsaid >= confirmBytes {
		c.confirm()
	}
	for {
		if c.final != nil {
			return 0, c.final
		}
		n, err := c.entries(buf)
		c.mu.Lock()
		c.position.Seq = c.at
		for _, e := range buf[:n] {
			c.asked.heard(e.Message)
		}
		c.mu.Unlock()
		if n > 0 || err != nil {
			return n, err
		}
		if err := c.fill(ctx); err != nil {
			return 0, err
		}
	}
}

// entries fills buf with the entries that have come, and takes note of the other frames.
func (c *client) entries(buf []kernel.Entry) (n int, err error) {
	for len(c.frames) > 0 {
		kind, payload, rest, _, _ := cutFrame(c.frames)
		switch kind {
		case frameEntry, frameGap:
			if n == len(buf) {
				return n, nil
			}
			if buf[n], err = c.entry(kind, payload); err != nil {
				return n, c.broken(err)
			}
			n++
		case framePosition:
			if c.at, err = decodeNumber(payload); err != nil {
				return n, c.broken(err)
			}
			c.inGap = false
			if n == 0 { // what it stands behind was returned before
				c.take(c.at)
			}
		case frameState:
			s, err := decodeState(payload)
			if err != nil {
				return n, c.broken(err)
			}
			c.h.cache.state(c.id, s)
		case frameRefused, frameEnd:
			if n > 0 {
				return n, nil
			}
			var f wireFault
			if err := json.Unmarshal(payload, &f); err != nil {
				return 0, c.broken(err)
			}
			c.frames, err = rest, f.err()
			if kind == frameEnd {
				c.finish(err)
			}
			return 0, err
		default: // a later version's
		}
		c.unsaid += frameHead + len(payload)
		c.frames = rest
	}
	c.frames = nil
	return n, nil
}

func (c *client) entry(kind frameKind, payload []byte) (e kernel.Entry, err error) {
	if kind == frameGap {
		c.inGap = true
		err = json.Unmarshal(payload, &e)
		return e, err
	}
	e, err = decodeEntry(payload)
	if !c.inGap {
		c.at = e.Seq
	}
	return e, err
}

// broken ends a client whose kernel host breaks the protocol.
func (c *client) broken(err error) error {
	return c.finish(fault.Wrap(fault.Internal, err, "the kernel host's stream is malformed"))
}

// finish notes that nothing follows.
func (c *client) finish(why error) error {
	c.final = why
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = why
	return why
}

// take notes that everything up to seq was taken, and so, unless the frontend says that itself, delivered.
func (c *client) take(seq uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.o.Confirm && c.delivered >= c.position.Seq { // what was passed over was for others
		c.delivered = seq
	}
	c.taken = max(c.taken, seq)
	if !c.o.Confirm {
		c.delivered = c.taken
	}
}

// Confirm implements kernel.Client.
func (c *client) Confirm(seq uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.delivered = max(c.delivered, min(seq, c.position.Seq))
	c.sayDelivered()
}

// confirm tells the kernel host what was taken and delivered.
func (c *client) confirm() {
	c.unsaid = 0
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sayDelivered()
	if c.p == nil || c.said >= c.taken {
		return
	}
	if c.post(frameTaken, c.taken) {
		c.said = c.taken
	}
}

// sayDelivered tells the kernel host what was delivered. mu is held.
func (c *client) sayDelivered() {
	if c.p == nil || c.confirmed == c.delivered {
		return
	}
	if c.post(frameConfirm, c.delivered) {
		c.confirmed = c.delivered
		c.said = max(c.said, c.confirmed)
	}
}

// postEntry sends a message. mu is held.
func (c *client) postEntry(kind frameKind, m *kernel.Message) error {
	o := newOutbox()
	defer o.free()
	o.entry(kind, kernel.Entry{Message: m})
	return c.p.post(o)
}

// post sends a number; false says that the stream has broken. mu is held.
func (c *client) post(kind frameKind, n uint64) bool {
	o := newOutbox()
	defer o.free()
	o.number(kind, n)
	return c.p.post(o) == nil
}

// fill waits for more frames.
func (c *client) fill(ctx context.Context) error {
	c.mu.Lock()
	p, why := c.p, c.why
	c.mu.Unlock()
	if why != nil {
		return why
	}
	if p == nil {
		return c.resume(ctx)
	}
	c.bind(ctx, p)
	frames, err := p.read(c.confirm)
	if err == nil {
		c.frames = frames
		return nil
	}
	if ctx.Err() != nil {
		return canceled(ctx)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) { // of a context before this one
		c.boundTo = nil
		return nil
	}
	c.lose(p)
	return nil
}

// bind makes ctx's end interrupt the reading of p.
func (c *client) bind(ctx context.Context, p *pipe) {
	if c.boundTo == p && c.bound == ctx.Done() {
		return
	}
	if c.unbind != nil {
		c.unbind()
	}
	_ = p.conn.SetReadDeadline(time.Time{})
	c.bound, c.boundTo = ctx.Done(), p
	c.unbind = context.AfterFunc(ctx, func() { _ = p.conn.SetReadDeadline(time.Unix(1, 0)) })
}

func canceled(ctx context.Context) error {
	return fault.Wrap(fault.Canceled, context.Cause(ctx), "no longer waiting for messages")
}

// Position implements kernel.Client.
func (c *client) Position() kernel.Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.position
}

// Detach implements kernel.Client.
func (c *client) Detach() {
	c.mu.Lock()
	if c.why != nil {
		c.mu.Unlock()
		return
	}
	c.sayDelivered()
	c.why = fault.New(fault.Gone, "the client has detached")
	p := c.p
	c.p, c.held = nil, nil
	c.mu.Unlock()
	c.end()
	if p != nil {
		p.close()
	}
}
