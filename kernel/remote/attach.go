package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/google/uuid"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

// Attach implements kernel.Host.
func (h *Host) Attach(id string, o kernel.AttachOptions) (kernel.Client, error) {
	if err := h.reachable(); err != nil {
		return nil, err
	}
	if o.ClientSession == "" && !o.Observe { // it must have one, or what is for it could not be found again
		o.ClientSession, o.Transient = uuid.NewString(), true
	}
	c := &client{h: h, id: id, o: o}
	c.life, c.end = context.WithCancel(h.ctx)
	ctx, cancel := context.WithTimeout(h.ctx, callTimeout)
	defer cancel()
	if err := c.connect(ctx, o.Since); err != nil {
		c.end()
		var f *fault.Error
		if errors.As(err, &f) {
			return nil, err
		}
		return nil, fault.Wrap(fault.Busy, err, "%s", fault.Message(errAway))
	}
	return c, nil
}

// connect attaches at the kernel host, at the place since.
func (c *client) connect(ctx context.Context, since *kernel.Position) error {
	o := c.o
	o.Since = since
	options, err := json.Marshal(o)
	if err != nil {
		return err
	}
	p, err := c.h.upgrade(ctx, clientPath, url.Values{"id": {c.id}, "options": {string(options)}})
	if err != nil {
		return err
	}
	p.lends = c.o.Borrow
	deadline, _ := ctx.Deadline()
	_ = p.conn.SetReadDeadline(deadline)
	frames, err := p.read(nil)
	_ = p.conn.SetReadDeadline(time.Time{})
	if err == nil {
		err = c.begin(p, frames)
	}
	if err != nil {
		p.close()
	}
	return err
}

// begin takes a stream's first frame and makes the stream the client's.
func (c *client) begin(p *pipe, frames []byte) error {
	kind, payload, rest, _, _ := cutFrame(frames)
	var first attached
	if err := json.Unmarshal(payload, &first); err != nil || kind != frameAttached {
		return fmt.Errorf("%w at the beginning", errFrame)
	}
	if first.Status != nil {
		c.h.cache.put(*first.Status, false)
	}
	c.frames, c.inGap, c.unsaid = rest, false, 0
	c.at = first.Position.Seq
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why != nil {
		return c.why
	}
	c.p, c.position, c.taken, c.said, c.delivered, c.confirmed = p, first.Position, c.at, c.at, c.at, c.at
	for _, m := range c.asked.unsettled() {
		if c.postEntry(frameUnsettled, m) != nil {
			return nil // as below
		}
	}
	for i, h := range c.held {
		h.q.posted()
		if err := p.postBytes(h.frame); err != nil {
			c.held = c.held[i:]
			return nil // it has broken already, which Next will see
		}
		c.heldBytes -= len(h.frame)
	}
	c.held = nil
	return nil
}

// lose gives a broken stream up.
func (c *client) lose(p *pipe) {
	c.mu.Lock()
	if c.p == p {
		c.p = nil
	}
	c.mu.Unlock()
	p.close()
}

// resume attaches again, at the place where the client is.
func (c *client) resume(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(c.life, cancel)
	defer stop()
	since := c.Position()
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := c.h.Await(ctx)
		if err == nil {
			limited, cancel := context.WithTimeout(ctx, callTimeout)
			err = c.connect(limited, &since)
			cancel()
		}
		switch {
		case err == nil:
			return nil
		case c.ended() != nil:
			return c.ended()
		case ctx.Err() != nil:
			return canceled(ctx)
		}
		var f *fault.Error
		if errors.As(err, &f) && f.Kind != fault.Busy && f.Kind != fault.Timeout {
			if f.Kind == fault.NotFound {
				err = fault.New(fault.Gone, "the kernel has ended, with its host")
			}
			return c.finish(err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

func (c *client) ended() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.why
}
