package kernel

import (
	"bytes"
	"context"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/nbserv/nbserv/internal/fault"
)

// client is one frontend: its place in the journal and its right to send. It implements Client.
type client struct {
	// immutable
	k         *Kernel
	session   string // made up for an anonymous client: what is for it is for nobody else
	anonymous bool   // nobody comes back for its session
	observer  bool
	cur       *cursor
	stop      chan struct{} // closed when the client may no longer read
	executed  atomic.Bool   // it, or a client of its session before it, has sent an execute_request that Departed is about

	why error // what Next and Send return once stop is closed; written before that
}

// away is a client session whose client has gone; its cursor keeps what it has not read for a while.
type away struct {
	cur      *cursor
	since    time.Time
	expiry   *time.Timer
	executed bool
}

// attach makes a client; see AttachOptions.
func (k *Kernel) attach(o AttachOptions) (*client, error) {
	<-k.restored
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.ended:
		return nil, k.hasEnded(fault.Gone)
	case k.stillborn:
		return nil, fault.New(fault.Gone, "the kernel did not start: %s", k.reason)
	}
	if o.Observe {
		c := &client{k: k, observer: true, stop: make(chan struct{}), cur: k.journal.join(&cursor{all: true, confirms: o.Confirm}, o.Since)}
		k.observers[c] = struct{}{}
		return c, nil
	}
	c := &client{k: k, session: o.ClientSession, anonymous: o.Transient, stop: make(chan struct{})}
	if c.session == "" {
		c.session, c.anonymous = uuid.NewString(), true
	}
	before, executed := k.takePlace(c.session)
	c.executed.Store(executed)
	since := o.Since
	if before != nil && since == nil {
		p := k.journal.position(before, true)
		since = &p
	}
	c.cur = k.journal.join(&cursor{to: c.session, confirms: o.Confirm}, since)
	if before != nil {
		k.journal.close(before)
	}
	k.clients[c] = struct{}{}
	k.bySession[c.session] = c
	k.journal.Note(Attached, c.session, nil)
	k.note(changed)
	return c, nil
}

// takePlace ends the client of a session, or forgets that it went away, and returns its cursor, nil if there
// is neither, and whether the session has executed anything. mu is held.
func (k *Kernel) takePlace(session string) (cur *cursor, executed bool) {
	if old := k.bySession[session]; old != nil {
		k.drop(old, ErrTakenOver)
		return old.cur, old.executed.Load()
	}
	if gone := k.away[session]; gone != nil {
		gone.expiry.Stop()
		delete(k.away, session)
		return gone.cur, gone.executed
	}
	return nil, false
}

// forgetAway forgets a client session whose client has gone. mu is held.
func (k *Kernel) forgetAway(session string) {
	cur, _ := k.takePlace(session)
	k.journal.close(cur)
}

// drop stops a client's reading and takes it off the kernel's lists; false if that was done before. mu is held.
func (k *Kernel) drop(c *client, why error) bool {
	_, here := k.clients[c]
	_, watching := k.observers[c]
	switch {
	case here:
		delete(k.clients, c)
		delete(k.bySession, c.session)
	case watching:
		delete(k.observers, c)
	default:
		return false
	}
	c.why = why
	close(c.stop)
	if c.executed.Load() && why != ErrTakenOver {
		k.departed++
	}
	k.note(changed)
	return true
}

func (c *client) Send(m *Message) error {
	select {
	case <-c.stop:
		return c.why
	default:
	}
	if c.observer {
		return fault.New(fault.Invalid, "observers cannot send")
	}
	if m.Header.MsgType == executeRequest && (!c.anonymous || namesCell(m)) {
		c.executed.Store(true)
	}
	return c.k.send(c.session, m)
}

// namesCell tells whether an execute_request says which cell of a notebook it runs, as JupyterLab's do.
func namesCell(m *Message) bool { return bytes.Contains(m.Parts[PartMetadata], []byte(`"cellId"`)) }

func (c *client) Next(ctx context.Context, buf []Entry) (int, error) {
	select {
	case <-c.stop:
		return 0, c.why
	default:
	}
	n, err := c.k.journal.nextBatch(ctx, c.cur, buf, c.stop)
	if n == 0 && err == nil {
		return 0, c.why
	}
	return n, err
}

func (c *client) Confirm(seq uint64) { c.k.journal.confirm(c.cur, seq) }

func (c *client) Position() Position { return c.k.journal.position(c.cur, false) }

// Detach ends the client. Its session may come back and read on: the kernel keeps its place for DetachedTTL.
func (c *client) Detach() {
	k := c.k
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.drop(c, fault.New(fault.Gone, "the client has detached")) {
		return
	}
	if c.observer {
		k.journal.close(c.cur)
		return
	}
	if c.anonymous || k.ended {
		k.journal.close(c.cur)
	} else {
		k.remember(c.session, c.cur, c.executed.Load())
	}
	k.journal.Note(Detached, c.session, nil)
}

// maxAway bounds the client sessions that a kernel remembers: every page load is a new one.
const maxAway = 64

// remember keeps the place of a client that has gone for DetachedTTL. mu is held.
func (k *Kernel) remember(session string, cur *cursor, executed bool) {
	if len(k.away) >= maxAway {
		oldest := ""
		for s, a := range k.away {
			if oldest == "" || a.since.Before(k.away[oldest].since) {
				oldest = s
			}
		}
		k.forgetAway(oldest)
	}
	gone := &away{cur: cur, since: time.Now(), executed: executed}
	gone.expiry = time.AfterFunc(k.cfg.DetachedTTL, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.away[session] == gone {
			k.forgetAway(session)
		}
	})
	k.away[session] = gone
	k.journal.leave(cur)
}

// forgetAllAway forgets all client sessions whose clients have gone. mu is held.
func (k *Kernel) forgetAllAway() {
	for s := range k.away {
		k.forgetAway(s)
	}
}
