package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Two clients of one kernel work at once and see one order of its outputs, over an interrupt, a kill -9 of the
// kernel and a restart. Every request has its reply and its idle; busy comes before outputs before idle.
func TestTwoClientsSeeOneOrder_P5(t *testing.T) {
	s := startSynth(t, "--shutdown-wait=1s")
	kernel := s.create("order.ipynb", "synth").Kernel.ID
	type seen struct {
		iopub   []string // what came, message by message
		replies map[string]string
	}
	var logs [2]seen
	var readers, writers sync.WaitGroup
	var clients [2]*socket
	for i := range clients {
		clients[i] = s.dial(t, kernel)
		logs[i].replies = map[string]string{}
	}
	// Both are attached and hear the kernel before anything counts.
	for _, c := range clients {
		c.execute("echo ready")
	}
	last := [2]string{"end-0", "end-1"} // requests
	for i, c := range clients {
		readers.Go(func() {
			for ended := 0; ended < 2 || logs[i].replies[last[i]] == ""; {
				m, err := c.next()
				if err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
				if m.Channel != "iopub" {
					logs[i].replies[m.Parent.MsgID] = m.Content.Status
					continue
				}
				logs[i].iopub = append(logs[i].iopub, fmt.Sprintf("%s:%s%s %s", m.Header.MsgID, m.Header.MsgType, m.Content.State, m.Parent.MsgID))
				if m.Content.State == "idle" && slices.Contains(last[:], m.Parent.MsgID) {
					ended++
				}
			}
		})
	}
	var sent [2][]string
	burst := func(text string, n int) {
		for i, c := range clients {
			writers.Go(func() {
				for k := range n {
					id := fmt.Sprintf("request-%d-%d-%d", i, len(sent[i]), k)
					if err := c.send(id, "shell", "execute_request", code(text)); err != nil {
						t.Errorf("client %d: %v", i, err)
					}
					sent[i] = append(sent[i], id)
				}
			})
		}
		writers.Wait()
	}
	burst("flood 200 200\norder 30", 10)
	third := s.dial(t, kernel)
	sleep := third.begin("sleep 10m")
	burst("order 30", 2)
	require.Equal(t, 204, s.call("POST", "api/kernels/"+kernel+"/interrupt", nil, nil).StatusCode)
	r, err := third.collect(sleep)
	require.NoError(t, err)
	require.Equal(t, "KeyboardInterrupt", r.errName)
	burst("flood 5000 100", 1)
	require.NoError(t, syscall.Kill(s.kernelProcess(kernel).pid, syscall.SIGKILL))
	burst("order 30", 5)
	burst("hang", 1)
	require.Equal(t, 200, s.call("POST", "api/kernels/"+kernel+"/restart", nil, nil).StatusCode)
	burst("order 30", 5)
	for i, c := range clients {
		require.NoError(t, c.send(last[i], "shell", "execute_request", code("print the end")))
	}
	readers.Wait()

	require.Equal(t, tails(logs[0].iopub, logs[1].iopub), logs[1].iopub, "one order")
	for i := range clients {
		byParent := map[string][]string{}
		for _, line := range logs[i].iopub {
			kind, parent, _ := strings.Cut(line, " ")
			byParent[parent] = append(byParent[parent], kind)
		}
		for _, id := range sent[i] {
			require.NotEmpty(t, logs[i].replies[id], "client %d has its reply to %s", i, id)
			requireBracketed(t, byParent[id], id)
		}
	}
}

// tails cuts what only the first client has seen in front of what both have: it was attached a little earlier.
func tails(a, b []string) []string {
	for i := range a {
		if a[i] == b[0] {
			return a[i:]
		}
	}
	return a
}

// requireBracketed checks that a request's iopub messages begin with its only busy and end with its only idle;
// what was never begun has an idle alone.
func requireBracketed(t *testing.T, kinds []string, id string) {
	t.Helper()
	require.NotEmpty(t, kinds, id)
	require.Contains(t, kinds[len(kinds)-1], "statusidle", "%s ends with its idle", id)
	for i, k := range kinds[:len(kinds)-1] {
		require.NotContains(t, k, "statusidle", "%s has one idle", id)
		if i > 0 {
			require.NotContains(t, k, "statusbusy", "%s has one busy, first", id)
		}
	}
}

// Whatever becomes of the kernel, an execution gets its reply and its idle, and the kernel works afterwards.
func TestEveryExecutionEnds_P6(t *testing.T) {
	s := startSynth(t, "--shutdown-wait=1s")
	kernelID := func(t *testing.T) string { return s.create(t.Name()+".ipynb", "synth").Kernel.ID }
	post := func(t *testing.T, kernel, verb string, status int) {
		require.Equal(t, status, s.call("POST", "api/kernels/"+kernel+"/"+verb, nil, nil).StatusCode)
	}
	for _, c := range []struct {
		name, code string
		act        func(t *testing.T, kernel string)
		errName    string // in the error output
	}{
		{"dies", "die 7", nil, "DeadKernelError"},
		{"is killed", "sleep 10m", func(t *testing.T, kernel string) {
			require.NoError(t, syscall.Kill(s.kernelProcess(kernel).pid, syscall.SIGKILL))
		}, "DeadKernelError"},
		{"hangs and is restarted", "hang", func(t *testing.T, kernel string) { post(t, kernel, "restart", 200) }, ""},
		{"hangs whole and is restarted", "hang-all", func(t *testing.T, kernel string) { post(t, kernel, "restart", 200) }, ""},
		{"is interrupted", "sleep 10m", func(t *testing.T, kernel string) { post(t, kernel, "interrupt", 204) }, "KeyboardInterrupt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			kernel := kernelID(t)
			ws := s.dial(t, kernel)
			var id string
			if c.act == nil {
				id = ws.request("shell", "execute_request", code(c.code)) // even its execute_input may die with it
			} else {
				id = ws.begin(c.code)
			}
			queued := ws.request("shell", "execute_request", code("echo queued"))
			if c.act != nil {
				c.act(t, kernel)
			}
			r, err := ws.collect(id)
			require.NoError(t, err)
			require.Equal(t, "error", r.reply.Content.Status)
			require.NotEmpty(t, r.errName, "a notebook shows why")
			if c.errName != "" {
				require.Equal(t, c.errName, r.errName)
			}
			_, err = ws.collect(queued)
			require.NoError(t, err, "what waited behind it ends, too")
			require.Equal(t, "again\n", ws.execute("print again").text)
		})
	}
	t.Run("is shut down", func(t *testing.T) {
		kernel := kernelID(t)
		ws := s.dial(t, kernel)
		id := ws.begin("sleep 10m")
		require.Equal(t, 204, s.call("DELETE", "api/kernels/"+kernel, nil, nil).StatusCode)
		r, err := ws.collect(id)
		require.NoError(t, err)
		require.Equal(t, "error", r.reply.Content.Status)
		require.Equal(t, 4410, ws.closeCode(), "and the client hears that the kernel is gone")
	})
}
