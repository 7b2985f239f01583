package adapters

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

// PoolConfig says what a Pool keeps ready.
type PoolConfig struct {
	// Name tells the Pool's kernels from those of others, also under the next server.
	Name string
	// Size is how many kernels are kept ready. 0 keeps none.
	Size int
	// Prepare gives the options of the next kernel, all but its ID, and may make what they name (a folder).
	Prepare func(ctx context.Context) (kernel.StartOptions, error)
	// Discard takes back what Prepare made for a kernel that nobody took. nil for nothing.
	Discard func(kernel.StartOptions)
	// Warmup is code that runs in a kernel before it counts as ready, so that the first real one is fast.
	Warmup string
	// Check looks whether a kernel is what it should be, after its Warmup; one that is not is ended. What is done for
	// the first time takes longer: it does what its user will do first. nil for nothing.
	Check func(ctx context.Context, o kernel.StartOptions) error
	// InUse tells whether a session has a kernel. Kernels of the Pool that an earlier server left and that are
	// not in use are ended when Run begins. nil leaves them.
	InUse func(kernelID string) bool

	// CheckEvery is how often the ready ones are looked at: dead ones are replaced. Default 5 s.
	CheckEvery time.Duration
	// RetryAfter is the pause after a kernel did not start; it doubles up to a minute. Default 1 s.
	RetryAfter time.Duration

	Logger *slog.Logger // default: discards
}

// owner names the Pool to the Host, as who started a kernel.
func (c PoolConfig) owner() string { return "pool " + c.Name }

// maxRetryPause bounds the pause between two attempts to start a kernel.
const maxRetryPause = time.Minute

// Pool keeps kernels that were started ahead, so that a new session need not wait for one. Its kernels are
// kernels of the Host like all others; they end with Run unless somebody took them. Safe for concurrent use.
type Pool struct {
	cfg  PoolConfig    // immutable
	host kernel.Host   // immutable
	wake chan struct{} // holds one token when there may be something to do

	mu    sync.Mutex
	ready []kernel.StartOptions // guarded by mu; oldest first
}

// NewPool makes a Pool that is empty until Run fills it.
func NewPool(host kernel.Host, cfg PoolConfig) *Pool {
	if cfg.CheckEvery <= 0 {
		cfg.CheckEvery = 5 * time.Second
	}
	if cfg.RetryAfter <= 0 {
		cfg.RetryAfter = time.Second
	}
	if cfg.Discard == nil {
		cfg.Discard = func(kernel.StartOptions) {}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Pool{cfg: cfg, host: host, wake: make(chan struct{}, 1)}
}

// Take gives a ready kernel by the options it was started with, ID included; false when none is ready: it never
// waits. The kernel, and what Prepare made for it, is the caller's from then on. To bind it to a session, create
// the session with its ID.
func (p *Pool) Take() (kernel.StartOptions, bool) {
	defer p.nudge() // to replace it, and the dead ones that were passed over
	for _, o := range p.list() {
		if p.alive(o) && p.remove(o.ID) {
			return o, true
		}
	}
	return kernel.StartOptions{}, false
}

// Mark gives o an ID, and the Pool as its owner: a kernel that is started with it and that no session has when the next
// server begins is ended then, as those of the Pool are.
func (p *Pool) Mark(o kernel.StartOptions) kernel.StartOptions {
	o.ID, o.Owner = uuid.NewString(), p.cfg.owner()
	return o
}

// Ready is how many kernels wait to be taken.
func (p *Pool) Ready() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ready)
}

func (p *Pool) list() []kernel.StartOptions {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.ready)
}

// remove takes a kernel off the list; false when somebody else did.
func (p *Pool) remove(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.ready, func(o kernel.StartOptions) bool { return o.ID == id })
	if i < 0 {
		return false
	}
	p.ready = slices.Delete(p.ready, i, i+1)
	return true
}

// alive tells whether a kernel lives, as far as is known: a Host that cannot be reached says nothing about it.
func (p *Pool) alive(o kernel.StartOptions) bool {
	st, err := p.host.Get(o.ID)
	return err == nil && st.Alive() || err != nil && fault.KindOf(err) != fault.NotFound
}

func (p *Pool) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Run fills the Pool, one kernel at a time, and keeps it full until ctx ends. It returns when the kernels that
// nobody took are gone.
func (p *Pool) Run(ctx context.Context) {
	defer p.drain()
	p.endOrphans(ctx)
	pause := time.Duration(0)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-timer.C:
		}
		p.dropDead(ctx)
		if err := p.fill(ctx); err != nil {
			pause = min(max(2*pause, p.cfg.RetryAfter), maxRetryPause)
			p.cfg.Logger.Warn("a kernel was not started ahead", "pool", p.cfg.Name, "retry_after", pause, "err", err)
			timer.Reset(pause)
			continue
		}
		pause = 0
		timer.Reset(p.cfg.CheckEvery)
	}
}

// endOrphans ends what an earlier server started ahead and nobody took.
func (p *Pool) endOrphans(ctx context.Context) {
	if p.cfg.InUse == nil {
		return
	}
	for _, st := range p.host.List() {
		if st.Owner == p.cfg.owner() && !p.cfg.InUse(st.ID) {
			p.shutdown(ctx, st.ID)
		}
	}
}

func (p *Pool) fill(ctx context.Context) error {
	for p.Ready() < p.cfg.Size && ctx.Err() == nil {
		o, err := p.start(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		p.mu.Lock()
		p.ready = append(p.ready, o)
		p.mu.Unlock()
	}
	return nil
}

// start starts a kernel and waits until it is ready.
func (p *Pool) start(ctx context.Context) (o kernel.StartOptions, err error) {
	if o, err = p.cfg.Prepare(ctx); err != nil {
		return o, err
	}
	o = p.Mark(o)
	defer func() {
		if err != nil {
			p.shutdown(context.WithoutCancel(ctx), o.ID)
			p.cfg.Discard(o)
		}
	}()
	if _, err = p.host.Start(ctx, o); err != nil {
		return o, err
	}
	if err = p.host.Ready(ctx, o.ID); err != nil {
		return o, err
	}
	if p.cfg.Warmup != "" {
		if _, err = Collect(p.host.Execute(ctx, o.ID, kernel.ExecuteRequest{Code: p.cfg.Warmup, Silent: true}), Limits{}); err != nil {
			return o, err
		}
	}
	if p.cfg.Check != nil {
		if err = p.cfg.Check(ctx, o); err != nil {
			return o, err
		}
	}
	st, err := p.host.Get(o.ID)
	if err == nil && !st.Alive() {
		err = fault.New(fault.Unstartable, "the kernel died as it started: %s", st.Reason)
	}
	return o, err
}

// dropDead ends and forgets the ready kernels that died.
func (p *Pool) dropDead(ctx context.Context) {
	for _, o := range p.list() {
		if p.alive(o) || !p.remove(o.ID) {
			continue
		}
		p.cfg.Logger.Warn("a kernel that was started ahead has died", "pool", p.cfg.Name, "kernel_id", o.ID)
		p.shutdown(ctx, o.ID)
		p.cfg.Discard(o)
	}
}

// drain ends all that nobody took.
func (p *Pool) drain() {
	var wg sync.WaitGroup
	for _, o := range p.list() {
		if p.remove(o.ID) {
			wg.Go(func() {
				p.shutdown(context.Background(), o.ID)
				p.cfg.Discard(o)
			})
		}
	}
	wg.Wait()
}

func (p *Pool) shutdown(ctx context.Context, id string) {
	if err := p.host.Shutdown(ctx, id); err != nil && fault.KindOf(err) != fault.NotFound {
		p.cfg.Logger.Warn("a kernel of the pool was not ended", "pool", p.cfg.Name, "kernel_id", id, "err", err)
	}
}
