package codeinterpreter

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/nbserv/nbserv/adapters"
	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

// pool is sessions of one configuration. Safe for concurrent use.
type pool struct {
	// immutable
	PoolConfig
	of   *Interpreter
	warm *adapters.Pool
	info info
	born time.Time
	metrics

	mu       sync.Mutex
	sessions map[string]*session // guarded by mu; by identifier, those that are ending too
}

func newPool(i *Interpreter, c PoolConfig) (p *pool, err error) {
	p = &pool{PoolConfig: c, of: i, sessions: map[string]*session{}, born: time.Now()}
	warmup := "pass"
	if c.Shell {
		warmup = ":"
	}
	p.warm = adapters.NewPool(i.host, adapters.PoolConfig{
		Name: "code interpreter " + c.Name, Size: c.Ready, Warmup: warmup, Logger: i.cfg.Logger,
		Prepare: func(context.Context) (kernel.StartOptions, error) { return p.prepare() },
		Discard: p.discard,
		InUse:   p.uses,
	})
	p.metrics, err = newMetrics(i.cfg.Metrics, p)
	return p, err
}

// isolation is how a pool's sessions are confined.
type isolation struct {
	kind string // "bubblewrap", "runtime", "none"
	why  string // for people: why it is none
}

func (p *pool) isolation() isolation {
	switch {
	case p.Isolation == isolationNone:
		return isolation{isolationNone, "the pool is configured so"}
	case len(p.Runtime) > 0:
		return isolation{kind: "runtime"}
	}
	if err := p.of.sandbox(); err != nil {
		return isolation{isolationNone, fault.Message(err)}
	}
	return isolation{kind: isolationBubblewrap}
}

// usable says why the pool serves nobody: it is not confined, and has to be.
func (p *pool) usable() error {
	how := p.isolation()
	switch {
	case how.kind != isolationNone:
		return nil
	case p.Isolation == isolationBubblewrap:
		return coded("PoolNotConfined", fault.New(fault.Unstartable, "the sessions of pool %s cannot be confined: %s", p.Name, how.why))
	case p.of.cfg.Exposed && !p.of.cfg.AllowUnconfined:
		return coded("PoolNotConfined", fault.New(fault.Forbidden, "the sessions of pool %s are not confined (%s), "+
			"so it serves nobody while the server listens beyond loopback; --codeinterpreter-allow-unconfined lets it", p.Name, how.why))
	}
	return nil
}

// announce tells the log at start how the pool is confined.
func (p *pool) announce() {
	if how := p.isolation(); how.kind == isolationNone {
		p.of.cfg.Logger.Warn("sessions of a code interpreter pool are not confined", "pool", p.Name, "reason", how.why, "serves", p.usable() == nil)
	}
}

// uses tells whether a session has a kernel.
func (p *pool) uses(kernelID string) bool {
	return slices.ContainsFunc(p.list(), func(s *session) bool { return s.kernel() == kernelID })
}

// folderName is the length of the names of sessions' folders: UUIDs.
const folderName = 36

func (p *pool) folder(id string) folder {
	return folder{filepath.Join(p.of.cfg.Dir, p.Name, id)}
}

// prepare makes the folder of a new session and gives the options of its kernel.
func (p *pool) prepare() (kernel.StartOptions, error) {
	if err := p.usable(); err != nil {
		return kernel.StartOptions{}, err
	}
	f := p.folder(uuid.NewString())
	if err := p.makeFolder(f); err != nil {
		return kernel.StartOptions{}, err
	}
	return p.startOptions(f), nil
}

// makeFolder makes, or repairs, what a session's kernel needs on the disk.
func (p *pool) makeFolder(f folder) error {
	visible := mount
	if p.isolation().kind == isolationNone {
		visible = f.files()
	}
	return f.make(visible)
}

// startOptions are those of the kernel of a session.
func (p *pool) startOptions(f folder) kernel.StartOptions {
	o := kernel.StartOptions{Spec: p.Kernel, Limits: p.Limits, Env: map[string]string{
		"PYDEVD_DISABLE_FILE_VALIDATION": "1", // debugpy's advice for people with debuggers would be the first stderr
	}}
	for name, value := range p.Env {
		o.Env[name] = value
	}
	if p.isolation().kind == isolationNone {
		o.Cwd, o.Env["HOME"] = f.files(), f.home()
		return o
	}
	o.Sandbox = &kernel.Sandbox{
		Folder: f.files(), Mount: mount, Home: f.home(), ReadOnly: p.ReadOnly, Network: p.Network, Runtime: p.Runtime,
		Hide: append([]string{p.of.cfg.Dir}, p.of.cfg.Hide...), DiskBytes: p.Disk,
	}
	return o
}

// folderOf is the folder that a kernel was started in.
func folderOf(o kernel.StartOptions) folder {
	if o.Sandbox != nil {
		return folder{filepath.Dir(o.Sandbox.Folder)}
	}
	return folder{filepath.Dir(o.Cwd)}
}

// discard removes the folder of a kernel that nobody took.
func (p *pool) discard(o kernel.StartOptions) {
	if err := folderOf(o).remove(); err != nil {
		p.of.cfg.Logger.Warn("cannot remove the folder of a session", "pool", p.Name, "err", err)
	}
}

// list gives the sessions, oldest first, those that are ending too.
func (p *pool) list() []*session {
	p.mu.Lock()
	all := make([]*session, 0, len(p.sessions))
	for _, s := range p.sessions {
		all = append(all, s)
	}
	p.mu.Unlock()
	slices.SortFunc(all, func(a, b *session) int {
		if c := a.created.Compare(b.created); c != 0 {
			return c
		}
		return strings.Compare(a.identifier, b.identifier)
	})
	return all
}

// find gives the session of an identifier, NotFound when there is none.
func (p *pool) find(identifier string) (*session, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.sessions[identifier]; s != nil && !s.isEnding() {
		return s, nil
	}
	return nil, coded("SessionNotFound", fault.New(fault.NotFound, "there is no session %q", identifier))
}

// session gives the session of an identifier, a new one if need be: a ready one, or a folder whose kernel starts when
// there is something to run. It notes that the session is used. Faults: TooMany when the pool is full.
func (p *pool) session(ctx context.Context, identifier string) (*session, error) {
	if err := p.usable(); err != nil {
		return nil, err
	}
	for {
		s, fresh, err := p.claim(identifier)
		if err != nil {
			return nil, err
		}
		if fresh {
			s.begin(context.WithoutCancel(ctx))
		}
		select {
		case <-s.begun:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if s.failed != nil {
			return nil, s.failed
		}
		if s.use() {
			return s, nil
		}
		select { // it is ending: a new one takes its place
		case <-s.gone:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// claim finds a session in the map or puts a new one there, which the caller must begin.
func (p *pool) claim(identifier string) (s *session, fresh bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.sessions[identifier]; s != nil {
		return s, false, nil
	}
	if len(p.sessions) >= p.MaxSessions {
		p.fullPool.Inc()
		return nil, false, coded("SessionPoolFull", fault.New(fault.TooMany, "pool %s has %d sessions, its limit: delete one, or wait until one "+
			"has cooled down", p.Name, p.MaxSessions))
	}
	s = p.newSession(identifier, time.Now().UTC().Truncate(time.Microsecond))
	p.sessions[identifier] = s
	return s, true, nil
}

// forget takes a session that has ended off the map.
func (p *pool) forget(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sessions[s.identifier] == s {
		delete(p.sessions, s.identifier)
	}
}

// sweep ends the sessions that nobody has used for too long, and forgets old executions of the others.
func (p *pool) sweep(ctx context.Context) {
	for _, s := range p.list() {
		if !s.hasBegun() {
			continue
		}
		if err := s.expire(ctx); err != nil {
			p.of.cfg.Logger.Warn("cannot end a session that has cooled down", "pool", p.Name, "err", err)
		}
		s.forgetOld(ctx, p.of.cfg.Keep)
		s.dropLine(2 * p.of.cfg.SweepEvery)
	}
}
