package sessions

import (
	"context"
	"iter"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

// Config says how a Manager works. The zero value is usable.
type Config struct {
	// KernelDir is the absolute folder in which the kernel of an API path starts. nil leaves it to the Host.
	KernelDir func(apiPath string) string
	// MaxSessions bounds the sessions of one server. Beyond it those that lost their kernels with an earlier
	// server make room, oldest first; when all live, a create is Busy. Default 10,000: a list of them is 4 MB.
	MaxSessions int
	Logger      *slog.Logger // default: discards
}

// Manager is the sessions of one server. All methods are safe for concurrent use.
type Manager struct {
	cfg   Config       // immutable
	log   *slog.Logger // immutable
	host  kernel.Host  // immutable
	store Store        // immutable
	index *index       // immutable; has its own lock
	locks pathLocks    // what changes a session holds the lock of its path

	mu      sync.Mutex
	flights map[string]*flight // guarded by mu; creates that have not answered yet, by path
}

// New makes a Manager of the sessions in store.
func New(ctx context.Context, cfg Config, host kernel.Host, store Store) (*Manager, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxSessions == 0 {
		cfg.MaxSessions = 10_000
	}
	rows, err := store.Load(ctx)
	if err != nil {
		return nil, err
	}
	return &Manager{
		cfg: cfg, log: cfg.Logger, host: host, store: store, index: newIndex(rows), flights: map[string]*flight{},
	}, nil
}

// Get gives a session, or NotFound. One whose kernel was shut down is no more.
func (m *Manager) Get(ctx context.Context, id string) (Session, error) {
	b, ok := m.index.get(id)
	if !ok {
		return Session{}, notFound(id)
	}
	st, life := m.look(b)
	if life == gone {
		m.prune(ctx, b)
		return Session{}, notFound(id)
	}
	return session(b.row, st), nil
}

// List gives the sessions that have a kernel, oldest first. One whose kernel ended with an earlier server is
// found by Get, and by the next Create of its identity.
func (m *Manager) List(ctx context.Context) []Session {
	bound := m.index.snapshot()
	all := make([]Session, 0, len(bound))
	for _, b := range bound {
		st, life := m.look(b)
		switch life {
		case gone:
			m.prune(ctx, b)
		case lost: // JupyterLab would join a notebook to the dead kernel instead of asking for a new one
		default:
			all = append(all, session(b.row, st))
		}
	}
	return all
}

// Execute runs code in a session's kernel, as Host.Execute does.
func (m *Manager) Execute(ctx context.Context, id string, req kernel.ExecuteRequest) iter.Seq2[kernel.Entry, error] {
	s, err := m.Get(ctx, id)
	if err != nil {
		return func(yield func(kernel.Entry, error) bool) { yield(kernel.Entry{}, err) }
	}
	return m.host.Execute(ctx, s.Kernel.ID, req)
}

// Interrupt interrupts a session's kernel, as Host.Interrupt does.
func (m *Manager) Interrupt(ctx context.Context, id string) error {
	s, err := m.Get(ctx, id)
	if err != nil {
		return err
	}
	return m.host.Interrupt(ctx, s.Kernel.ID)
}

func session(r Row, st kernel.Status) Session {
	return Session{ID: r.ID, Path: r.Path, Name: r.Name, Type: r.Type, Created: r.Created, Kernel: st}
}

func notFound(id string) error { return fault.New(fault.NotFound, "session %q does not exist", id) }

// life is what became of a session's kernel.
type life uint8

const (
	alive life = iota
	dead       // the Host still shows how it died, or ends it just now
	lost       // it ended with an earlier server, or while there was none; the Host may know how
	gone       // it was shut down or culled, and the session with it
)

// lostReason is shown of a kernel that is lost.
const lostReason = "the kernel ended when the server stopped; create the session again for a new one"

// stateUnknown is what Jupyter's clients show of a kernel they cannot ask.
const stateUnknown = "unknown"

// look asks the Host about a session's kernel.
func (m *Manager) look(b binding) (kernel.Status, life) {
	st, err := m.host.Get(b.row.KernelID)
	switch {
	case err == nil:
		if !b.seen {
			m.index.markSeen(b.row.ID)
		}
		switch {
		case st.Alive():
			return st, alive
		case st.Lost:
			return st, lost
		}
		return st, dead
	case fault.KindOf(err) != fault.NotFound: // a Host that cannot be reached says nothing about its kernels
		return kernel.Status{ID: b.row.KernelID, Spec: b.row.KernelName, LastActivity: b.row.Created,
			ExecutionState: stateUnknown, Reason: fault.Message(err)}, alive
	case b.seen:
		return kernel.Status{}, gone
	}
	return kernel.Status{ID: b.row.KernelID, Spec: b.row.KernelName, LastActivity: b.row.Created,
		ExecutionState: kernel.StateDead, Reason: lostReason}, lost
}

// prune forgets a session whose kernel is gone.
func (m *Manager) prune(ctx context.Context, b binding) {
	if m.forget(ctx, b, gone) {
		m.log.Info("session ended with its kernel", "session_id", b.row.ID, "kernel_id", b.row.KernelID)
	}
}

// makeRoom forgets the oldest session that has lost its kernel, if there is one.
func (m *Manager) makeRoom(ctx context.Context) bool {
	for _, b := range m.index.snapshot() {
		if _, life := m.look(b); life == lost && m.forget(ctx, b, lost) {
			m.log.Warn("session without a kernel forgotten: there are too many", "session_id", b.row.ID)
			m.retire(ctx, b.row.KernelID)
			return true
		}
	}
	return false
}

// forget removes a session of which life is true, unless somebody is changing it just now: they will see.
func (m *Manager) forget(ctx context.Context, b binding, life life) bool {
	unlock, ok := m.locks.tryLock(b.row.Path)
	if !ok {
		return false
	}
	defer unlock()
	now, ok := m.index.get(b.row.ID)
	if !ok || now.row.Path != b.row.Path {
		return false
	}
	if _, l := m.look(now); l != life { // it has got another kernel since
		return false
	}
	if err := m.write(context.WithoutCancel(ctx), Change{Drop: []string{b.row.ID}}); err != nil {
		m.log.Warn("session not removed", "session_id", b.row.ID, "err", err)
		return false
	}
	return true
}

// write makes c durable and then visible.
func (m *Manager) write(ctx context.Context, c Change) error {
	if err := m.store.Apply(ctx, c); err != nil {
		return err
	}
	m.index.commit(c)
	return nil
}

// start starts a kernel for a session, or finds the one that req names. own tells which.
func (m *Manager) start(ctx context.Context, row Row, req CreateRequest) (st kernel.Status, own bool, err error) {
	if st, ok := m.running(req.KernelID); ok {
		return st, false, nil
	}
	o := m.startOptions(row)
	if req.Start != nil {
		o = *req.Start
	}
	o.ID, o.Spec, o.Owner = req.KernelID, req.KernelName, ownerOf(row)
	st, err = m.host.Start(ctx, o)
	if fault.KindOf(err) == fault.Conflict {
		if st, ok := m.running(req.KernelID); ok { // another create of this kernel id was faster
			return st, false, nil
		}
	}
	return st, err == nil, err
}

// startOptions are those of a kernel that works in the folder of its session's path.
func (m *Manager) startOptions(row Row) (o kernel.StartOptions) {
	title := row.Path
	if m.cfg.KernelDir != nil {
		o.Cwd = m.cfg.KernelDir(row.Path)
		if row.Name != "" {
			title = filepath.Join(o.Cwd, row.Name)
		}
	}
	o.Env = map[string]string{"JPY_SESSION_NAME": title} // ipykernel's users read it to learn their notebook
	return o
}

// running finds a living kernel.
func (m *Manager) running(id string) (kernel.Status, bool) {
	if id == "" {
		return kernel.Status{}, false
	}
	st, err := m.host.Get(id)
	return st, err == nil && st.Alive()
}

// retire ends a kernel that no session needs any more.
func (m *Manager) retire(ctx context.Context, kernelID string) {
	if m.index.bound(kernelID) {
		return
	}
	err := m.host.Shutdown(ctx, kernelID)
	if err != nil && fault.KindOf(err) != fault.NotFound {
		m.log.Warn("kernel not shut down", "kernel_id", kernelID, "err", err)
	}
}

// hold takes the locks of a session's path and of the other paths, and gives the session as it is then.
func (m *Manager) hold(ctx context.Context, id string, paths ...string) (binding, func(), error) {
	for {
		b, ok := m.index.get(id)
		if !ok {
			return b, nil, notFound(id)
		}
		unlock, err := m.locks.lock(ctx, append([]string{b.row.Path}, paths...)...)
		if err != nil {
			return b, nil, err
		}
		now, ok := m.index.get(id)
		if ok && now.row.Path == b.row.Path {
			return now, unlock, nil
		}
		unlock() // it was renamed or deleted while we waited
	}
}

func newRow(req CreateRequest, created time.Time) Row {
	return Row{
		ID: uuid.NewString(), Path: req.Path, Name: req.Name, Type: req.Type,
		Created: created,
	}
}

// Notebooks gives the paths of the sessions that a kernel has, oldest first.
func (m *Manager) Notebooks(kernelID string) []string { return m.index.paths(kernelID) }

// Kernels gives the ids of the kernels that the sessions of a path have; all of one path have one.
func (m *Manager) Kernels(path string) []string { return m.index.kernels(path) }
