package ws

import (
	"sync"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

// arrivals keeps the connections of each client session in the order in which they came, while they are held back until
// their kernel is ready: then all go on at once, and the last to come must be the last to attach. JupyterLab behind a
// jupyter_server with a gateway always opens two, and uses the second.
type arrivals struct {
	mu  sync.Mutex
	all map[arrivalKey]*arrival // of sessions with connections that have not attached yet
}

type arrivalKey struct{ kernel, session string }

type arrival struct {
	came int // how many have come, guarded by arrivals.mu
	here int // how many have not left, guarded by arrivals.mu

	attaching sync.Mutex
	attached  int // the newest that did, guarded by attaching
}

// come notes that a connection has come. attach attaches its client, unless a later one of its session did; leave is to
// be called when it has, or gives up.
func (a *arrivals) come(key arrivalKey) (attach func(func() (kernel.Client, error)) (kernel.Client, error), leave func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := a.all[key]
	if at == nil {
		at = &arrival{}
		a.all[key] = at
	}
	at.came++
	at.here++
	n := at.came
	attach = func(do func() (kernel.Client, error)) (kernel.Client, error) {
		at.attaching.Lock()
		defer at.attaching.Unlock()
		if key.session != "" && at.attached > n {
			return nil, fault.New(fault.Conflict, "a later connection of this session is there")
		}
		c, err := do()
		if err == nil {
			at.attached = n
		}
		return c, err
	}
	leave = func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if at.here--; at.here == 0 {
			delete(a.all, key)
		}
	}
	return attach, leave
}
