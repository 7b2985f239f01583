package kernel

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// idleKernel is a kernel without a process that nobody uses.
func idleKernel(m *Manager, id string) *Kernel {
	k := newKernel(m, StartOptions{ID: id}, 1)
	k.state = stateIdle
	k.release()
	m.mu.Lock()
	m.kernels[id] = k
	m.mu.Unlock()
	return k
}

// Culling goes by the time in which the server ran: a day of sleep is no day of idleness.
func TestSleepDoesNotCull_P14(t *testing.T) {
	m := NewManager(Config{CullIdleTimeout: time.Hour}, NewSpecs(SpecsConfig{}), nil, nil)
	k := idleKernel(m, "k")
	k.active = time.Now().Add(-24 * time.Hour) // as a monotonic clock tells it that went on meanwhile
	m.overslept(10 * time.Second)
	due, why := k.cullable(k.cfg, time.Now())
	require.Zero(t, due, "a busy machine is late, too: %s", why)

	m.overslept(24*time.Hour - time.Minute)
	due, _ = k.cullable(k.cfg, time.Now())
	require.InDelta(t, 59*time.Minute, due, float64(time.Second))
	m.overslept(24 * time.Hour)
	require.False(t, k.Status().LastActivity.After(time.Now()), "last used in the future")
}

// The idle time is kept to the second, from the last activity on, whatever interval is looked at.
func TestCullsWhenDue_P14(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewManager(Config{CullIdleTimeout: 90 * time.Minute, CullInterval: time.Hour}, NewSpecs(SpecsConfig{}), nil, nil)
		k := idleKernel(m, "k")
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan struct{})
		go func() { defer close(ran); m.Run(ctx) }()
		time.Sleep(30 * time.Minute)
		k.mu.Lock()
		k.active = time.Now()
		k.mu.Unlock()
		time.Sleep(89 * time.Minute)
		require.Len(t, m.List(), 1)
		time.Sleep(2 * time.Minute)
		require.Empty(t, m.List())
		require.Equal(t, "the kernel was idle for 1h30m0s and was culled: the limit is 1h30m0s", k.Status().Reason)
		cancel()
		<-ran
	})
}
