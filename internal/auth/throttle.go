package auth

import (
	"container/list"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	failureBurst = 10              // wrong tries that an address has at once: people mistype
	failureEvery = 5 * time.Second // one more after each: 17,000 a day, hopeless against any token
	maxAddresses = 8192            // remembered; the one that failed longest ago is forgotten first. About 2 MB
)

// throttle counts the failures of each client address (S5).
type throttle struct {
	entries atomic.Int32 // len(byAddr), to be read without mu

	mu     sync.Mutex
	byAddr map[netip.Prefix]*list.Element // guarded by mu
	recent *list.List                     // of *failures, the newest in front; guarded by mu
}

type failures struct {
	addr  netip.Prefix
	limit *rate.Limiter
}

func newThrottle() *throttle {
	return &throttle{byAddr: make(map[netip.Prefix]*list.Element), recent: list.New()}
}

// neighbours is what counts as one client: an IPv4 address, or the /64 that one IPv6 subscriber has.
func neighbours(addr netip.Addr) netip.Prefix {
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits) // an invalid address has the zero Prefix: all unix sockets are one client
	return p
}

// try takes one try from addr's account. When there is none left it says how long to wait.
func (t *throttle) try(addr netip.Addr) (wait time.Duration, ok bool) {
	key := neighbours(addr)
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.byAddr[key]
	if e == nil {
		if t.recent.Len() >= maxAddresses {
			oldest := t.recent.Back()
			delete(t.byAddr, oldest.Value.(*failures).addr)
			t.recent.Remove(oldest)
		}
		e = t.recent.PushFront(&failures{addr: key, limit: rate.NewLimiter(rate.Every(failureEvery), failureBurst)})
		t.byAddr[key] = e
		t.entries.Store(int32(len(t.byAddr)))
	}
	t.recent.MoveToFront(e)
	r := e.Value.(*failures).limit.Reserve()
	if wait = r.Delay(); wait > 0 {
		r.Cancel()
	}
	return wait, wait == 0
}

// reset forgives addr: it has proven itself.
func (t *throttle) reset(addr netip.Addr) {
	if t.entries.Load() == 0 {
		return
	}
	key := neighbours(addr)
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byAddr[key]; e != nil {
		delete(t.byAddr, key)
		t.recent.Remove(e)
		t.entries.Store(int32(len(t.byAddr)))
	}
}

// maxLoggedOut is how many logged-out users are remembered; the oldest is forgotten first.
const maxLoggedOut = 4096

// departed remembers who has logged out, so that neither a request in flight nor a copied cookie brings them back.
// It ends with the process: the browser's own copy of the cookie is gone by then.
type departed struct {
	n atomic.Int32 // len(users), to be read without mu

	mu    sync.Mutex
	users map[string]struct{} // guarded by mu
	order []string            // a ring, next is the oldest once it is full; guarded by mu
	next  int                 // guarded by mu
}

func (d *departed) add(username string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.users[username]; ok {
		return
	}
	if d.users == nil {
		d.users = make(map[string]struct{})
	}
	d.users[username] = struct{}{}
	if len(d.order) < maxLoggedOut {
		d.order = append(d.order, username)
	} else {
		delete(d.users, d.order[d.next])
		d.order[d.next] = username
		d.next = (d.next + 1) % maxLoggedOut
	}
	d.n.Store(int32(len(d.users)))
}

func (d *departed) has(username string) bool {
	if d.n.Load() == 0 {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.users[username]
	return ok
}
