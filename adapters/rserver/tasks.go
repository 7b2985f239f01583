package rserver

import (
	"context"
	"sync"
)

// tasks is the work that outlives the request that began it. Run waits for all of it.
type tasks struct {
	mu      sync.Mutex
	waiting []task        // guarded by mu
	closed  bool          // guarded by mu
	wake    chan struct{} // holds one token when something waits
}

// task is one piece of work.
type task struct {
	do func(context.Context)
	// endless work has no end of its own.
	endless bool
}

func newTasks() *tasks { return &tasks{wake: make(chan struct{}, 1)} }

// start hands work to Run; false when Run has ended and it will never begin. Its context ends when Run has no patience
// any more.
func (t *tasks) start(work func(context.Context)) bool { return t.add(task{do: work}) }

// keep is start for work without an end: its context ends when Run is to end.
func (t *tasks) keep(work func(context.Context)) bool { return t.add(task{do: work, endless: true}) }

func (t *tasks) add(work task) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.waiting = append(t.waiting, work)
	select {
	case t.wake <- struct{}{}:
	default:
	}
	return true
}

func (t *tasks) take(last bool) []task {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = t.closed || last
	all := t.waiting
	t.waiting = nil
	return all
}

// run does the work until ctx ends, and then what is under way, until it is done or patience ends.
func (t *tasks) run(ctx, patience context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for last := false; !last; {
		select {
		case <-t.wake:
		case <-ctx.Done():
			last = true
		}
		for _, work := range t.take(last) {
			if work.endless {
				wg.Go(func() { work.do(ctx) })
			} else {
				wg.Go(func() { work.do(patience) })
			}
		}
	}
}
