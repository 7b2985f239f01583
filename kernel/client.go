package kernel

import (
	"context"
	"sync"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
)

// client is one frontend: its place in the journal and its right to send. It implements Client.
type client struct {
	k       *Kernel
	session string
	cur     *cursor
	stop    chan struct{} // closed when the client may no longer read
	once    sync.Once

	mu  sync.Mutex
	why error // what Next and Send return once stop is closed
}

// away is a client session whose client has gone; its cursor keeps what it has not read for a while.
type away struct {
	cur   *cursor
	since time.Time
}

// attach makes a client; see AttachOptions.
func (k *Kernel) attach(o AttachOptions) (*client, error) {
	k.mu.Lock()
	if k.ended {
		k.mu.Unlock()
		return nil, fault.New(fault.Gone, "the kernel has ended")
	}
	if k.stillborn {
		reason := k.reason
		k.mu.Unlock()
		return nil, fault.New(fault.Gone, "the kernel did not start: %s", reason)
	}
	before := k.bySession[o.ClientSession]
	gone := k.away[o.ClientSession]
	delete(k.away, o.ClientSession)
	c := &client{k: k, session: o.ClientSession, stop: make(chan struct{})}
	k.clients[c] = struct{}{}
	if o.ClientSession != "" {
		k.bySession[o.ClientSession] = c
	}
	k.mu.Unlock()

	since := o.Since
	if before != nil {
		before.end(ErrTakenOver)
		if since == nil {
			p := k.journal.position(before.cur, true)
			since = &p
		}
	}
	if gone != nil {
		if since == nil {
			p := k.journal.position(gone.cur, true)
			since = &p
		}
		defer k.journal.close(gone.cur)
	}
	c.cur = k.journal.open(o.ClientSession, since)
	if before != nil {
		k.journal.close(before.cur)
	}
	return c, nil
}

// end stops the client's reading and takes it off the kernel's list.
func (c *client) end(why error) {
	c.once.Do(func() {
		c.mu.Lock()
		c.why = why
		c.mu.Unlock()
		close(c.stop)
		k := c.k
		k.mu.Lock()
		delete(k.clients, c)
		if k.bySession[c.session] == c {
			delete(k.bySession, c.session)
		}
		k.mu.Unlock()
	})
}

func (c *client) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.why
}

func (c *client) Send(m *Message) error {
	select {
	case <-c.stop:
		return c.reason()
	default:
	}
	return c.k.send(c.session, m)
}

func (c *client) Next(ctx context.Context, buf []Entry) (int, error) {
	select {
	case <-c.stop:
		return 0, c.reason()
	default:
	}
	n, err := c.k.journal.nextBatch(ctx, c.cur, buf, c.stop)
	if n == 0 && err == nil {
		return 0, c.reason()
	}
	return n, err
}

func (c *client) Position() Position { return c.k.journal.position(c.cur, false) }

// Detach ends the client. Its session may come back and read on: the kernel keeps its place for DetachedTTL.
func (c *client) Detach() {
	k := c.k
	k.mu.Lock()
	_, attached := k.clients[c]
	remember := attached && c.session != "" && k.bySession[c.session] == c && !k.ended
	var forgotten []*cursor
	if remember {
		forgotten = k.forgetAway(time.Now())
		k.away[c.session] = &away{cur: c.cur, since: time.Now()}
	}
	k.mu.Unlock()
	c.end(fault.New(fault.Gone, "the client has detached"))
	for _, cur := range forgotten {
		k.journal.close(cur)
	}
	switch {
	case remember:
		k.journal.leave(c.cur)
	case attached:
		k.journal.close(c.cur)
	}
}

// leave ends the client for good: nobody will come back for its session.
func (c *client) leave() {
	c.end(fault.New(fault.Gone, "the client has left"))
	c.k.journal.close(c.cur)
}

// maxAway bounds the client sessions that a kernel remembers: every page load is a new one.
const maxAway = 64

// forgetAway drops the sessions that stayed away too long, and one more when there are too many. mu is held;
// the caller closes the cursors.
func (k *Kernel) forgetAway(now time.Time) []*cursor {
	var drop []*cursor
	oldest := ""
	for s, a := range k.away {
		if now.Sub(a.since) > k.cfg.DetachedTTL {
			drop = append(drop, a.cur)
			delete(k.away, s)
		} else if oldest == "" || a.since.Before(k.away[oldest].since) {
			oldest = s
		}
	}
	if len(k.away) >= maxAway {
		drop = append(drop, k.away[oldest].cur)
		delete(k.away, oldest)
	}
	return drop
}
