package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// crash kills the server, with no time to finish anything, and starts it on the same folders, beside its kernels.
func (s *server) crash() {
	s.t.Helper()
	s.stop(syscall.SIGKILL)
	s.run()
}

// dialAs opens a kernel's WebSocket for a client session that there was before.
func (s *server) dialAs(t *testing.T, kernelID, session string) *socket {
	t.Helper()
	conn, _, err := s.upgrade(kernelID+"/channels?session_id="+session, s.bearer())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return &socket{Conn: conn, t: t, kernel: kernelID, session: session}
}

// language is what a test says to a real kernel.
type language struct {
	set, get string // sets and prints a variable
	until    string // prints until there is a file, %s, and then "done"
	input    string
	sleep    string
}

var languages = map[string]language{
	"python3": {
		set: "x = 6 * 7", get: "print(x)",
		until: "import os, time\nwhile not os.path.exists(%q):\n    print('tick', flush=True); time.sleep(.02)\nprint('done')",
		input: "print('got ' + input('name? '))", sleep: "import time; time.sleep(600)",
	},
	"ir": {
		set: "x <- 6 * 7", get: "cat(x, '\\n', sep='')",
		until: "while (!file.exists(%q)) { cat('tick\\n'); flush(stdout()); Sys.sleep(.02) }\ncat('done\\n')",
		input: "cat(paste('got', readline('name? ')), '\\n', sep='')", sleep: "Sys.sleep(600)",
	},
}

// requireSpec skips a test whose kernel is not installed, and fails it where it has to be.
func (s *server) requireSpec(t *testing.T, name string) {
	t.Helper()
	if s.call("GET", "api/kernelspecs/"+name, nil, nil).StatusCode == 200 {
		return
	}
	require.NotContains(t, strings.Split(os.Getenv("NBSERV_REQUIRE_KERNELS"), ","), name, "kernel %s is required", name)
	t.Skipf("there is no kernelspec %s", name)
}

// A kernel keeps its process, variables and names over kill -9 of its server, whatever it was doing; what it is asked
// ends, and afterwards it can be interrupted, restarted and shut down like any other.
func TestKernelsOutliveTheServer_P3_P6_P11(t *testing.T) {
	for name, say := range languages {
		t.Run(name, func(t *testing.T) {
			s := start(t, "--kernel-host=inprocess")
			s.requireSpec(t, name)
			body := map[string]any{"path": "a.ipynb", "type": "notebook", "kernel": map[string]any{"name": name}}
			var made session
			require.Equal(t, 201, s.call("POST", "api/sessions", body, &made).StatusCode)
			kernel := made.Kernel.ID
			c := s.dial(t, kernel)
			c.execute(say.set)
			same := func() {
				t.Helper()
				s.crash()
				var again session
				s.call("POST", "api/sessions", body, &again)
				require.Equal(t, made.ID, again.ID)
				require.Equal(t, kernel, again.Kernel.ID)
				c = s.dialAs(t, kernel, c.session)
			}

			// Printing: what is queued behind it runs, too.
			stop := filepath.Join(t.TempDir(), "stop")
			printing := c.begin(fmt.Sprintf(say.until, stop))
			queued := c.request("shell", "execute_request", code(say.get))
			c.heard() // what a server has not read dies with it, and nobody can tell
			var m message
			for range 3 { // and what it has not handed on
				var err error
				m, err = c.next()
				require.NoError(t, err)
				require.Equal(t, "stream", m.Header.MsgType)
			}
			same()
			for m.Content.Text != "tick\n" || m.Parent.MsgID != printing { // heard by the new server
				var err error
				m, err = c.next()
				require.NoError(t, err)
			}
			require.NoError(t, os.WriteFile(stop, nil, 0o600))
			r, err := c.collect(printing)
			require.NoError(t, err)
			if name == "python3" {
				// IRkernel answers to an identity that it has given away, as long as something is queued: its reply is
				// lost, and said to be.
				require.Equal(t, "ok", r.reply.Content.Status)
			}
			require.True(t, strings.HasSuffix(r.text, "done\n"), r.text)
			r, err = c.collect(queued)
			require.NoError(t, err)
			require.Equal(t, "42\n", r.text)

			// Asking.
			ask := code(say.input)
			ask["allow_stdin"] = true
			asking := c.request("shell", "execute_request", ask)
			for m.Header.MsgType != "input_request" {
				m, err = c.next()
				require.NoError(t, err)
			}
			same()
			c.request("stdin", "input_reply", map[string]any{"value": "Ada"})
			r, err = c.collect(asking)
			require.NoError(t, err)
			require.Equal(t, "got Ada", strings.TrimSpace(r.text))

			// Working, and interrupted.
			sleeping := c.begin(say.sleep)
			same()
			s.ready(kernel, "busy")
			require.Equal(t, 204, s.call("POST", "api/kernels/"+kernel+"/interrupt", nil, nil).StatusCode)
			r, err = c.collect(sleeping)
			require.NoError(t, err)
			require.NotEqual(t, "ok", r.reply.Content.Status)

			// Idle.
			same()
			require.Equal(t, "42\n", c.execute(say.get).text)
			s.ready(kernel, "idle")
			same()
			require.Equal(t, 200, s.call("POST", "api/kernels/"+kernel+"/restart", nil, nil).StatusCode)
			require.Equal(t, "error", c.execute(say.get).reply.Content.Status, "a fresh one")
			same()
			require.Equal(t, 204, s.call("DELETE", "api/sessions/"+made.ID, nil, nil).StatusCode)
			s.eventually(func() bool { // the last client reads the journal to its end
				left, err := os.ReadDir(filepath.Join(s.state, "kernels"))
				return err == nil && len(left) == 0
			}, "a kernel's folder is left")
			requireNoProcess(t, kernel)
		})
	}
}

// ready waits until a kernel that was taken over is connected again, and checks its state. A client of the default
// protocol is let in then.
func (s *server) ready(kernelID, state string) {
	s.t.Helper()
	s.dial(s.t, kernelID).Close()
	var k struct {
		State string `json:"execution_state"`
	}
	s.eventually(func() bool {
		s.call("GET", "api/kernels/"+kernelID, nil, &k)
		return k.State == state
	}, "the kernel is not %s", state)
}

// requireNoProcess checks that no process has a word in its command line, where that can be seen.
func requireNoProcess(t *testing.T, word string) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, line := range lines {
		text, _ := os.ReadFile(line)
		require.NotContains(t, string(text), word)
	}
}

// A kernel that ended while no server ran is known as dead, with the reason, is in no list, and gives way to a new one
// for the same session. One that dies under the server that took it over is started again, and the reason is told.
func TestKernelsThatEndWithoutTheirServer_P2_P12(t *testing.T) {
	s := startSynth(t, "--kernel-host=inprocess")
	gone, dies := s.create("gone.ipynb", "synth"), s.create("dies.ipynb", "synth")
	s.dial(t, gone.Kernel.ID).execute("echo warm")
	c := s.dial(t, dies.Kernel.ID)
	c.execute("echo warm")
	pid := s.kernelProcess(gone.Kernel.ID).pid
	s.stop(syscall.SIGKILL)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	s.run()

	var got session
	require.Equal(t, 200, s.call("GET", "api/sessions/"+gone.ID, nil, &got).StatusCode)
	require.Equal(t, "dead", got.Kernel.ExecutionState)
	require.Contains(t, got.Kernel.Reason, "while no server ran")
	require.Equal(t, 200, s.call("GET", "api/kernels/"+gone.Kernel.ID, nil, nil).StatusCode, "never 404: a page would lose its kernel's name")
	var list []session
	s.call("GET", "api/sessions", nil, &list)
	require.Len(t, list, 1)
	require.Equal(t, dies.ID, list[0].ID)
	var kernels []struct{ ID string }
	s.call("GET", "api/kernels", nil, &kernels)
	require.Len(t, kernels, 1)
	again := s.create("gone.ipynb", "synth")
	require.Equal(t, gone.ID, again.ID)
	require.NotEqual(t, gone.Kernel.ID, again.Kernel.ID)
	require.Equal(t, 404, s.call("GET", "api/kernels/"+gone.Kernel.ID, nil, nil).StatusCode)

	c = s.dialAs(t, dies.Kernel.ID, c.session)
	c.execute("echo warm")
	r, err := c.collect(c.request("shell", "execute_request", code("die 7")))
	require.NoError(t, err)
	require.Equal(t, "DeadKernelError", r.errName)
	value := ""
	for _, m := range r.all {
		if m.Header.MsgType == "error" {
			value = m.Content.EValue
		}
	}
	// Who is not its parent learns it where the operating system tells: Linux from 6.15 on, at the latest.
	require.Regexp(t, "exit code 7|exit code is not known", value)
	require.Equal(t, "anew\n", c.execute("print anew").text)
}

// A server that is killed while it starts kernels leaves none that no session has: what the next one finds running
// is what it shows.
func TestKillsAmongCreates_P1_P2_P11(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("processes are found by their marks on Linux alone")
	}
	s := startSynth(t, "--kernel-host=inprocess")
	for round := range 6 {
		var mu sync.Mutex
		acknowledged := map[string]string{} // session -> kernel
		var wg sync.WaitGroup
		begun := make(chan struct{}, 1)
		for worker := range 4 {
			wg.Go(func() {
				for i := 0; ; i++ {
					path := fmt.Sprintf("%d-%d-%d.ipynb", round, worker, i)
					made, err := s.tryCreate(path)
					if err != nil {
						return // the server is gone
					}
					mu.Lock()
					acknowledged[made.ID] = made.Kernel.ID
					mu.Unlock()
					select {
					case begun <- struct{}{}:
					default:
					}
				}
			})
		}
		for range 1 + round {
			<-begun
		}
		s.stop(syscall.SIGKILL)
		wg.Wait()
		s.run()
		var list []session
		s.call("GET", "api/sessions", nil, &list)
		shown := map[string]string{}
		var kernels []string
		for _, one := range list {
			shown[one.ID] = one.Kernel.ID
			kernels = append(kernels, one.Kernel.ID)
		}
		for id, kernel := range acknowledged {
			// A kernel that ends while it starts is started again, but not by a server that was killed just then: then it is lost, and said to be.
			if shown[id] == "" && strings.Contains(s.log.String(), `msg="kernel is lost" kernel_id=`+kernel) {
				continue
			}
			require.Equal(t, kernel, shown[id], "round %d", round)
		}
		slices.Sort(kernels)
		require.Equal(t, kernels, slices.Compact(kernels))
		var all []struct{ ID string }
		s.call("GET", "api/kernels", nil, &all)
		require.Len(t, all, len(kernels))
		s.eventually(func() bool { return len(s.processes()) == len(kernels) }, "round %d: %d kernels", round, len(kernels))
		for _, one := range list {
			require.Equal(t, 204, s.call("DELETE", "api/sessions/"+one.ID, nil, nil).StatusCode)
		}
		s.eventually(func() bool { return len(s.processes()) == 0 }, "round %d: nothing is left, and the look at bubblewrap is over", round)
	}
}

// tryCreate is create for goroutines that are not the test's, and servers that may be gone.
func (s *synth) tryCreate(path string) (made session, err error) {
	a, err := s.ask("POST", "api/sessions", fmt.Appendf(nil, `{"path":%q,"type":"notebook"}`, path), s.bearer())
	if err == nil && a.StatusCode != 201 {
		err = fmt.Errorf("%s: %s", a.Status, a.body)
	}
	if err == nil {
		err = json.Unmarshal(a.body, &made)
	}
	return made, err
}

// Fifty clients of many kernels read on after kill -9 of their server; `make bench BENCH=roles` says how soon.
func TestClientsReadOnSoonAfterAKill_P3(t *testing.T) {
	const kernels = 25
	s := startSynth(t, "--kernel-host=inprocess")
	var clients []*socket
	for i := range kernels {
		id := s.create(fmt.Sprintf("%d.ipynb", i), "synth").Kernel.ID
		for range 2 {
			c := s.dial(t, id)
			c.execute("echo warm")
			clients = append(clients, c)
		}
	}
	began := time.Now()
	s.crash()
	var wg sync.WaitGroup
	took := make([]time.Duration, len(clients))
	for i, c := range clients {
		wg.Go(func() {
			c := s.dialAs(t, c.kernel, c.session)
			id := fmt.Sprintf("again-%d", i)
			if err := c.send(id, "shell", "execute_request", code("print again")); err != nil {
				t.Errorf("client %d: %v", i, err)
				return
			}
			if _, err := c.collect(id); err != nil {
				t.Errorf("client %d: %v", i, err)
			}
			took[i] = time.Since(began)
		})
	}
	wg.Wait()
	t.Logf("from the kill to the last of %d clients: %v", len(clients), slices.Max(took))
}
