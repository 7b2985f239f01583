package e2e

import (
	"fmt"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// Told to stop in the middle of everything, the server ends within its time, says goodbye to every client, and
// leaves no process.
func TestStopUnderLoad_P15(t *testing.T) {
	t.Parallel() // it waits for a kernel that hangs
	s := startSynth(t)
	s.wrapSpec("family", "setsid sleep 1000 & exec_kernel")
	var kernels []string
	for i := range 8 {
		spec := []string{"synth", "family"}[i%2]
		kernels = append(kernels, s.create(fmt.Sprintf("%d.ipynb", i), spec).Kernel.ID)
	}
	var clients []*socket
	for i := range 4 * len(kernels) {
		clients = append(clients, s.dial(t, kernels[i%len(kernels)]))
	}
	work := []string{"sleep 10m", "print x", "hang", "flood 1000000 100"}
	for i, c := range clients[:len(kernels)] {
		c.request("shell", "execute_request", code(work[i%len(work)]))
	}
	load, codes := make(chan struct{}), make([]int, len(clients))
	var wg sync.WaitGroup
	wg.Go(func() { // requests go on until nobody answers
		defer close(load)
		for {
			if _, err := s.ask("GET", "api/sessions", nil, s.bearer()); err != nil {
				return
			}
		}
	})
	for i, c := range clients {
		wg.Go(func() { codes[i] = c.closeCode() })
	}
	began := time.Now()
	s.stop(syscall.SIGTERM)
	// 10 s are promised; a machine under test is given as many for itself. Kernels would go on for minutes.
	require.Less(t, time.Since(began), 20*time.Second)
	require.Equal(t, 0, s.cmd.ProcessState.ExitCode())
	<-load
	wg.Wait()
	for i, code := range codes {
		if work[i%len(work)] == work[3] && code == websocket.CloseAbnormalClosure {
			continue // too far behind a flood to be reached in the second that each has
		}
		require.Equal(t, websocket.CloseGoingAway, code, "client %d", i)
	}
	require.Empty(t, s.processes())
}

// A taken port is passed over as often as --port-retries allows, and named otherwise.
func TestTakenPort_P15(t *testing.T) {
	first := start(t)
	u, err := url.Parse(first.url)
	require.NoError(t, err)
	second := prepare(t, "--port="+u.Port(), "--port-retries=20")
	second.run()
	require.NotEqual(t, first.url, second.url)
	require.Equal(t, 200, first.call("GET", "api/status", nil, nil).StatusCode)
	require.Equal(t, 200, second.call("GET", "api/status", nil, nil).StatusCode)

	for _, c := range []struct{ name, state, flag string }{
		{"no retries", t.TempDir(), "--port"},
		{"a state folder in use", first.state, "--state-dir"},
	} {
		args := []string{"--port=" + u.Port(), "--port-retries=0", "--token=x", "--root-dir=" + first.root, "--state-dir=" + c.state}
		out, err := exec.CommandContext(t.Context(), binary, args...).CombinedOutput()
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit, c.name)
		require.Equal(t, 1, exit.ExitCode(), "%s: %s", c.name, out)
		require.Contains(t, string(out), c.flag)
		require.NotContains(t, strings.ToLower(string(out)), "goroutine")
	}
}
