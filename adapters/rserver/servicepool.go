package rserver

import (
	"context"
	"errors"
	"sync"
	"time"

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

// errStopping is told to whoever comes too late.
var errStopping = fault.New(fault.Busy, "the server is stopping")

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
	pause    time.Time     // until then none is started ahead, for one could not be; guarded by mu
	closed   error         // what takers are told once the pool is closed; guarded by mu
}

// startPause is how long a pool waits before it starts a worker ahead again, after one could not be started.
const startPause = time.Minute

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
	if err := p.closed; err != nil {
		p.mu.Unlock()
		return nil, err
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
	ahead := p.total < initial && time.Now().After(p.pause) || p.fresh && p.total == 0
	if p.closed != nil || !ahead && len(p.waiting) == 0 || p.starting > 0 || p.total >= most {
		return
	}
	p.total++
	p.starting++
	if !p.svc.srv.tasks.start(p.start) {
		p.total--
		p.starting--
		p.fail(errStopping)
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
	p.pause = time.Now().Add(startPause)
	if p.total == 0 || p.closed != nil { // nobody else will give one
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
	if _, most := p.bounds(); p.closed != nil || p.total > most {
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
func (p *workerPool) close() { p.endAll(p.shut(errPoolClosed)) }

// shut closes the pool and gives the idle workers, to be ended. Takers are told why.
func (p *workerPool) shut(why error) []*pooled {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = why
	idle := p.idle
	p.idle = nil
	p.total -= len(idle)
	p.fail(why)
	return idle
}

// counts tells how many workers there are, and how many of them are at work.
func (p *workerPool) counts() (total, busy int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.total, p.total - p.starting - len(p.idle)
}
