package kernel

import (
	"context"
	"iter"
	"sync"
	"time"
)

// activityPace is how often at most watchers hear of a kernel that merely says something. What people look at
// (state, reason, connections) they hear of at once.
const activityPace = 100 * time.Millisecond

// notice is how much of a kernel's changes its watchers have been told about and not looked at yet. It costs a
// message on its way one atomic load.
type notice uint32

const (
	unchanged notice = iota
	active           // it said something: LastActivity, Position
	changed          // anything else
	removed          // it is gone; the last notice there is
)

// watchers are those who follow a Manager's kernels.
type watchers struct {
	mu  sync.Mutex
	all map[*watcher]struct{} // guarded by mu
}

// watcher is one of them. Its fields are guarded by the mutex of its watchers.
type watcher struct {
	pending []*Kernel // with changes that it has not seen, in the order these came
	noted   map[*Kernel]notice
	urgent  bool          // pending has more than activity
	wake    chan struct{} // holds one token once pending is no longer empty, and once it is urgent
}

// announce tells the watchers of k, which they hear nothing of before: a kernel that does not start was none.
func (k *Kernel) announce() {
	k.noticed.Store(uint32(unchanged))
	k.note(changed)
}

// note tells the watchers of k that there is something new; it may be called with k.mu held.
func (k *Kernel) note(n notice) {
	if notice(k.noticed.Load()) >= n {
		return
	}
	w := k.watchers
	w.mu.Lock()
	defer w.mu.Unlock()
	if notice(k.noticed.Load()) >= n {
		return
	}
	k.noticed.Store(uint32(n))
	for one := range w.all {
		one.add(k, n)
	}
}

func (w *watcher) add(k *Kernel, n notice) {
	before, there := w.noted[k]
	if !there {
		w.pending = append(w.pending, k)
	}
	w.noted[k] = max(before, n)
	if len(w.pending) > 1 && (w.urgent || n == active) {
		return
	}
	w.urgent = w.urgent || n > active
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// take empties w's list: from here on each change is a new notice.
func (ws *watchers) take(w *watcher) []seen {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	list := make([]seen, len(w.pending))
	for i, k := range w.pending {
		list[i] = seen{k, w.noted[k] == removed}
		if !list[i].gone {
			k.noticed.Store(uint32(unchanged))
		}
	}
	clear(w.pending)
	clear(w.noted)
	w.pending, w.urgent = w.pending[:0], false
	return list
}

type seen struct {
	k    *Kernel
	gone bool
}

func (ws *watchers) isUrgent(w *watcher) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return w.urgent
}

// Watch implements Host.
func (m *Manager) Watch(ctx context.Context) iter.Seq[Status] {
	w := &watcher{noted: make(map[*Kernel]notice), wake: make(chan struct{}, 1)}
	m.watchers.join(w, m.all)
	leave := func() { m.watchers.leave(w) }
	context.AfterFunc(ctx, leave)
	return func(yield func(Status) bool) {
		defer leave()
		for w.wait(ctx, &m.watchers) {
			for _, s := range m.watchers.take(w) {
				st := s.k.Status()
				st.Gone = s.gone
				if ctx.Err() != nil || !yield(st) {
					return
				}
			}
		}
	}
}

// join adds w, for which every kernel that there is has changed.
func (ws *watchers) join(w *watcher, kernels func() []*Kernel) {
	ws.mu.Lock()
	if ws.all == nil {
		ws.all = make(map[*watcher]struct{})
	}
	ws.all[w] = struct{}{}
	ws.mu.Unlock()
	list := kernels() // not under mu, which is taken last; who comes meanwhile is noted as anybody is
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, k := range list {
		if _, there := w.noted[k]; !there {
			w.add(k, changed)
		}
	}
}

func (ws *watchers) leave(w *watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.all, w)
}

// wait returns when there is something for w: a change at once, mere activity after activityPace. False is the
// end of ctx.
func (w *watcher) wait(ctx context.Context, ws *watchers) bool {
	var pace <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return false
		case <-pace:
			return true
		case <-w.wake:
			if ws.isUrgent(w) {
				return true
			}
			if pace == nil {
				pace = time.After(activityPace)
			}
		}
	}
}
