package kernel

import (
	"time"

	"github.com/nbserv/nbserv/internal/clock"
)

// stopped is how late a timer has to come to show that this process, or the machine, had stopped: a busy machine
// is late by seconds.
const stopped = 30 * time.Second

// overslept takes a time in which the server did not run out of the kernels' idle time: nobody could use them. Linux'
// and macOS' monotonic clocks stand still while the machine sleeps; this is for a server that was stopped or swapped
// out, and for machines whose clock goes on when they are thawed (P14).
func (m *Manager) overslept(late time.Duration) {
	if late < stopped {
		return
	}
	m.cfg.Logger.Info("the server did not run for a while, which does not count as idle time", "dur", late)
	now := time.Now()
	for _, k := range m.all() {
		k.mu.Lock()
		if k.active = k.active.Add(late); k.active.After(now) {
			k.active = now
		}
		k.mu.Unlock()
	}
}

// lastActivity is when the kernel was last used, by the clock as it is set now. mu is held.
func (k *Kernel) lastActivity() time.Time {
	k.active = clock.AsSet(k.active)
	return k.active
}
