package rserver

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/nbserv/nbserv/internal/fault"
)

// poolSize is how many workers a service has: at least, also when nobody calls, and at most. -1 is not said.
type poolSize struct{ initial, max int }

// pooled is a worker of a service, with its snapshot and its initCode.
type pooled struct {
	*worker
	files    listing // of the working folder, before any call
	snapshot listing // of the working folder when it had the snapshot's files and nothing else
	reusable bool    // its kernel can be left as it was
	dirty    bool    // a call has changed its working folder
}

// errPoolClosed says that the service was changed or deleted meanwhile.
var errPoolClosed = errors.New("the pool is closed")

// workerPool is the workers of one service. A call has a worker for itself, and leaves it as it was. Safe for concurrent use.
type workerPool struct {
	svc *service // immutable

	mu       sync.Mutex
	size     poolSize      // guarded by mu
	idle     []*pooled     // the one used last comes last; guarded by mu
	total    int           // with those that are being started; guarded by mu
	starting int           // guarded by mu
	waiting  []chan *taken // guarded by mu
	used     time.Time     // when one was last given back; guarded by mu
	fresh    bool          // the service was published or changed just now; guarded by mu
	closed   bool          // guarded by mu
}

// taken is what a waiter gets.
type taken struct {
	w   *pooled
	err error
}

func newWorkerPool(svc *service) *workerPool {
	return &workerPool{svc: svc, size: svc.row.pool, used: time.Now()}
}

// bounds are the sizes that count. mu is held.
func (p *workerPool) bounds() (initial, max int) {
	initial, max = p.size.initial, p.size.max
	if max < 0 {
		max = p.svc.srv.cfg.MaxWorkers
	}
	return initial, max
}

// take waits for a worker. Beyond those there are, new ones are started, one at a time, up to the maximum.
func (p *workerPool) take(ctx context.Context) (*pooled, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errPoolClosed
	}
	if n := len(p.idle); n > 0 {
		w := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return w, nil
	}
	turn := make(chan *taken, 1)
	p.waiting = append(p.waiting, turn)
	p.grow()
	p.mu.Unlock()
	select {
	case t := <-turn:
		return t.w, t.err
	case <-ctx.Done():
		p.leave(turn)
		return nil, fault.Wrap(fault.Canceled, context.Cause(ctx), "no longer waiting for a kernel of the service")
	}
}

// leave takes a waiter off the list; one that was served meanwhile gives its worker back.
func (p *workerPool) leave(turn chan *taken) {
	p.mu.Lock()
	for i, w := range p.waiting {
		if w == turn {
			p.waiting = append(p.waiting[:i], p.waiting[i+1:]...)
			break
		}
	}
	p.mu.Unlock()
	select {
	case t := <-turn:
		if t.w != nil {
			p.give(t.w, true)
		}
	default:
	}
}

// grow starts a worker when somebody waits for one, or the pool is smaller than it is to be. mu is held.
func (p *workerPool) grow() {
	initial, most := p.bounds()
	needed := len(p.waiting) > 0 || p.total < initial || p.fresh && p.total == 0
	if p.closed || !needed || p.starting > 0 || p.total >= most {
		return
	}
	p.total++
	p.starting++
	if !p.svc.srv.tasks.start(p.start) {
		p.total--
		p.starting--
		p.fail(fault.New(fault.Busy, "the server is stopping"))
	}
}

// fail tells all waiters that there will be no worker. mu is held.
func (p *workerPool) fail(err error) {
	for _, turn := range p.waiting {
		turn <- &taken{err: err}
	}
	p.waiting = nil
}

// start makes one worker and hands it on.
func (p *workerPool) start(ctx context.Context) {
	w, err := p.make(ctx)
	p.mu.Lock()
	p.starting--
	if err == nil {
		p.mu.Unlock()
		p.put(w)
		return
	}
	p.total--
	if p.total == 0 || p.closed { // nobody else will give one
		p.fail(err)
	}
	p.mu.Unlock()
	p.svc.srv.log.Warn("a kernel for a service was not started", "service", p.svc.row.name, "version", p.svc.row.version, "err", err)
}

func (p *workerPool) make(ctx context.Context) (*pooled, error) {
	if err := p.svc.srv.admit(ctx); err != nil {
		return nil, err
	}
	w, err := p.svc.newWorker(ctx)
	if err != nil {
		p.svc.srv.departed()
	}
	return w, err
}

// end ends a worker of the pool.
func (p *workerPool) end(ctx context.Context, w *pooled) {
	p.svc.srv.discard(ctx, w.worker)
	p.svc.srv.departed()
}

// endAll ends workers without keeping the caller waiting.
func (p *workerPool) endAll(all []*pooled) {
	for _, w := range all {
		if !p.svc.srv.tasks.start(func(ctx context.Context) { p.end(ctx, w) }) {
			p.end(context.Background(), w)
		}
	}
}

// put hands a clean worker to whoever waits longest, or keeps it.
func (p *workerPool) put(w *pooled) {
	p.mu.Lock()
	if len(p.waiting) > 0 {
		p.waiting[0] <- &taken{w: w}
		p.waiting = p.waiting[1:]
		p.grow()
		p.mu.Unlock()
		return
	}
	if p.closed {
		p.total--
		p.mu.Unlock()
		p.end(context.Background(), w)
		return
	}
	p.idle = append(p.idle, w)
	p.used = time.Now()
	p.grow()
	p.mu.Unlock()
}

// give takes a worker back after a call. One that cannot be left as it was, or whose call did not end well, is ended,
// and another one started if it is needed.
func (p *workerPool) give(w *pooled, good bool) {
	if good && !w.dirty {
		p.put(w)
		return
	}
	done := p.svc.srv.tasks.start(func(ctx context.Context) {
		if good && p.svc.clean(ctx, w) == nil {
			p.put(w)
			return
		}
		p.drop(ctx, w)
	})
	if !done {
		p.drop(context.Background(), w)
	}
}

func (p *workerPool) drop(ctx context.Context, w *pooled) {
	if err := p.svc.srv.host.Interrupt(ctx, w.kernelID); err != nil {
		p.svc.srv.log.Debug("a kernel that is to be ended was not interrupted", "kernel_id", w.kernelID, "err", err)
	}
	p.mu.Lock()
	p.total--
	p.grow()
	p.mu.Unlock()
	p.end(ctx, w)
}

// fill starts the pool's initial workers; one of a service whose pool nobody has set, for its author will try it.
func (p *workerPool) fill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fresh = p.size.initial < 0
	p.grow()
	p.fresh = false
}

// tend grows the pool to its initial size, and ends what has had nothing to do for too long.
func (p *workerPool) tend(ctx context.Context, now time.Time, patience time.Duration) {
	p.mu.Lock()
	initial, _ := p.bounds()
	var old []*pooled
	if now.Sub(p.used) >= patience {
		for len(p.idle) > 0 && p.total > max(initial, 0) {
			old = append(old, p.idle[0])
			p.idle = p.idle[1:]
			p.total--
		}
	}
	p.grow()
	p.mu.Unlock()
	for _, w := range old {
		p.end(ctx, w)
	}
}

// spare takes an idle worker away for another service, if there is one.
func (p *workerPool) spare() *pooled {
	p.mu.Lock()
	defer p.mu.Unlock()
	initial, _ := p.bounds()
	if len(p.idle) == 0 || p.total <= max(initial, 0) {
		return nil
	}
	w := p.idle[0]
	p.idle = p.idle[1:]
	p.total--
	return w
}

func (p *workerPool) lastUsed() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used
}

// resize sets the sizes; workers beyond the maximum end when they are given back.
func (p *workerPool) resize(size poolSize) {
	p.mu.Lock()
	p.size = size
	_, most := p.bounds()
	var extra []*pooled
	for len(p.idle) > 0 && p.total > most {
		extra = append(extra, p.idle[0])
		p.idle = p.idle[1:]
		p.total--
	}
	p.grow()
	p.mu.Unlock()
	p.endAll(extra)
}

// close ends the idle workers, and the busy ones when they are given back. Who waits is told to look again.
func (p *workerPool) close() { p.endAll(p.shut()) }

// shut closes the pool and gives the idle workers, to be ended.
func (p *workerPool) shut() []*pooled {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	idle := p.idle
	p.idle = nil
	p.total -= len(idle)
	p.fail(errPoolClosed)
	return idle
}

// counts tells how many workers there are, and how many of them are at work.
func (p *workerPool) counts() (total, busy int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.total, p.total - p.starting - len(p.idle)
}

// newWorker starts a kernel with the service's snapshot and initCode.
func (x *service) newWorker(ctx context.Context) (*pooled, error) {
	w, err := x.srv.startWorker(ctx, x.runtime)
	if err != nil {
		return nil, err
	}
	p := &pooled{worker: w}
	if err := x.prepare(ctx, p); err != nil {
		x.srv.discard(ctx, w)
		return nil, err
	}
	return p, nil
}

func (x *service) prepare(ctx context.Context, w *pooled) (err error) {
	if x.row.file != "" {
		if err := x.srv.loadSnapshot(ctx, w.worker, x.srv.servicePath(x.row.file), x.row.packages); err != nil {
			return err
		}
	}
	if w.snapshot, err = list(w.workDir()); err != nil {
		return err
	}
	if x.row.body.InitCode != "" {
		r, err := w.call(ctx, request{Op: "execute", Code: x.row.body.InitCode, Console: w.ioPath("console")})
		if err != nil {
			return err
		}
		if !r.Success {
			return failed("the service's initCode failed: %.1000s", r.Error)
		}
	}
	r, err := w.call(ctx, request{Op: "baseline"})
	if err != nil {
		return err
	}
	if !r.Success {
		return failed("the service's kernel cannot be prepared: %.1000s", r.Error)
	}
	w.reusable = r.Reusable
	w.files, err = list(w.workDir())
	return err
}

// clean gives a worker's working folder the files back that it had. Those of the snapshot can be had again; where one that
// initCode has made was touched, the worker is of no use.
func (x *service) clean(ctx context.Context, w *pooled) error {
	now, err := list(w.workDir())
	if err != nil {
		return err
	}
	unpackAgain := false
	for name, m := range w.files {
		if now.has(name, m) {
			continue
		}
		if !w.snapshot.has(name, m) {
			return fault.New(fault.Conflict, "a file that initCode has made was changed")
		}
		unpackAgain = true
	}
	if err := removeExtra(w.workDir(), w.files, now); err != nil {
		return err
	}
	if unpackAgain {
		for name, m := range w.snapshot {
			if !w.files.has(name, m) { // unpacking would undo what initCode did
				return fault.New(fault.Conflict, "a file that initCode has changed was changed")
			}
		}
		workspace := w.ioPath(uuid.NewString())
		defer func() { _ = os.Remove(workspace) }()
		if err := unpack(ctx, x.srv.servicePath(x.row.file), w.workDir(), workspace, x.runtime.workspace, x.srv.limits()); err != nil {
			return err
		}
		if now, err = list(w.workDir()); err != nil {
			return err
		}
		snapshot := listing{}
		for name := range w.snapshot {
			snapshot[name] = now[name]
		}
		w.files, w.snapshot = now, snapshot
	}
	w.dirty = false
	return nil
}

// tendEvery is how often the pools are looked after.
const tendEvery = 5 * time.Second

// keepPools looks after the pools until ctx ends.
func (s *Server) keepPools(ctx context.Context) {
	ticker := time.NewTicker(tendEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			for _, p := range s.workerPools() {
				p.tend(ctx, now, s.cfg.IdleWorkers)
			}
		}
	}
}

func (s *Server) workerPools() []*workerPool {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*workerPool, 0, len(s.services))
	for _, x := range s.services {
		all = append(all, x.pool)
	}
	return all
}

// resumePools starts the pools whose sizes were set.
func (s *Server) resumePools() {
	for _, p := range s.workerPools() {
		p.mu.Lock()
		p.grow()
		p.mu.Unlock()
	}
}

// closePools ends all pools, their idle workers at the same time.
func (s *Server) closePools() {
	var wg sync.WaitGroup
	for _, p := range s.workerPools() {
		for _, w := range p.shut() {
			wg.Go(func() { p.end(context.Background(), w) })
		}
	}
	wg.Wait()
}

// admit counts a kernel for a service. When there are too many, the one that has had nothing to do for longest makes
// room; when all are at work it is Busy.
func (s *Server) admit(ctx context.Context) error {
	s.mu.Lock()
	room := s.workers < s.cfg.MaxAllWorkers
	s.workers++
	s.mu.Unlock()
	if room {
		return nil
	}
	pools := s.workerPools()
	slices.SortFunc(pools, func(a, b *workerPool) int { return a.lastUsed().Compare(b.lastUsed()) })
	for _, p := range pools {
		if w := p.spare(); w != nil {
			p.end(ctx, w)
			return nil
		}
	}
	s.departed()
	return fault.New(fault.Busy, "all %d kernels for services are at work", s.cfg.MaxAllWorkers)
}

// departed counts a kernel that is no more.
func (s *Server) departed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.workers--
}

// maxPool bounds what a client may ask for.
const maxPool = 64

// setPool sets the size of a service's pool, which survives restarts.
func (s *Server) setPool(ctx context.Context, owner string, key serviceKey, size poolSize) (*service, error) {
	x, err := s.ownService(owner, key, "change")
	if err != nil {
		return nil, err
	}
	if size != (poolSize{-1, -1}) && (size.initial < 0 || size.max < 1 || size.initial > size.max || size.max > maxPool) {
		return nil, fault.New(fault.Invalid, "0 <= InitialPoolSize <= MaxPoolSize, and 1 <= MaxPoolSize <= %d", maxPool)
	}
	row := x.row
	row.pool = size
	if err := s.rows.changeService(context.WithoutCancel(ctx), row); err != nil {
		return nil, err
	}
	s.mu.Lock()
	if s.services[key] == x {
		x.row.pool = size
	}
	s.mu.Unlock()
	x.pool.resize(size)
	return x, nil
}

func (p *workerPool) model() poolModel {
	p.mu.Lock()
	defer p.mu.Unlock()
	initial, most := p.bounds()
	return poolModel{InitialPoolSize: max(initial, 0), MaxPoolSize: most}
}
