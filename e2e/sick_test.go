package e2e

import (
	"context"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// roundTrips measures n executions and gives their median and their p99.
func roundTrips(c *socket, n int) (median, p99 time.Duration) {
	c.t.Helper()
	all := make([]time.Duration, n)
	for i := range all {
		began := time.Now()
		require.Equal(c.t, "x\n", c.execute("print x").text)
		all[i] = time.Since(began)
	}
	slices.Sort(all)
	return all[n/2], all[n*99/100]
}

const (
	trips = 200
	// worse bounds how much longer a healthy session may take beside a sick one, in the median: the sick one, the
	// tests of other packages and whoever shares the machine compete for its processors, and one turn of theirs
	// is a p99. The p99 is logged.
	worse = 20
	// quickest is the least baseline that counts: below it one turn of the scheduler would be a multiple.
	quickest = 5 * time.Millisecond
)

// One sick session, many kinds of sickness: the others go on as before.
func TestSicknessDoesNotSpread_P10(t *testing.T) {
	s := startSynth(t, "--shutdown-wait=1s")
	s.wrapSpec("spins", "while :; do :; done & exec_kernel")
	healthy := s.dial(t, s.create("healthy.ipynb", "synth").Kernel.ID)
	healthy.execute("echo warm")
	alone, _ := roundTrips(healthy, trips)
	baseline := max(alone, quickest)
	for _, c := range []struct {
		name string
		ail  func(t *testing.T) (heal func())
	}{
		{"stopped kernel", func(t *testing.T) func() {
			kernel := s.create("stopped.ipynb", "synth").Kernel.ID
			ws := s.dial(t, kernel)
			ws.execute("echo x")
			require.NoError(t, syscall.Kill(s.kernelProcess(kernel).pid, syscall.SIGSTOP))
			for range 100 {
				ws.request("shell", "execute_request", code("echo "+version(1)[:10_000]))
			}
			return nothing
		}},
		{"spinning kernel", func(t *testing.T) func() {
			s.dial(t, s.create("spins.ipynb", "spins").Kernel.ID).execute("echo x")
			return nothing
		}},
		{"dying kernel", func(t *testing.T) func() {
			ws := s.dial(t, s.create("dies.ipynb", "synth").Kernel.ID)
			return ws.inBackground(t, "die 1", func(error) bool { return true })
		}},
		{"flooding kernel", func(t *testing.T) func() {
			ws := s.dial(t, s.create("floods.ipynb", "synth").Kernel.ID)
			return ws.inBackground(t, "flood 2000 1000", func(err error) bool { return err == nil })
		}},
		{"client that never reads", func(t *testing.T) func() {
			kernel := s.create("deaf.ipynb", "synth").Kernel.ID
			ws := s.dial(t, kernel)
			require.NoError(t, ws.NetConn().(*net.TCPConn).SetReadBuffer(4<<10))
			ws.request("shell", "execute_request", code("flood 20000 1000"))
			s.eventually(func() bool {
				return s.metric("nbserv_kernel_messages_received_total", `channel="iopub"`) > 10_000
			})
			return nothing
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			healthy.t = t
			heal := c.ail(t)
			median, p99 := roundTrips(healthy, trips)
			heal()
			t.Logf("median %v, p99 %v, alone %v", median, p99, alone)
			require.Less(t, median, worse*baseline)
		})
		var list []session
		s.call("GET", "api/sessions", nil, &list)
		for _, l := range list { // one sickness at a time; the sick end like others
			if l.Path != "healthy.ipynb" {
				require.Contains(t, []int{204, 410}, s.call("DELETE", "api/sessions/"+l.ID, nil, nil).StatusCode, l.Path)
			}
		}
		require.Len(t, s.processes(), 1)
	}
}

func nothing() {}

// inBackground executes code over and over until the function it gives is called, or goOn says no to what came.
func (c *socket) inBackground(t *testing.T, text string, goOn func(error) bool) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			id := time.Now().Format(time.RFC3339Nano)
			if err := c.send(id, "shell", "execute_request", code(text)); err != nil {
				return // closed: the kernel is given up
			}
			if _, err := c.collect(id); err != nil || !goOn(err) {
				return
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}
