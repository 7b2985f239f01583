package sessions

import (
	"slices"
	"sync"
	"time"
)

// binding is one session in the index.
type binding struct {
	row    Row
	seen   bool // its kernel was there under this server: should it vanish, then it was shut down
	ending bool // a delete has begun
}

// index is the sessions in memory. Reads give copies.
type index struct {
	mu     sync.Mutex
	all    []*binding            // guarded by mu; oldest first
	byID   map[string]*binding   // guarded by mu
	byPath map[string][]*binding // guarded by mu; oldest first; all of one path share one kernel
	newest time.Time             // guarded by mu; the latest Created there ever was
}

func newIndex(rows []Row) *index {
	x := &index{byID: map[string]*binding{}, byPath: map[string][]*binding{}}
	for _, r := range rows {
		x.insert(&binding{row: r})
	}
	return x
}

// stamp is the Created of a new session: now, or right after the newest one where the clock was set back. The order
// of sessions is theirs, also after a restart.
func (x *index) stamp(now time.Time) time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	now = now.UTC().Truncate(time.Microsecond)
	if !now.After(x.newest) {
		now = x.newest.Add(time.Microsecond)
	}
	x.newest = now
	return now
}

// snapshot gives every session, oldest first.
func (x *index) snapshot() []binding {
	x.mu.Lock()
	defer x.mu.Unlock()
	return copies(x.all)
}

// at gives the sessions of a path, oldest first.
func (x *index) at(path string) []binding {
	x.mu.Lock()
	defer x.mu.Unlock()
	return copies(x.byPath[path])
}

func copies(bs []*binding) []binding {
	out := make([]binding, len(bs))
	for i, b := range bs {
		out[i] = *b
	}
	return out
}

func (x *index) get(id string) (binding, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if b := x.byID[id]; b != nil {
		return *b, true
	}
	return binding{}, false
}

func (x *index) size() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.all)
}

// bound tells whether a session has this kernel.
func (x *index) bound(kernelID string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.ContainsFunc(x.all, func(b *binding) bool { return b.row.KernelID == kernelID })
}

// paths gives the paths of the sessions that have this kernel, oldest first.
func (x *index) paths(kernelID string) (list []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, b := range x.all {
		if b.row.KernelID == kernelID && !slices.Contains(list, b.row.Path) {
			list = append(list, b.row.Path)
		}
	}
	return list
}

// kernels gives the kernels that the sessions of a path have.
func (x *index) kernels(path string) (list []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, b := range x.byPath[path] {
		if !slices.Contains(list, b.row.KernelID) {
			list = append(list, b.row.KernelID)
		}
	}
	return list
}

// markSeen notes that the kernel of a session is there.
func (x *index) markSeen(id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if b := x.byID[id]; b != nil {
		b.seen = true
	}
}

// setEnding notes that a delete of a session has begun, or has failed.
func (x *index) setEnding(id string, ending bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if b := x.byID[id]; b != nil {
		b.ending = ending
	}
}

// commit does to the index what c did to the Store.
func (x *index) commit(c Change) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, id := range c.Drop {
		if b := x.byID[id]; b != nil {
			x.remove(b)
		}
	}
	for _, r := range c.Put {
		b := x.byID[r.ID]
		if b == nil {
			x.insert(&binding{row: r, seen: true})
			continue
		}
		// A row gets another kernel only when that one is there; without one, a lost kernel stays lost.
		b.seen = b.seen || b.row.KernelID != r.KernelID
		if old := b.row.Path; old != r.Path {
			x.unlink(b)
			x.byPath[r.Path] = append(x.byPath[r.Path], b)
		}
		b.row = r
	}
}

// insert needs mu, or an index that nobody else has yet.
func (x *index) insert(b *binding) {
	if b.row.Created.After(x.newest) {
		x.newest = b.row.Created
	}
	x.all = append(x.all, b)
	x.byID[b.row.ID] = b
	x.byPath[b.row.Path] = append(x.byPath[b.row.Path], b)
}

// remove needs mu.
func (x *index) remove(b *binding) {
	x.all = slices.DeleteFunc(x.all, func(o *binding) bool { return o == b })
	delete(x.byID, b.row.ID)
	x.unlink(b)
}

// unlink takes b out of the list of its path. It needs mu.
func (x *index) unlink(b *binding) {
	rest := slices.DeleteFunc(x.byPath[b.row.Path], func(o *binding) bool { return o == b })
	if len(rest) == 0 {
		delete(x.byPath, b.row.Path)
	} else {
		x.byPath[b.row.Path] = rest
	}
}
