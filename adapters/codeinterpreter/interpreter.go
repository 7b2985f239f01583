package codeinterpreter

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nbserv/nbserv/adapters"
	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/store"
	"github.com/nbserv/nbserv/kernel"
)

// Interpreter is all pools of one server. Safe for concurrent use.
type Interpreter struct {
	// immutable
	cfg     Config
	exec    adapters.Executor
	host    kernel.Host
	table   table
	pools   map[string]*pool
	names   []string // of the pools, sorted
	sandbox func() error
	work    chan *session // sessions that have got something to do
	stopped chan struct{} // closed when Run has ended
	lost    []*execution  // to be resumed by Run
}

// New makes an Interpreter with the sessions that an earlier server left. db was opened with Schema.
func New(ctx context.Context, cfg Config, exec adapters.Executor, host kernel.Host, db *store.DB) (*Interpreter, error) {
	cfg = cfg.withDefaults()
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fault.OS(err, "the folder of the sessions")
	}
	i := &Interpreter{
		cfg: cfg, exec: exec, host: host, table: table{db}, pools: map[string]*pool{},
		sandbox: sync.OnceValue(cfg.CheckSandbox), work: make(chan *session), stopped: make(chan struct{}),
	}
	for _, c := range cfg.Pools {
		if err := c.Validate(); err != nil {
			return nil, err
		}
		if i.pools[c.Name] != nil {
			return nil, fault.New(fault.Invalid, "there are two pools named %s", c.Name)
		}
		p, err := newPool(i, c.withDefaults())
		if err != nil {
			return nil, err
		}
		i.pools[c.Name] = p
		i.names = append(i.names, c.Name)
	}
	slices.Sort(i.names)
	return i, i.restore(ctx)
}

// restore takes up the sessions and executions of an earlier server, and removes the folders of sessions that it
// had started ahead. Sessions of pools that are gone end now.
func (i *Interpreter) restore(ctx context.Context) error {
	rows, executions, err := i.table.load(ctx)
	if err != nil {
		return err
	}
	byID := map[string]*session{}
	for _, r := range rows {
		p := i.pools[r.pool]
		if p == nil {
			if err := i.table.dropSession(ctx, r.id); err != nil {
				return err
			}
			continue
		}
		s, err := p.restored(r)
		if err != nil {
			i.cfg.Logger.Warn("a code interpreter session cannot be taken up", "session_id", r.id, "err", err)
			if err := i.table.dropSession(ctx, r.id); err != nil {
				return err
			}
			continue
		}
		p.sessions[r.identifier], byID[r.id] = s, s
	}
	for _, r := range executions {
		if s := byID[r.sessionID]; s != nil {
			if e := s.restore(r); !e.state.ended() {
				i.lost = append(i.lost, e)
			}
		}
	}
	return i.sweepFolders(byID)
}

// sweepFolders removes the folders that belong to no session.
func (i *Interpreter) sweepFolders(known map[string]*session) error {
	pools, err := os.ReadDir(i.cfg.Dir)
	if err != nil {
		return fault.OS(err, "the folder of the sessions")
	}
	for _, p := range pools {
		dir := filepath.Join(i.cfg.Dir, p.Name())
		names, err := os.ReadDir(dir)
		if err != nil {
			continue // a file of somebody else's
		}
		for _, n := range names {
			if known[n.Name()] == nil && len(n.Name()) == folderName {
				if err := (folder{filepath.Join(dir, n.Name())}).remove(); err != nil {
					i.cfg.Logger.Warn("cannot remove the folder of a session that is gone", "err", err)
				}
			}
		}
	}
	return nil
}

// Run does what the pools do by themselves, until ctx ends: keep sessions ready, run executions, end what nobody
// uses, take up what an earlier server had begun. It returns when its goroutines are gone; executions that were
// under way are left to the next server.
func (i *Interpreter) Run(ctx context.Context) {
	defer i.dropLines()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(i.stopped)
	for _, name := range i.names {
		p := i.pools[name]
		p.announce()
		wg.Go(func() { p.warm.Run(ctx) })
	}
	for _, e := range i.lost {
		wg.Go(func() { e.session.takeUp(ctx, e) })
	}
	wg.Go(func() { i.sweep(ctx) })
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-i.work:
			wg.Go(func() { s.runQueue(ctx) })
		}
	}
}

func (i *Interpreter) dropLines() {
	for _, p := range i.pools {
		for _, s := range p.list() {
			s.dropLine(0)
		}
	}
}

// sweep looks after sessions and executions that are old.
func (i *Interpreter) sweep(ctx context.Context) {
	tick := time.NewTicker(i.cfg.SweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			for _, name := range i.names {
				i.pools[name].sweep(ctx)
			}
		}
	}
}

// pool finds a pool by its name.
func (i *Interpreter) pool(name string) (*pool, error) {
	if p := i.pools[name]; p != nil {
		return p, nil
	}
	return nil, coded("PoolNotFound", fault.New(fault.NotFound, "there is no pool %.40q, but %s", name, strings.Join(i.names, ", ")))
}

// Usable says why a pool serves nobody: it is not confined, and has to be. nil when it does.
func (i *Interpreter) Usable(name string) error {
	p, err := i.pool(name)
	if err != nil {
		return err
	}
	return p.usable()
}
