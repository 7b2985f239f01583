package adapters

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/kernel/kerneltest"
	"github.com/nbserv/nbserv/sessions"
)

// runPool runs a Pool until the returned function, or the test, ends it.
func runPool(t *testing.T, f fixture, cfg PoolConfig) (p *Pool, stop func()) {
	t.Helper()
	if cfg.Name == "" {
		cfg.Name = "test"
	}
	if cfg.Prepare == nil {
		cfg.Prepare = func(context.Context) (kernel.StartOptions, error) {
			return kernel.StartOptions{Spec: "synth", Cwd: t.TempDir()}, nil
		}
	}
	cfg.CheckEvery, cfg.RetryAfter = 20*time.Millisecond, 5*time.Millisecond
	p = NewPool(f.host, cfg)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { p.Run(ctx) })
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return p, stop
}

func readies(t *testing.T, p *Pool, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return p.Ready() == n }, patience, tick)
}

func TestPoolGivesReadyKernelsAndEndsTheRest_P11(t *testing.T) {
	f := newFixture(t, nil)
	p, stop := runPool(t, f, PoolConfig{Size: 2, Warmup: "print warm"})
	readies(t, p, 2)
	o, ok := p.Take()
	require.True(t, ok)
	s, err := f.Create(t.Context(), sessions.CreateRequest{Path: "s", Type: "test", KernelID: o.ID})
	require.NoError(t, err)
	require.Equal(t, o.ID, s.Kernel.ID)
	require.Equal(t, "idle", s.Kernel.ExecutionState)
	r := run(t, f, "cwd", Limits{})
	require.Equal(t, o.Cwd+"\n", r.Stdout)
	readies(t, p, 2) // another one took its place
	stop()
	require.Zero(t, p.Ready())
	_, ok = p.Take()
	require.False(t, ok)
	all := f.host.List()
	require.Len(t, all, 1)
	require.Equal(t, o.ID, all[0].ID)
}

func TestPoolReplacesTheDead(t *testing.T) {
	f := newFixture(t, nil)
	var discarded atomic.Int32
	p, _ := runPool(t, f, PoolConfig{Size: 1, Discard: func(kernel.StartOptions) { discarded.Add(1) }})
	readies(t, p, 1)
	first := f.prov.Kernels()[0]
	first.Die(kernel.Exit{Code: 1})
	require.Eventually(t, func() bool { return discarded.Load() == 1 && p.Ready() == 1 }, patience, tick)
	o, ok := p.Take()
	require.True(t, ok)
	require.NotEqual(t, first, f.prov.Kernels()[1])
	st, err := f.host.Get(o.ID)
	require.NoError(t, err)
	require.True(t, st.Alive())
}

// A kernel that fails its check is ended, and another one started.
func TestPoolChecksKernels(t *testing.T) {
	f := newFixture(t, nil)
	var looks, discarded atomic.Int32
	p, _ := runPool(t, f, PoolConfig{
		Size: 1, Warmup: "print warm", Discard: func(kernel.StartOptions) { discarded.Add(1) },
		Check: func(_ context.Context, o kernel.StartOptions) error {
			_, err := f.host.Get(o.ID)
			if err == nil && looks.Add(1) < 3 {
				err = fault.New(fault.Unstartable, "not what it should be")
			}
			return err
		},
	})
	readies(t, p, 1)
	require.EqualValues(t, 3, looks.Load())
	require.EqualValues(t, 2, discarded.Load())
	require.Len(t, f.host.List(), 1)
}

func TestPoolTriesAgain(t *testing.T) {
	var tries, discarded atomic.Int32
	f := newFixture(t, func(kernel.Launch) (kerneltest.Options, error) {
		if tries.Add(1) < 4 {
			return kerneltest.Options{}, fault.New(fault.Unstartable, "not yet")
		}
		return kerneltest.Options{}, nil
	})
	p, _ := runPool(t, f, PoolConfig{Size: 1, Discard: func(kernel.StartOptions) { discarded.Add(1) }})
	readies(t, p, 1)
	require.EqualValues(t, 3, discarded.Load())
	require.Len(t, f.host.List(), 1)
}

// A kernel that dies before it is ready, or in its warm-up, is never given out.
func TestPoolNeverGivesADeadKernel(t *testing.T) {
	f := newFixture(t, nil)
	p, stop := runPool(t, f, PoolConfig{Size: 1, Warmup: "die 3"})
	require.Eventually(t, func() bool { return len(f.prov.Kernels()) >= 2 }, patience, tick)
	_, ok := p.Take()
	require.False(t, ok)
	stop()
	require.Empty(t, f.host.List())
}

func TestPoolEndsWhatAnEarlierServerLeft(t *testing.T) {
	f := newFixture(t, nil)
	for id, owner := range map[string]string{"orphan": "pool test", "used": "pool test", "other": "pool other"} {
		_, err := f.host.Start(t.Context(), kernel.StartOptions{ID: id, Spec: "synth", Owner: owner})
		require.NoError(t, err)
	}
	p, _ := runPool(t, f, PoolConfig{Size: 1, InUse: func(id string) bool { return id == "used" }})
	readies(t, p, 1)
	var left []string
	for _, st := range f.host.List() {
		left = append(left, st.ID)
	}
	require.Len(t, left, 3)
	require.NotContains(t, left, "orphan")
}

// Takers at the same time get different kernels.
func TestPoolTakersAtOnce(t *testing.T) {
	f := newFixture(t, nil)
	p, _ := runPool(t, f, PoolConfig{Size: 3})
	readies(t, p, 3)
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[string]int{}
	for range 12 {
		wg.Go(func() {
			if o, ok := p.Take(); ok {
				mu.Lock()
				got[o.ID]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.GreaterOrEqual(t, len(got), 3)
	for id, n := range got {
		require.Equal(t, 1, n, id)
	}
}
