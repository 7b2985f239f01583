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

	"github.com/google/uuid"

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
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
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
	cfg   Config       // immutable
	log   *slog.Logger // immutable
	host  kernel.Host  // immutable
	rows  rows         // immutable
	tasks *tasks       // immutable

	mu       sync.Mutex
	sessions map[string]*session         // by id; guarded by mu
	creating int                         // sessions that are being made; guarded by mu
	pools    map[*runtime]*adapters.Pool // those that run; guarded by mu
	services map[serviceKey]*service     // guarded by mu
	workers  int                         // kernels of services; guarded by mu
	batches  map[string]*batch           // by id; guarded by mu
}

// New makes the Server of what the database and the folder hold.
func New(ctx context.Context, cfg Config, host kernel.Host, db *store.DB) (*Server, error) {
	cfg = cfg.withDefaults()
	s := &Server{
		cfg: cfg, log: cfg.Logger, host: host, rows: rows{db}, tasks: newTasks(),
		sessions: map[string]*session{}, pools: map[*runtime]*adapters.Pool{},
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

// endOrphans ends the kernels that an earlier server had for services, or ahead.
func (s *Server) endOrphans(ctx context.Context) {
	used := map[string]bool{}
	s.mu.Lock()
	for _, x := range s.sessions {
		used[x.row.kernelID] = true
	}
	s.mu.Unlock()
	for _, st := range s.host.List() {
		ours := st.Owner == kernelOwner || strings.HasPrefix(st.Owner, "pool "+poolName)
		if ours && !used[st.ID] {
			if err := s.host.Shutdown(ctx, st.ID); err != nil && fault.KindOf(err) != fault.NotFound {
				s.log.Warn("a kernel of an earlier server was not ended", "kernel_id", st.ID, "err", err)
			}
		}
	}
}

// options are those of a new kernel, with a folder of its own. Its helper finds the folder by the working one.
func (s *Server) options(r *runtime) (kernel.StartOptions, error) {
	dir := s.kernelDir(uuid.NewString())
	if err := makeFolders(dir); err != nil {
		return kernel.StartOptions{}, err
	}
	return kernel.StartOptions{Spec: s.kernelspec(r), Cwd: filepath.Join(dir, "work")}, nil
}

// workerOf is the worker of a kernel that was started with options.
func (s *Server) workerOf(o kernel.StartOptions, r *runtime) *worker {
	return &worker{host: s.host, kernelID: o.ID, runtime: r, dir: filepath.Dir(o.Cwd)}
}

// startWorker starts a kernel and gives it the helper. Where that is impossible the error says why.
func (s *Server) startWorker(ctx context.Context, r *runtime) (*worker, error) {
	o, err := s.options(r)
	if err != nil {
		return nil, err
	}
	o.ID, o.Owner = uuid.NewString(), kernelOwner
	w := s.workerOf(o, r)
	if err := s.launch(ctx, o, w); err != nil {
		s.discard(ctx, w)
		return nil, err
	}
	return w, nil
}

func (s *Server) launch(ctx context.Context, o kernel.StartOptions, w *worker) error {
	if _, err := s.host.Start(ctx, o); err != nil {
		return err
	}
	if err := s.host.Ready(ctx, o.ID); err != nil {
		return err
	}
	if st, err := s.host.Get(o.ID); err != nil || !st.Alive() {
		return errors.Join(fault.New(fault.Unstartable, "%s did not start: %s", w.runtime.name, st.Reason), err)
	}
	return w.inject(ctx)
}

// discard ends a worker that nobody wants.
func (s *Server) discard(ctx context.Context, w *worker) {
	if err := w.end(context.WithoutCancel(ctx)); err != nil {
		s.log.Warn("a kernel was not ended", "kernel_id", w.kernelID, "err", err)
	}
}

// warm takes a worker that was started ahead; nil when there is none.
func (s *Server) warm(ctx context.Context, r *runtime) *worker {
	s.mu.Lock()
	p := s.pools[r]
	s.mu.Unlock()
	if p == nil {
		return nil
	}
	for {
		o, ok := p.Take()
		if !ok {
			return nil
		}
		w := s.workerOf(o, r)
		if _, err := w.call(ctx, request{Op: "names"}); err == nil { // it may have died and been started again
			return w
		}
		s.discard(ctx, w)
	}
}

// keepWarm begins to start workers ahead, once somebody has used a runtime.
func (s *Server) keepWarm(r *runtime) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cfg.WarmSessions == 0 || s.pools[r] != nil {
		return
	}
	p := s.newPool(r)
	s.pools[r] = p
	s.tasks.keep(p.Run)
}

func (s *Server) newPool(r *runtime) *adapters.Pool {
	return adapters.NewPool(s.host, adapters.PoolConfig{
		Name: poolName + strings.ToLower(r.name), Size: s.cfg.WarmSessions, Warmup: r.helper, Logger: s.log,
		Prepare: func(context.Context) (kernel.StartOptions, error) { return s.options(r) },
		Discard: func(o kernel.StartOptions) {
			if err := os.RemoveAll(filepath.Dir(o.Cwd)); err != nil {
				s.log.Warn("the folder of a kernel was not removed", "kernel_id", o.ID, "err", err)
			}
		},
	})
}
