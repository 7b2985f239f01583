package kernel_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/kernel/kerneltest"
)

// Whatever ends a kernel under a running cell and one that waits: both end, the first with an error output that says
// why, the second aborted, and the process is counted by its cause.
func TestEveryEndSaysWhy_P6_P12(t *testing.T) {
	killed := kernel.Exit{Code: -1, Signal: syscall.SIGKILL}
	die := func(e kernel.Exit) func(*testing.T, *fixture, string) {
		return func(_ *testing.T, f *fixture, _ string) { f.prov.Kernels()[0].Die(e) }
	}
	outOfMemory := killed
	outOfMemory.OutOfMemory = true
	overLimit := outOfMemory
	overLimit.MemoryLimit = 200 << 20
	for name, c := range map[string]struct {
		cfg         kernel.Config
		end         func(*testing.T, *fixture, string)
		cause, says string
	}{
		"deleted": {kernel.Config{}, func(t *testing.T, f *fixture, id string) {
			require.NoError(t, f.Shutdown(t.Context(), id))
		}, "shutdown", "the kernel was shut down"},
		"restarted": {kernel.Config{}, func(t *testing.T, f *fixture, id string) {
			require.NoError(t, f.Restart(t.Context(), id))
		}, "restart", "the kernel was restarted"},
		"server stopped": {kernel.Config{}, func(t *testing.T, f *fixture, _ string) {
			require.NoError(t, f.Close(t.Context()))
		}, "server_stopped", "the server was stopped"},
		"culled": {kernel.Config{CullIdleTimeout: time.Nanosecond, CullInterval: time.Millisecond, CullBusy: true, CullConnected: true},
			func(t *testing.T, f *fixture, _ string) { runManager(t, f) }, "culled", "and was culled: the limit is 1ns"},
		"exit code":     {kernel.Config{}, die(kernel.Exit{Code: 3}), "exit", "the kernel died: exit code 3"},
		"crash":         {kernel.Config{}, die(kernel.Exit{Code: -1, Signal: syscall.SIGSEGV, CoreDumped: true}), "signal", "SIGSEGV (signal 11, core dumped)"},
		"kill -9":       {kernel.Config{}, die(killed), "signal", "the kernel died: SIGKILL (signal 9)"},
		"machine full":  {kernel.Config{}, die(outOfMemory), "out_of_memory", "it ran out of memory and was killed by the system"},
		"memory limit":  {kernel.Config{}, die(overLimit), "out_of_memory", "out of memory: it needed more than its limit of 200 MiB"},
		"disk limit":    {kernel.Config{}, die(kernel.Exit{Code: -1, Signal: syscall.SIGKILL, OverDisk: true}), "disk_limit", "more disk space than its limit"},
		"earlier child": {kernel.Config{}, die(kernel.Exit{Code: -1, Unknown: true}), "unknown", "its exit code is not known"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they wait for disks
			c.cfg.RestartLimit, c.cfg.ShutdownWait = -1, 50*time.Millisecond
			f := newFixture(t, c.cfg, kerneltest.Options{})
			id := f.start()
			page := f.attach(id)
			running := page.run("hang")
			page.until(func(e kernel.Entry) bool { return state(e) == "busy" })
			waiting := page.run("echo never")
			c.end(t, f, id)
			all := page.until(ended(running))
			require.Contains(t, content(t, all, "error")["evalue"], c.says)
			require.Equal(t, "error", content(t, all, "execute_reply")["status"])
			aborted := content(t, page.until(ended(waiting)), "execute_reply")
			require.Equal(t, "aborted", aborted["status"])
			require.Contains(t, aborted["evalue"], c.says)
			if s, err := f.Get(id); err == nil && name != "restarted" {
				require.Contains(t, s.Reason, c.says)
				require.Equal(t, s.Reason, s.Model().Reason)
			}
			require.Eventually(t, func() bool { return f.counter("nbserv_kernel_processes_ended_total", c.cause) == 1 },
				patience, time.Millisecond)
		})
	}
}

// counter is the value of a metric with one label.
func (f *fixture) counter(name, label string) float64 {
	f.t.Helper()
	families, err := f.reg.Gather()
	require.NoError(f.t, err)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && m.GetLabel()[0].GetValue() == label {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

// runManager runs what a Manager does by itself until the test ends.
func runManager(t *testing.T, f *fixture) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); f.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}
