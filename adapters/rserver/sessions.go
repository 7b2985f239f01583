package rserver

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/nbserv/nbserv/internal/fault"
)

// createSession makes a session for owner, with a snapshot of their own loaded if one is named.
func (s *Server) createSession(ctx context.Context, owner string, req createSessionRequest) (string, error) {
	r, err := parseRuntime(req.RuntimeType)
	if err != nil {
		return "", err
	}
	if len(req.Name) > maxName {
		return "", fault.New(fault.Invalid, `field "name" has more than %d bytes`, maxName)
	}
	var snap snapshotRow
	if req.SnapshotID != "" {
		if snap, err = s.snapshot(ctx, owner, req.SnapshotID); err != nil {
			return "", err
		}
		if snap.runtime != r.name {
			return "", wrongRuntime(snap, r)
		}
	}
	where, err := s.placeOf(owner, r)
	if err != nil {
		return "", err
	}
	if err := s.reserve(); err != nil {
		return "", err
	}
	defer s.unreserve()
	// A client that goes away must not leave half a session.
	return s.openSession(context.WithoutCancel(ctx), owner, req.Name, where, snap)
}

func wrongRuntime(snap snapshotRow, r *runtime) error {
	return fault.New(fault.Invalid, "the snapshot is of %s, it cannot be loaded in %s", snap.runtime, r.name)
}

// reserve counts a session that is to be.
func (s *Server) reserve() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sessions)+s.creating >= s.cfg.MaxSessions {
		return fault.New(fault.Busy, "there are %d sessions, the most there can be: delete one", len(s.sessions))
	}
	s.creating++
	return nil
}

func (s *Server) unreserve() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.creating--
}

func (s *Server) openSession(ctx context.Context, owner, name string, where place, snap snapshotRow) (id string, err error) {
	w := s.warm(ctx, where)
	if w == nil {
		if w, err = s.startWorker(ctx, where); err != nil {
			return "", err
		}
	}
	if snap.id != "" {
		if err := s.loadSnapshot(ctx, w, s.snapshotPath(snap.id), snap.packages); err != nil {
			s.discard(ctx, w)
			return "", err
		}
	}
	row := sessionRow{
		id: uuid.NewString(), owner: owner, name: name, runtime: w.runtime.name, kernelID: w.kernelID, folder: filepath.Base(w.dir),
		created: time.Now().UTC().Truncate(time.Microsecond),
	}
	if err := s.rows.addSession(ctx, row); err != nil {
		s.discard(ctx, w)
		return "", err
	}
	s.mu.Lock()
	s.sessions[row.id] = newSession(s, row, w.runtime)
	s.mu.Unlock()
	s.keepWarm(where)
	s.log.Info("session created", "session_id", row.id, "kernel_id", row.kernelID)
	return row.id, nil
}

// session finds a session of owner's. Another's does not exist for them (S13).
func (s *Server) session(owner, id string) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.sessions[id]
	if x == nil || x.row.owner != owner {
		return nil, sessionNotFound
	}
	return x, nil
}

// listSessions gives owner's sessions, oldest first.
func (s *Server) listSessions(owner string) []sessionModel {
	s.mu.Lock()
	defer s.mu.Unlock()
	var mine []*session
	for _, x := range s.sessions {
		if x.row.owner == owner {
			mine = append(mine, x)
		}
	}
	slices.SortFunc(mine, func(a, b *session) int {
		return cmp.Or(a.row.created.Compare(b.row.created), cmp.Compare(a.row.id, b.row.id))
	})
	models := make([]sessionModel, len(mine))
	for i, x := range mine {
		models[i] = sessionModel{ID: x.row.id, Name: x.row.name, Owner: x.row.owner, RuntimeType: x.row.runtime}
	}
	return models
}

// closeSession deletes a session with all it has. With force, what it is at is interrupted first; without, the kernel is
// told to end and given its time.
func (s *Server) closeSession(ctx context.Context, owner, id string, force bool) error {
	x, err := s.session(owner, id)
	if err != nil {
		return err
	}
	x.mu.Lock()
	again := x.deleted
	x.deleted = true
	x.mu.Unlock()
	if again {
		return sessionNotFound
	}
	ctx = context.WithoutCancel(ctx)
	if err := s.rows.dropSession(ctx, id); err != nil {
		x.mu.Lock()
		x.deleted = false
		x.mu.Unlock()
		return err
	}
	s.mu.Lock()
	delete(s.sessions, id)
	s.mu.Unlock()
	if force {
		if err := x.cancel(ctx); err != nil {
			s.log.Debug("a session that is to be deleted was not interrupted", "session_id", id, "err", err)
		}
	}
	s.log.Info("session deleted", "session_id", id)
	return x.worker.end(ctx)
}

// createSnapshot makes a snapshot of a session.
func (x *session) createSnapshot(ctx context.Context, name string) (string, error) {
	if len(name) > maxName {
		return "", fault.New(fault.Invalid, `field "name" has more than %d bytes`, maxName)
	}
	if err := x.acquire(ctx); err != nil {
		return "", err
	}
	defer x.release()
	s, w := x.srv, x.worker
	workspace := w.ioPath(uuid.NewString())
	defer func() { _ = os.Remove(workspace) }()
	r, err := x.askNow(ctx, request{Op: "save", Path: workspace})
	if err != nil {
		return "", err
	}
	if !r.Success {
		return "", failed("the workspace cannot be saved: %.1000s", r.Error)
	}
	row := snapshotRow{
		id: uuid.NewString(), owner: x.row.owner, name: name, runtime: x.row.runtime, packages: r.Names,
		created: time.Now().UTC().Truncate(time.Microsecond),
	}
	row.size, err = pack(ctx, s.snapshotPath(row.id), w.workDir(), workspace, w.runtime.workspace, s.limits())
	if err != nil {
		return "", err
	}
	if err := s.rows.addSnapshot(ctx, row); err != nil {
		_ = os.Remove(s.snapshotPath(row.id))
		return "", err
	}
	return row.id, nil
}

// load loads a snapshot of the same owner's into the session, over what it has.
func (x *session) load(ctx context.Context, id string) error {
	snap, err := x.srv.snapshot(ctx, x.row.owner, id)
	if err != nil {
		return err
	}
	if snap.runtime != x.row.runtime {
		return wrongRuntime(snap, x.worker.runtime)
	}
	if err := x.acquire(ctx); err != nil {
		return err
	}
	defer x.release()
	return x.settle(ctx, x.srv.loadSnapshot(ctx, x.worker, x.srv.snapshotPath(id), snap.packages))
}

// loadSnapshot puts a snapshot's files and objects into a worker. A kernel that dies of it is errKernel.
func (s *Server) loadSnapshot(ctx context.Context, w *worker, archive string, packages []string) error {
	workspace := w.ioPath(uuid.NewString())
	defer func() { _ = os.Remove(workspace) }()
	if err := unpack(ctx, archive, w.workDir(), workspace, w.runtime.workspace, s.limits()); err != nil {
		return err
	}
	r, err := w.call(ctx, request{Op: "load", Path: workspace, Packages: packages})
	if err == nil && !r.Success {
		err = failed("the snapshot cannot be loaded: %.1000s", r.Error)
	}
	return err
}

// snapshot finds a snapshot of owner's. Another's does not exist for them (S13).
func (s *Server) snapshot(ctx context.Context, owner, id string) (snapshotRow, error) {
	found, err := s.rows.snapshots(ctx, "id = ? AND owner = ?", id, owner)
	if err == nil && len(found) == 0 {
		err = fault.New(fault.NotFound, "the snapshot does not exist")
	}
	if err != nil {
		return snapshotRow{}, err
	}
	return found[0], nil
}

func (s *Server) deleteSnapshot(ctx context.Context, owner, id string) error {
	if _, err := s.snapshot(ctx, owner, id); err != nil {
		return err
	}
	if err := s.rows.dropSnapshot(ctx, id); err != nil {
		return err
	}
	return fault.OS(os.Remove(s.snapshotPath(id)), "the snapshot")
}
