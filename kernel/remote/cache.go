package remote

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"sync"

	"github.com/nbserv/nbserv/kernel"
)

// cache is what a Host knows of its kernels. It is fed by the watch, by the answers to calls and by clients' streams;
// Order and Serial of a Status tell what is newer.
type cache struct {
	mu       sync.RWMutex
	byID     map[string]*known // guarded by mu
	list     []*known          // guarded by mu; by Order, without those that are gone
	watchers map[*watcher]bool // guarded by mu
}

// known is a kernel in the cache.
type known struct {
	kernel.Status
	said state // the newest that a client's stream said
	gone bool  // a call has shut it down; the watch will say so
}

// see takes what a stream said, if it is newer than the Status, which has more.
func (k *known) see(s state) {
	if s.order == k.Order && s.serial > max(k.Serial, k.said.serial) {
		k.said = s
	}
	if s := k.said; s.serial > k.Serial {
		k.ExecutionState, k.Reason, k.LastActivity, k.Connections = s.execution, s.reason, s.active, s.connections
	}
}

func newCache() *cache {
	return &cache{byID: make(map[string]*known), watchers: make(map[*watcher]bool)}
}

func (c *cache) get(id string) (kernel.Status, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if k := c.byID[id]; k != nil && !k.gone {
		return k.Status, true
	}
	return kernel.Status{}, false
}

func (c *cache) all() []kernel.Status {
	c.mu.RLock()
	defer c.mu.RUnlock()
	all := make([]kernel.Status, len(c.list))
	for i, k := range c.list {
		all[i] = k.Status
	}
	return all
}

// put takes what somebody knows of a kernel. fromWatch says that it is the watch, which alone tells every end.
func (c *cache) put(st kernel.Status, fromWatch bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.byID[st.ID]
	switch {
	case st.Gone:
		if k != nil && k.Order <= st.Order {
			c.remove(k)
			delete(c.byID, st.ID)
		}
	case k == nil:
		c.insert(&known{Status: st})
	case st.Order < k.Order, st.Order == k.Order && (k.gone || st.Serial <= k.Serial):
		return
	case st.Order > k.Order: // the id was used again
		c.remove(k)
		c.insert(&known{Status: st})
	default:
		k.Status = st
		k.see(state{})
		st = k.Status
	}
	c.tell(st)
}

// shut notes that a call has shut a kernel down.
func (c *cache) shut(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.byID[id]; k != nil && !k.gone {
		c.remove(k)
		k.gone = true
	}
}

// state takes what a client's stream says of a kernel.
func (c *cache) state(id string, s state) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.byID[id]
	if k == nil || k.gone {
		return
	}
	k.see(s)
	c.tell(k.Status)
}

// replace takes a list of all kernels there are. What it does not have has gone with an earlier kernel host.
func (c *cache) replace(all []kernel.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.byID
	c.byID, c.list = make(map[string]*known, len(all)), nil
	for _, st := range all {
		c.insert(&known{Status: st})
		c.tell(st)
	}
	for id, k := range before {
		if c.byID[id] == nil {
			k.Gone = true
			c.tell(k.Status)
		}
	}
}

func (c *cache) insert(k *known) {
	at, _ := slices.BinarySearchFunc(c.list, k, byOrder)
	c.list = slices.Insert(c.list, at, k)
	c.byID[k.ID] = k
}

func (c *cache) remove(k *known) {
	if at := slices.Index(c.list, k); at >= 0 {
		c.list = slices.Delete(c.list, at, at+1)
	}
}

func byOrder(a, b *known) int { return cmp.Compare(a.Order, b.Order) }

// watcher follows the cache. Its fields are guarded by the cache's mu.
type watcher struct {
	pending []kernel.Status // the newest of each kernel, in the order in which they changed first
	wake    chan struct{}   // holds a token once there is something
}

// tell notes st for the watchers. mu is held.
func (c *cache) tell(st kernel.Status) {
	for w := range c.watchers {
		w.add(st)
	}
}

func (w *watcher) add(st kernel.Status) {
	same := func(p kernel.Status) bool { return p.ID == st.ID && p.Order == st.Order }
	if i := slices.IndexFunc(w.pending, same); i >= 0 {
		w.pending[i] = st
	} else {
		w.pending = append(w.pending, st)
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// watch is Host.Watch.
func (c *cache) watch(ctx context.Context) iter.Seq[kernel.Status] {
	w := &watcher{wake: make(chan struct{}, 1)}
	c.mu.Lock()
	c.watchers[w] = true
	for _, k := range c.list {
		w.add(k.Status)
	}
	c.mu.Unlock()
	leave := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.watchers, w)
	}
	context.AfterFunc(ctx, leave)
	return func(yield func(kernel.Status) bool) {
		defer leave()
		for {
			select {
			case <-ctx.Done():
				return
			case <-w.wake:
			}
			c.mu.Lock()
			list := w.pending
			w.pending = nil
			c.mu.Unlock()
			for _, st := range list {
				if ctx.Err() != nil || !yield(st) {
					return
				}
			}
		}
	}
}
