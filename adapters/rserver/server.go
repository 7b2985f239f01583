package rserver

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nbserv/nbserv/adapters"
	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/store"
	"github.com/nbserv/nbserv/kernel"
)

// Config says how a Server works.
type Config struct {
	// Dir is the absolute folder for what is kept in files: working folders, snapshots, results of batches.
	Dir string
	// RKernel and PythonKernel are the kernelspecs for the two values of runtimeType. Default "ir", "python3".
	RKernel, PythonKernel string
	// WarmSessions is how many kernels are kept started for the next sessions, of each runtime that was used.
	WarmSessions int
	// MaxWorkers is how many kernels a service may have when nobody has set its pool. Default: 4.
	MaxWorkers int
	// MaxAllWorkers bounds the kernels of all services together. Default 32: R takes 100 MB.
	MaxAllWorkers int
	// MaxSessions bounds the sessions of all. Default 200: R takes 100 MB.
	MaxSessions int
	// MaxFile bounds an uploaded file or object, in bytes. Default 2 GiB.
	MaxFile int64
	// MaxSnapshot bounds what is in a snapshot, unpacked, in bytes. Default 2 GiB.
	MaxSnapshot int64
	// IdleWorkers is how long a service's kernels beyond its pool's initial size may have nothing to do. Default 10 min.
	IdleWorkers time.Duration
	// DrainTime is how long executions may go on when Run is to end. Default 2 s.
	DrainTime time.Duration
	// CheckSandbox says why kernels cannot be confined on this machine, nil when they can. It is asked once. nil: they
	// cannot. The code of accounts is confined to a folder of its own; Admin's is not, for Admin owns the server.
	CheckSandbox func() error
	// AllowUnconfined runs accounts' code with the server's own rights where it cannot be confined, and also where it
	// could. Then whoever has an account can read what the server can.
	AllowUnconfined bool
	// ReadOnly are further paths that confined code sees, such as a library of packages; Hide what it must not see.
	ReadOnly, Hide []string
	// HasKernel tells whether a kernelspec is installed. nil: not asked.
	HasKernel func(name string) bool
	Logger    *slog.Logger // default: discards
}

func (c Config) withDefaults() Config {
	if c.RKernel == "" {
		c.RKernel = "ir"
	}
	if c.PythonKernel == "" {
		c.PythonKernel = "python3"
	}
	if c.MaxWorkers <= 0 {
		c.MaxWorkers = 4
	}
	if c.MaxAllWorkers <= 0 {
		c.MaxAllWorkers = 32
	}
	if c.MaxSessions <= 0 {
		c.MaxSessions = 200
	}
	if c.MaxFile <= 0 {
		c.MaxFile = 2 << 30
	}
	if c.MaxSnapshot <= 0 {
		c.MaxSnapshot = 2 << 30
	}
	if c.IdleWorkers <= 0 {
		c.IdleWorkers = 10 * time.Minute
	}
	if c.DrainTime <= 0 {
		c.DrainTime = 2 * time.Second
	}
	if c.CheckSandbox == nil {
		c.CheckSandbox = func() error { return errors.New("nobody has looked") }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// place is where a kernel runs.
type place struct {
	runtime  *runtime
	confined bool
}

const (
	maxHistory = 10_000 // entries of one session
	maxName    = 256    // bytes of the name of a session or snapshot

	// kernelOwner is who the adapter's kernels are started by, as the Host knows it; those that were started ahead are
	// of the pool poolName and a runtime.
	kernelOwner = "rserver"
	poolName    = "rserver-"
)

// Server is the sessions, snapshots and services of all. Safe for concurrent use.
type Server struct {
	// immutable
	cfg     Config
	log     *slog.Logger
	host    kernel.Host
	rows    rows
	tasks   *tasks
	sandbox func() error // CheckSandbox, once
	orphans []string     // kernels of an earlier server that nobody wants

	mu       sync.Mutex
	sessions map[string]*session      // by id; guarded by mu
	creating int                      // sessions that are being made; guarded by mu
	pools    map[place]*adapters.Pool // those that run; guarded by mu
	services map[serviceKey]*service  // guarded by mu
	workers  int                      // kernels of services; guarded by mu
	batches  map[string]*batch        // by id; guarded by mu
}

// New makes the Server of what the database and the folder hold.
func New(ctx context.Context, cfg Config, host kernel.Host, db *store.DB) (*Server, error) {
	cfg = cfg.withDefaults()
	s := &Server{
		cfg: cfg, log: cfg.Logger, host: host, rows: rows{db}, tasks: newTasks(),
		sessions: map[string]*session{}, pools: map[place]*adapters.Pool{},
		sandbox:  sync.OnceValue(cfg.CheckSandbox),
		services: map[serviceKey]*service{}, batches: map[string]*batch{},
	}
	for _, sub := range []string{"kernels", "snapshots", "services", "batches"} {
		if err := os.MkdirAll(filepath.Join(cfg.Dir, sub), 0o700); err != nil {
			return nil, fault.OS(err, "the R Server's folder")
		}
	}
	if err := s.loadSessions(ctx); err != nil {
		return nil, err
	}
	if err := s.loadServices(ctx); err != nil {
		return nil, err
	}
	if err := s.loadBatches(ctx); err != nil {
		return nil, err
	}
	s.findOrphans()
	return s, s.sweep(ctx)
}

func (s *Server) kernelDir(folder string) string { return filepath.Join(s.cfg.Dir, "kernels", folder) }
func (s *Server) snapshotPath(id string) string {
	return filepath.Join(s.cfg.Dir, "snapshots", id+".zip")
}
func (s *Server) servicePath(file string) string {
	return filepath.Join(s.cfg.Dir, "services", file+".zip")
}
func (s *Server) batchDir(id string) string { return filepath.Join(s.cfg.Dir, "batches", id) }

func (s *Server) kernelspec(r *runtime) string {
	if r == runtimePython {
		return s.cfg.PythonKernel
	}
	return s.cfg.RKernel
}

func (s *Server) limits() archiveLimits { return archiveLimits{maxFiles, s.cfg.MaxSnapshot} }

func (s *Server) loadSessions(ctx context.Context) error {
	all, err := s.rows.sessions(ctx)
	if err != nil {
		return err
	}
	for _, row := range all {
		r, err := parseRuntime(row.runtime)
		if err != nil {
			return err
		}
		s.sessions[row.id] = newSession(s, row, r)
	}
	return nil
}

// sweep removes the files that nothing in the database names: of what was cut off before it was kept, or deleted.
func (s *Server) sweep(ctx context.Context) error {
	keep := map[string]bool{}
	for _, x := range s.sessions {
		keep[s.kernelDir(x.row.folder)] = true
	}
	for _, x := range s.services {
		keep[s.servicePath(x.row.file)] = true
	}
	for id := range s.batches {
		keep[s.batchDir(id)] = true
	}
	snapshots, err := s.rows.snapshots(ctx, "1")
	if err != nil {
		return err
	}
	for _, x := range snapshots {
		keep[s.snapshotPath(x.id)] = true
	}
	for _, sub := range []string{"kernels", "snapshots", "services", "batches"} {
		entries, err := os.ReadDir(filepath.Join(s.cfg.Dir, sub))
		if err != nil {
			return fault.OS(err, "the R Server's folder")
		}
		for _, e := range entries {
			path := filepath.Join(s.cfg.Dir, sub, e.Name())
			if keep[path] {
				continue
			}
			if err := os.RemoveAll(path); err != nil {
				s.log.Warn("a leftover was not removed", "path", e.Name(), "err", err)
			}
		}
	}
	return nil
}

// Run does what goes on without a request: kernels that are started ahead, pools of services, batches. When ctx ends it
// takes no more work, lets what is under way go on for DrainTime, ends the kernels that are nobody's, and returns.
func (s *Server) Run(ctx context.Context) {
	s.endOrphans(ctx)
	s.resumePools()
	s.resumeBatches()
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(s.cfg.DrainTime, cancel) })
	defer stop()
	s.tasks.keep(s.keepPools)
	s.tasks.run(ctx, work)
	s.closePools()
}

// findOrphans remembers the kernels that an earlier server had for services, or ahead. Those that this one starts are none:
// nobody has been served yet.
func (s *Server) findOrphans() {
	used := map[string]bool{}
	for _, x := range s.sessions {
		used[x.row.kernelID] = true
	}
	for _, st := range s.host.List() {
		ours := st.Owner == kernelOwner || strings.HasPrefix(st.Owner, "pool "+poolName)
		if ours && !used[st.ID] {
			s.orphans = append(s.orphans, st.ID)
		}
	}
}

func (s *Server) endOrphans(ctx context.Context) {
	for _, id := range s.orphans {
		if err := s.host.Shutdown(ctx, id); err != nil && fault.KindOf(err) != fault.NotFound {
			s.log.Warn("a kernel of an earlier server was not ended", "kernel_id", id, "err", err)
		}
	}
}
