package sessions

import (
	"context"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
)

// flight is one create that others of its path share.
type flight struct {
	req     CreateRequest // immutable
	done    chan struct{} // closed when the fields below are final
	session Session
	err     error
}

// Create gives the session of req's identity: the one there is, whatever its kernel, or a new one. A session
// whose kernel has died keeps its id and gets a new kernel. Concurrent creates of one identity all give the
// same session as it was when it was made. Faults: Invalid for a bad field; Unstartable when the kernel does
// not start; Conflict for a kernel id that is taken by a dead kernel; Busy beyond MaxSessions.
func (m *Manager) Create(ctx context.Context, req CreateRequest) (Session, error) {
	req, err := req.complete()
	if err != nil {
		return Session{}, err
	}
	for {
		if s, ok := m.current(req.Path); ok {
			return s, nil
		}
		f, mine := m.board(req)
		if mine {
			m.fly(ctx, f)
			return f.session, f.err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return Session{}, ctx.Err()
		}
		if f.err == nil || f.speaksFor(req) {
			return f.session, f.err
		}
	}
}

// current finds the living session of a path that no delete has begun to end.
func (m *Manager) current(path string) (Session, bool) {
	for _, b := range m.index.at(path) {
		if b.ending {
			continue
		}
		if st, life := m.look(b); life == alive {
			return session(b.row, st), true
		}
	}
	return Session{}, false
}

// board gives the flight of req's path; mine tells whether it is a new one, which the caller must fly.
func (m *Manager) board(req CreateRequest) (f *flight, mine bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.flights[req.Path]; f != nil {
		return f, false
	}
	f = &flight{req: req, done: make(chan struct{})}
	m.flights[req.Path] = f
	return f, true
}

// speaksFor tells whether f's failure would be req's as well: it asked for the same kernel, and did not fail
// because its own client went away.
func (f *flight) speaksFor(req CreateRequest) bool {
	return f.req.KernelID == req.KernelID && f.req.KernelName == req.KernelName &&
		fault.KindOf(f.err) != fault.Canceled && fault.KindOf(f.err) != fault.Timeout
}

func (m *Manager) fly(ctx context.Context, f *flight) {
	f.err = fault.New(fault.Internal, "the create did not end") // should establish panic
	land := func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.flights, f.req.Path)
	}
	defer close(f.done)
	unlock, err := m.locks.lock(ctx, f.req.Path)
	if err != nil {
		land()
		f.err = err
		return
	}
	defer unlock()
	defer land() // before the lock goes: who boards f now gets a session that nothing has changed yet
	f.session, f.err = m.establish(context.WithoutCancel(ctx), f.req)
}

// establish makes the session of a path whose lock the caller holds.
func (m *Manager) establish(ctx context.Context, req CreateRequest) (Session, error) {
	var c Change
	ended := map[string]bool{}
	for _, b := range m.index.at(req.Path) {
		switch st, life := m.look(b); life {
		case alive:
			return session(b.row, st), nil
		case dead, lost:
			ended[b.row.KernelID] = true
			c.Put = append(c.Put, b.row)
		case gone:
			c.Drop = append(c.Drop, b.row.ID)
		}
	}
	if len(c.Put) == 0 {
		if m.index.size() >= m.cfg.MaxSessions && !m.makeRoom(ctx) {
			return Session{}, fault.New(fault.Busy, "the server has %d sessions, its limit", m.cfg.MaxSessions)
		}
		c.Put = []Row{newRow(req, m.index.stamp(time.Now()))}
	}
	for id := range ended { // the Host forgets it, which frees its id, or finishes ending it
		if err := m.host.Shutdown(ctx, id); err != nil && fault.KindOf(err) != fault.NotFound {
			return Session{}, err
		}
	}
	st, own, err := m.start(ctx, c.Put[0], req)
	if err != nil {
		return Session{}, err
	}
	for i := range c.Put {
		c.Put[i].KernelID, c.Put[i].KernelName = st.ID, st.Spec
	}
	if err := m.write(ctx, c); err != nil {
		if own {
			m.retire(ctx, st.ID)
		}
		return Session{}, err
	}
	for _, r := range c.Put {
		m.index.markSeen(r.ID)
	}
	m.log.Info("session created", "session_id", c.Put[0].ID, "kernel_id", st.ID)
	return session(c.Put[0], st), nil
}
