package kernel_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/kernel/kerneltest"
)

// A server that is started again with other flags tells them to those who have its kernels.
func TestSettingsChangeUnderRunningKernels(t *testing.T) {
	f := newFixture(t, kernel.Config{MaxKernels: 1}, kerneltest.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { f.Run(ctx) })
	defer run.Wait()
	defer cancel()
	id := f.start()
	f.waitState(id, "idle")
	_, err := f.Start(t.Context(), kernel.StartOptions{})
	require.Equal(t, fault.Busy, fault.KindOf(err))

	cfg := f.cfg
	cfg.MaxKernels = 2
	f.Configure(cfg, f.specs)
	f.start()

	w := f.watch()
	cfg.CullIdleTimeout, cfg.CullInterval = time.Nanosecond, time.Hour
	f.Configure(cfg, f.specs)
	gone := w.until(func(s kernel.Status) bool { return s.Gone && s.ID == id }) // the other may be faster
	require.Contains(t, gone.Reason, "culled")
}
