package kernel

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"maps"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/nbserv/nbserv/internal/fault"
)

// Manager runs kernels in this process. It implements Host.
type Manager struct {
	// immutable
	cfg     Config // as it began; set is what is in force
	prov    Provisioner
	metrics *metrics
	wg      sync.WaitGroup // the culler's shutdowns

	set     atomic.Pointer[settings]
	changed chan struct{} // holds a token when set was replaced

	watchers watchers
	budget   *Budget

	mu      sync.Mutex // guards the rest
	kernels map[string]*Kernel
	started uint64
	waiting bool   // for Recover
	marks   string // how the marks of all processes begin; set by Recover
	closed  bool
}

// settings are how kernels are run that are started from now on, and when kernels are culled.
type settings struct {
	Config
	specs *Specs
}

// NewManager makes a Manager without kernels. With a Config.StateDir it waits for Recover before it does anything:
// until then, calls are Busy. Its metrics are registered with reg; nil keeps them to itself.
func NewManager(cfg Config, specs *Specs, prov Provisioner, reg prometheus.Registerer) *Manager {
	m := &Manager{
		cfg: cfg.withDefaults(), prov: prov, changed: make(chan struct{}, 1),
		kernels: make(map[string]*Kernel), waiting: cfg.StateDir != "",
	}
	m.set.Store(&settings{m.cfg, specs})
	m.budget = NewBudget(m.cfg.JournalsBytes, m.cfg.Logger)
	m.metrics = newMetrics(reg, m)
	return m
}

// Configure changes how kernels are run that are started from now on, how many there may be, and when kernels are
// culled. Kernels that there are keep the rest of what they were started with. StateDir, JournalsBytes and Logger
// cannot be changed.
func (m *Manager) Configure(cfg Config, specs *Specs) {
	cfg.StateDir, cfg.JournalsBytes, cfg.Logger = m.cfg.StateDir, m.cfg.JournalsBytes, m.cfg.Logger
	m.set.Store(&settings{cfg.withDefaults(), specs})
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// idPattern is what a client may choose as a kernel's id: it becomes part of paths and URLs.
var idPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)

// Start implements Host.
func (m *Manager) Start(ctx context.Context, o StartOptions) (Status, error) {
	if o.ID == "" {
		o.ID = uuid.NewString()
	}
	if !idPattern.MatchString(o.ID) {
		return Status{}, fault.New(fault.Invalid, "a kernel's id is 1 to 64 letters, digits, - and _")
	}
	if err := o.Limits.Validate(); err != nil {
		return Status{}, err
	}
	k, err := m.add(o)
	if err != nil {
		return Status{}, err
	}
	if err := k.begin(ctx); err != nil {
		m.remove(k)
		return Status{}, err
	}
	k.announce()
	m.metrics.started.Inc()
	return k.Status(), nil
}

// add reserves the id.
func (m *Manager) add(o StartOptions) (*Kernel, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return nil, fault.New(fault.Busy, "the server is stopping")
	case m.waiting:
		return nil, errRecovering
	case m.kernels[o.ID] != nil:
		return nil, fault.New(fault.Conflict, "a kernel with id %s runs already", o.ID)
	}
	if most := m.set.Load().MaxKernels; most > 0 && m.taken() >= most {
		return nil, fault.New(fault.Busy, "%d kernels run already, which is the limit", most)
	}
	m.started++
	k := newKernel(m, o, m.started)
	m.kernels[o.ID] = k
	return k, nil
}

// taken counts the kernels that are not lost. mu is held.
func (m *Manager) taken() int {
	n := 0
	for _, k := range m.kernels {
		if !k.isLost() {
			n++
		}
	}
	return n
}

func (m *Manager) remove(k *Kernel) {
	m.mu.Lock()
	if m.kernels[k.id] == k {
		delete(m.kernels, k.id)
	}
	m.mu.Unlock()
	k.note(removed)
}

// kernel finds a kernel by its id.
func (m *Manager) kernel(id string) (*Kernel, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k := m.kernels[id]; k != nil {
		return k, nil
	}
	if m.waiting {
		return nil, errRecovering
	}
	return nil, NoKernel(id)
}

// NoKernel is the NotFound of every Host for an id that it does not have.
func NoKernel(id string) error {
	return fault.New(fault.NotFound, "Kernel does not exist: %s", printable(id))
}

// printable bounds and cleans what a client sent before it is shown.
func printable(s string) string {
	if idPattern.MatchString(s) {
		return s
	}
	return "(not a kernel id)"
}

// Get implements Host.
func (m *Manager) Get(id string) (Status, error) {
	k, err := m.kernel(id)
	if err != nil {
		return Status{}, err
	}
	return k.Status(), nil
}

// List implements Host.
func (m *Manager) List() []Status {
	all := m.all()
	list := make([]Status, len(all))
	for i, k := range all {
		list[i] = k.Status()
	}
	return list
}

// all lists the kernels by their start.
func (m *Manager) all() []*Kernel {
	m.mu.Lock()
	list := slices.Collect(maps.Values(m.kernels))
	m.mu.Unlock()
	slices.SortFunc(list, func(a, b *Kernel) int { return cmp.Compare(a.order, b.order) })
	return list
}

// Interrupt implements Host.
func (m *Manager) Interrupt(_ context.Context, id string) error {
	k, err := m.kernel(id)
	if err != nil {
		return err
	}
	return k.interrupt()
}

// Restart implements Host.
func (m *Manager) Restart(ctx context.Context, id string) error {
	k, err := m.kernel(id)
	if err != nil {
		return err
	}
	return k.restart(ctx)
}

// Shutdown implements Host.
func (m *Manager) Shutdown(ctx context.Context, id string) error {
	return m.shutdown(ctx, id, byShutdown, "the kernel was shut down")
}

func (m *Manager) shutdown(ctx context.Context, id string, by cause, why string) error {
	k, err := m.kernel(id)
	if err != nil {
		return err
	}
	if err := k.shutdown(ctx, by, why); err != nil {
		return err
	}
	m.remove(k)
	return nil
}

// Ready implements Host.
func (m *Manager) Ready(ctx context.Context, id string) error {
	k, err := m.kernel(id)
	if err != nil {
		return err
	}
	return k.waitReady(ctx)
}

// Attach implements Host.
func (m *Manager) Attach(id string, o AttachOptions) (Client, error) {
	k, err := m.kernel(id)
	if err != nil {
		return nil, err
	}
	c, err := k.attach(o)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Execute implements Host.
func (m *Manager) Execute(ctx context.Context, id string, req ExecuteRequest) iter.Seq2[Entry, error] {
	return Execution(ctx, m, id, req)
}

// Run culls idle kernels, and warns those that are near their memory limit, until ctx ends. Then it waits for the shutdowns it began.
func (m *Manager) Run(ctx context.Context) {
	defer m.wg.Wait()
	var wg sync.WaitGroup
	wg.Go(func() { m.watchMemory(ctx) })
	defer wg.Wait()
	wait := m.set.Load().CullInterval
	for {
		timer, due := time.NewTimer(wait), time.Now().Add(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-m.changed:
			timer.Stop()
			wait = m.cull(time.Now())
		case <-timer.C:
			now := time.Now()
			m.overslept(now.Sub(due))
			wait = m.cull(now)
		}
	}
}

// cull shuts down the kernels that are idle too long, and says when to look again: when the next of them will
// be, or after CullInterval, for a kernel may cease to be busy or connected meanwhile.
func (m *Manager) cull(now time.Time) (next time.Duration) {
	set := m.set.Load()
	next = set.CullInterval
	if set.CullIdleTimeout <= 0 {
		return next
	}
	for _, k := range m.all() {
		due, why := k.cullable(&set.Config, now)
		if why == "" {
			continue
		}
		if due > 0 {
			next = min(next, due)
			continue
		}
		m.mu.Lock()
		if m.closed { // Close ends it, and may be waiting for wg already
			m.mu.Unlock()
			return next
		}
		m.wg.Add(1)
		m.mu.Unlock()
		m.cfg.Logger.Info("kernel is culled", "kernel_id", k.id, "reason", why)
		m.metrics.culled.Inc()
		go func() {
			defer m.wg.Done()
			if err := m.shutdown(context.Background(), k.id, byCulling, why); err != nil && fault.KindOf(err) != fault.NotFound {
				m.cfg.Logger.Error("cannot cull a kernel", "kernel_id", k.id, "err", err)
			}
		}()
	}
	return next
}

// Close shuts every kernel down, in parallel, and takes no new ones. It returns when all are gone, or with an
// error when ctx ends before that.
func (m *Manager) Close(ctx context.Context) error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	var wg sync.WaitGroup
	done := make(chan struct{})
	for _, k := range m.all() {
		wg.Go(func() {
			// Not bounded by ctx: a kernel that is being restarted is ended after that, which killNow hurries.
			err := m.shutdown(context.WithoutCancel(ctx), k.id, byStop, "the server was stopped")
			if err != nil && fault.KindOf(err) != fault.NotFound && !errors.Is(err, errLeft) {
				m.cfg.Logger.Error("cannot shut a kernel down", "kernel_id", k.id, "err", err)
			}
		})
	}
	go func() { wg.Wait(); m.wg.Wait(); close(done) }() // ends with the shutdowns, which are bounded
	select {
	case <-done:
		m.budget.Wait()
		return nil
	case <-ctx.Done():
		for _, k := range m.all() {
			k.killNow()
		}
		<-done
		m.budget.Wait()
		return fault.Wrap(fault.Timeout, context.Cause(ctx), "kernels had to be killed")
	}
}

// Leave ends the Manager without its kernels: connections and journals are closed, records kept, processes live on
// for the next Manager of the same StateDir. It takes no new kernels. Those that are being started or ended when
// ctx ends stay as they are then, and the fault says so.
func (m *Manager) Leave(ctx context.Context) error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.wg.Wait()
	all := m.all()
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, k := range all {
		wg.Go(func() { errs[i] = k.leave(ctx) })
	}
	wg.Wait()
	m.budget.Wait()
	return errors.Join(errs...)
}
