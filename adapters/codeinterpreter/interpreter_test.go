package codeinterpreter

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/kernel/kerneltest"
	"github.com/nbserv/nbserv/sessions"
)

func TestStateLivesBetweenCalls(t *testing.T) {
	s := scripted(t, nil).serve(nil)
	r := s.run("first", "print a\necho b")
	require.Equal(t, "Succeeded", r.Status)
	require.Equal(t, "a\nb\n", r.Result.Stdout)
	require.JSONEq(t, `"b"`, string(r.Result.ExecutionResult))
	s.run("first", "print c")
	s.run("other", "print d")
	require.Len(t, s.kernels.List(), 2, "one kernel for each identifier")

	all := s.sessions.List(t.Context())
	require.Len(t, all, 2, "JupyterLab shows them")
	require.Equal(t, "console", all[0].Type)
	require.Equal(t, "code-interpreter/test/first", all[0].Path)

	a := s.ask("GET", "listSessions", "")
	require.Len(t, decode[sessionsAnswer](t, a.body).Sessions, 2)
	got := decode[sessionResource](t, s.ask("GET", "session?identifier=first", "").body)
	require.Equal(t, "first", got.Identifier)
	require.NotEmpty(t, got.ETag)
}

// 20 identifiers at once, several executions of each: every one sees its own.
func TestManyIdentifiersAtOnce(t *testing.T) {
	s := scripted(t, nil).serve(nil)
	var wg sync.WaitGroup
	failures := make(chan string, 200)
	for i := range 20 {
		for range 3 {
			wg.Go(func() {
				id := fmt.Sprintf("identifier %d", i)
				a, err := s.try(context.Background(), "POST", "executions?identifier="+strings.ReplaceAll(id, " ", "%20"), `{"code":"cwd"}`)
				if err != nil || a.code != http.StatusOK {
					failures <- fmt.Sprint(err, a.body)
				}
			})
		}
	}
	wg.Wait()
	close(failures)
	for f := range failures {
		t.Error(f)
	}
	require.Len(t, s.kernels.List(), 20, "P1: one identifier, one kernel")
}

// The end of a session frees kernel, folder, rows and the session that JupyterLab shows (P11).
func TestDeleteFreesEverything_P11(t *testing.T) {
	s := scripted(t, nil).serve(nil)
	s.run("gone soon", "print x", "operation-id", "op")
	dir := strings.TrimSpace(s.run("gone soon", "cwd").Result.Stdout)
	require.DirExists(t, dir)
	require.Equal(t, http.StatusNoContent, s.ask("DELETE", "session?identifier=gone+soon", "").code)
	require.Empty(t, s.kernels.List())
	require.Empty(t, s.sessions.List(t.Context()))
	require.NoDirExists(t, dir)
	rows, executions, err := s.table.load(t.Context())
	require.NoError(t, err)
	require.Empty(t, rows)
	require.Empty(t, executions)
	refused(t, s.ask("DELETE", "session?identifier=gone+soon", ""), http.StatusNotFound, "SessionNotFound")
	refused(t, s.ask("GET", "executions/op?identifier=gone+soon", ""), http.StatusNotFound, "SessionNotFound")

	s.run("gone soon", "print anew")
	require.Equal(t, http.StatusOK, s.ask("POST", ".management/stopSession?identifier=gone+soon", "").code)
	require.Empty(t, s.kernels.List())
}

// What runs when its session is deleted, and what waits, is told so.
func TestDeleteEndsWhatRuns_P6(t *testing.T) {
	s := scripted(t, nil).serve(nil)
	s.run("busy", "print x")
	var wg sync.WaitGroup
	answers := make(chan string, 2)
	for range 2 {
		wg.Go(func() {
			a, err := s.try(context.Background(), "POST", "executions?identifier=busy", `{"code":"print go\nsleep 60s"}`)
			answers <- fmt.Sprint(err, a.body)
		})
	}
	require.Eventually(t, func() bool {
		st := s.kernels.List()
		return len(st) == 1 && st[0].ExecutionState == "busy" && s.waiting("busy") == 1
	}, patience, tick)
	require.Equal(t, http.StatusNoContent, s.ask("DELETE", "session?identifier=busy", "").code)
	wg.Wait()
	for range 2 {
		require.Contains(t, <-answers, "Canceled")
	}
}

// waiting is how many executions of a session have not begun.
func (s *server) waiting(identifier string) int {
	x, err := s.pools[s.names[0]].find(identifier)
	if err != nil {
		return -1
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.queue)
}

func TestLimits(t *testing.T) {
	s := scripted(t, nil).serve(func(c *Config) { c.Pools[0].MaxSessions, c.Pools[0].Queue = 2, 1 })
	s.run("one.", "print x")
	s.run("two.", "print x")
	a := s.ask("POST", "executions?identifier=three", `{"code":"1"}`)
	require.Contains(t, refused(t, a, http.StatusTooManyRequests, "SessionPoolFull"), "2 sessions")
	require.Equal(t, "1", a.header.Get("Retry-After"))

	async := func(id string) answer {
		return s.ask("POST", "executions?identifier=one.", `{"code":"sleep 60s","executionType":"Asynchronous"}`, "operation-id", id)
	}
	require.Equal(t, http.StatusAccepted, async("a").code)
	require.Eventually(t, func() bool { return s.waiting("one.") == 0 }, patience, tick)
	require.Equal(t, http.StatusAccepted, async("b").code)
	full := async("c")
	refused(t, full, http.StatusTooManyRequests, "SessionBusy")
	require.Equal(t, "1", full.header.Get("Retry-After"))
	require.Equal(t, "Succeeded", s.run("two.", "print x").Status, "another session has a queue of its own")
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	s := scripted(t, nil).serve(func(c *Config) { c.Pools[0].MaxSessions, c.Pools[0].Ready, c.Metrics = 2, 1, reg })
	s.run("one.", "print x")
	s.run("one.", "error E no")
	s.execute("two.", map[string]any{"code": "sleep 60s", "timeoutInSeconds": 1})
	refused(t, s.ask("POST", "executions?identifier=three", `{"code":"1"}`), http.StatusTooManyRequests, "SessionPoolFull")
	numbers := func() map[string]float64 {
		families, err := reg.Gather()
		require.NoError(t, err)
		got := map[string]float64{}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				name := strings.TrimPrefix(f.GetName(), "nbserv_codeinterpreter_")
				for _, l := range m.GetLabel() {
					if l.GetName() != "pool" {
						name += " " + l.GetValue()
					}
				}
				got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
		return got
	}
	require.Eventually(t, func() bool { return numbers()["ready_count"] == 1 }, patience, tick)
	require.Equal(t, map[string]float64{
		"sessions_count": 2, "ready_count": 1, "queued_count": 0, "interrupts_total": 1, "refused_total sessions": 1, "refused_total queue": 0,
		"executions_total Succeeded": 1, "executions_total Failed": 2, "executions_total Canceled": 0,
	}, numbers())
}

func TestCoolDown(t *testing.T) {
	s := scripted(t, nil).serve(func(c *Config) { c.Pools[0].CoolDown = 300 * time.Millisecond })
	s.run("idle", "print x")
	s.execute("long", map[string]any{"code": "sleep 60s", "executionType": "asynchronous"}, "operation-id", "op")
	gone := func(id string) bool { return s.ask("GET", "session?identifier="+id, "").code == http.StatusNotFound }
	require.Eventually(t, func() bool { return gone("idle") }, patience, tick)
	require.False(t, gone("long"), "a session at work does not cool down")
	require.Equal(t, http.StatusOK, s.ask("DELETE", "executions/op?identifier=long", "").code)
	require.Eventually(t, func() bool { return gone("long") && len(s.kernels.List()) == 0 }, patience, tick)
}

// A retry with the same key is the same execution; another request under it is a conflict.
func TestIdempotency(t *testing.T) {
	m := scripted(t, nil)
	s := m.serve(nil)
	for header, id := range map[string]string{"operation-id": "op-1", "Idempotency-Key": "some text, \"quoted\" & long"} {
		first := s.run("same", "echo x", header, id)
		again := s.run("same", "echo x", header, id)
		require.Equal(t, first, again)
		refused(t, s.ask("POST", "executions?identifier=same", `{"code":"echo y"}`, header, id), http.StatusConflict, "OperationIdConflict")
	}
	require.EqualValues(t, 2, m.prov.Kernels()[0].Executions())

	// Both at once: one runs, both are answered with it.
	var wg sync.WaitGroup
	answers := make(chan string, 8)
	for range 8 {
		wg.Go(func() {
			a, err := s.try(context.Background(), "POST", "executions?identifier=same", `{"code":"sleep 50ms\necho z"}`, "operation-id", "op-2")
			answers <- fmt.Sprint(err, a.body)
		})
	}
	wg.Wait()
	one := <-answers
	for range 7 {
		require.Equal(t, one, <-answers)
	}
	require.EqualValues(t, 3, m.prov.Kernels()[0].Executions())

	// Also after a restart of the server.
	want := s.ask("GET", "executions/op-1?identifier=same", "").body
	s.stop()
	next := m.serve(nil)
	require.Equal(t, want, next.ask("GET", "executions/op-1?identifier=same", "").body)
	require.Equal(t, decode[resource](t, want), next.run("same", "echo x", "operation-id", "op-1"))
	refused(t, next.ask("POST", "executions?identifier=same", `{"code":"echo y"}`, "operation-id", "op-1"), http.StatusConflict, "OperationIdConflict")
	require.EqualValues(t, 3, m.prov.Kernels()[0].Executions())
}

// The kernels outlive the server: what was under way is read to its end, what waited runs, and each once (P2, P3).
func TestExecutionsOutliveTheServer_P2_P3(t *testing.T) {
	m := scripted(t, nil)
	s := m.serve(nil)
	s.run("kept", "print x")
	s.execute("kept", map[string]any{"code": "print early\nsleep 2s\necho late", "executionType": "asynchronous"}, "operation-id", "under-way")
	s.execute("kept", map[string]any{"code": "echo waited", "executionType": "asynchronous"}, "operation-id", "waiting")
	require.Eventually(t, func() bool { return s.kernels.List()[0].ExecutionState == "busy" }, patience, tick)
	s.stop()

	next := m.serve(nil)
	get := func(id string) resource {
		return decode[resource](t, next.ask("GET", "executions/"+id+"?identifier=kept", "").body)
	}
	require.Eventually(t, func() bool { return get("under-way").Status == "Succeeded" && get("waiting").Status == "Succeeded" }, patience, tick)
	require.Equal(t, "early\nlate\n", get("under-way").Result.Stdout)
	require.Equal(t, "waited\n", get("waiting").Result.Stdout)
	require.EqualValues(t, 3, m.prov.Kernels()[0].Executions())
	require.Len(t, m.prov.Kernels(), 1)
}

// Where the kernel is gone, what was under way is lost, and says so.
func TestExecutionsOfALostKernel_P6(t *testing.T) {
	m := scripted(t, nil)
	s := m.serve(nil)
	s.execute("lost", map[string]any{"code": "sleep 60s", "executionType": "asynchronous"}, "operation-id", "op")
	require.Eventually(t, func() bool { l := s.kernels.List(); return len(l) == 1 && l[0].ExecutionState == "busy" }, patience, tick)
	s.stop()
	require.NoError(t, m.kernels.Shutdown(t.Context(), m.kernels.List()[0].ID))

	next := m.serve(nil)
	var r resource
	require.Eventually(t, func() bool {
		r = decode[resource](t, next.ask("GET", "executions/op?identifier=lost", "").body)
		return r.Status == "Failed"
	}, patience, tick)
	require.Equal(t, codeLost, r.Error.Code)
	again := next.run("lost", "print back")
	require.Equal(t, "back\n", again.Result.Stdout)
	require.Contains(t, again.Result.Stderr, "variables are gone")
}

// What never reached the kernel is known not to have run.
func TestExecutionsThatNeverBegan(t *testing.T) {
	m := scripted(t, nil)
	s := m.serve(nil)
	s.run("once", "print x")
	x, err := s.pools["test"].find("once")
	require.NoError(t, err)
	e := x.newExecution("op", request{Code: "echo never", Timeout: time.Minute})
	e.kept = true
	require.NoError(t, s.table.addExecution(t.Context(), executionRow{sessionID: x.id, id: "op", seq: 9, hash: e.hash[:], request: e.request, state: notStarted, created: e.created}))
	st, err := s.kernels.Get(x.kernel())
	require.NoError(t, err)
	require.NoError(t, e.begin(t.Context(), runRow{started: time.Now(), client: "nobody", kernelID: st.ID, position: st.Position}))
	s.stop()

	next := m.serve(nil)
	var r resource
	require.Eventually(t, func() bool {
		r = decode[resource](t, next.ask("GET", "executions/op?identifier=once", "").body)
		return r.Status == "Failed"
	}, patience, tick)
	require.Equal(t, codeLost, r.Error.Code)
	require.EqualValues(t, 1, m.prov.Kernels()[0].Executions())
}

func TestTimeouts(t *testing.T) {
	s := scripted(t, nil).serve(nil)
	r := s.execute("late", map[string]any{"code": "print x\nsleep 60s", "timeoutInSeconds": 1})
	require.Equal(t, "Failed", r.Status)
	require.Equal(t, "x\n", r.Result.Stdout)
	require.Equal(t, codeTimeout, r.Error.Code)
	require.Contains(t, r.Result.Stderr, "KeyboardInterrupt")
	require.Contains(t, r.Result.Stderr, "1s of its timeout")
	require.NotContains(t, r.Result.Stderr, "restarted")
	require.Equal(t, "Succeeded", s.run("late", "print y").Status, "the kernel goes on")

	r = s.execute("late", map[string]any{"code": "hang", "timeoutInSeconds": 1})
	require.Equal(t, codeTimeout, r.Error.Code)
	require.Contains(t, r.Result.Stderr, "restarted")
	require.Equal(t, "y\n", s.run("late", "print y").Result.Stdout)
}

func TestCancel(t *testing.T) {
	s := scripted(t, nil).serve(nil)
	s.run("stop", "print x")
	s.execute("stop", map[string]any{"code": "sleep 60s", "executionType": "asynchronous"}, "operation-id", "runs")
	s.execute("stop", map[string]any{"code": "print never", "executionType": "asynchronous"}, "operation-id", "waits")
	require.Eventually(t, func() bool { return s.kernels.List()[0].ExecutionState == "busy" }, patience, tick)
	a := s.ask("DELETE", "executions/waits?identifier=stop", "")
	require.Equal(t, "Canceled", decode[resource](t, a.body).Status)
	a = s.ask("POST", "executions/runs/cancel?identifier=stop", "")
	require.Equal(t, "Canceled", decode[resource](t, a.body).Status)
	a = s.ask("POST", "executions/runs/cancel?identifier=stop", "")
	require.Equal(t, http.StatusOK, a.code, "what has ended stays as it is")
	require.EqualValues(t, 2, s.prov.Kernels()[0].Executions())
	refused(t, s.ask("DELETE", "executions/none?identifier=stop", ""), http.StatusNotFound, "ExecutionNotFound")
}

// A client that goes does not stop the code, unless it has said so.
func TestClientsThatGo(t *testing.T) {
	s := scripted(t, nil).serve(nil)
	s.run("left", "print x")
	leave := func(id string, headers ...string) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := s.try(ctx, "POST", "executions?identifier=left", `{"code":"sleep 2s\nprint finished"}`, append(headers, "operation-id", id)...)
			done <- err
		}()
		require.Eventually(t, func() bool { return s.kernels.List()[0].ExecutionState == "busy" }, patience, tick)
		cancel()
		require.Error(t, <-done)
	}
	get := func(id string) resource {
		return decode[resource](t, s.ask("GET", "executions/"+id+"?identifier=left", "").body)
	}
	leave("goes-on")
	require.Eventually(t, func() bool { return get("goes-on").Status == "Succeeded" }, patience, tick)
	require.Equal(t, "finished\n", get("goes-on").Result.Stdout)
	leave("stops", "X-Cancel-On-Disconnect", "true")
	require.Eventually(t, func() bool { return get("stops").Status == "Canceled" }, patience, tick)
}

// A kernel that has just failed at somebody else's cell aborts what comes next, for a moment: the execution is sent
// again, and runs once.
func TestAbortedExecutionsAreSentAgain(t *testing.T) {
	var aborts atomic.Int32
	aborts.Store(2)
	m := scripted(t, func(kernel.Launch) (kerneltest.Options, error) {
		return kerneltest.Options{Script: func(r *kerneltest.Request) {
			if r.Type == "execute_request" && r.Code() == "print x" && aborts.Add(-1) >= 0 {
				r.Reply(map[string]any{"status": "aborted"})
				return
			}
			r.Default()
		}}, nil
	})
	s := m.serve(nil)
	r := s.run("aborted", "print x")
	require.Equal(t, "Succeeded", r.Status)
	require.Equal(t, "x\n", r.Result.Stdout)
	require.EqualValues(t, -1, aborts.Load(), "twice aborted, then run")
}

// The kernel's own abort window: a cell that fails as JupyterLab asks for it, with executions queued behind it.
func TestAFailedCellBeforeUs(t *testing.T) {
	s := scripted(t, nil).serve(nil)
	s.run("shared", "print x")
	for range 3 {
		r := s.behindAFailure("shared", "sleep 50ms\nerror E no", "print y")
		require.Equal(t, "y\n", r.Result.Stdout, "%+v", r.Result)
	}
	r := s.run("shared", "error E mine")
	require.Equal(t, "Failed", r.Status)
	require.Equal(t, "z\n", s.run("shared", "print z").Result.Stdout, "right after one of our own that failed")
}

// behindAFailure runs code while a cell of JupyterLab's runs in the same kernel, which fails.
func (s *server) behindAFailure(identifier, failing, code string) resource {
	s.t.Helper()
	x, err := s.pools[s.names[0]].find(identifier)
	require.NoError(s.t, err)
	var wg sync.WaitGroup
	defer wg.Wait()
	begun := make(chan struct{})
	wg.Go(func() {
		var once sync.Once
		defer once.Do(func() { close(begun) })
		for range s.kernels.Execute(s.t.Context(), x.kernel(), kernel.ExecuteRequest{Code: failing, StopOnError: true}) {
			once.Do(func() { close(begun) })
		}
	})
	<-begun
	return s.run(identifier, code)
}

// A kernel that dies is replaced by the next execution, which says so; files stay.
func TestDeadKernels_P12(t *testing.T) {
	s := scripted(t, nil).serve(nil)
	require.Equal(t, http.StatusOK, s.uploadFile("dies", "a.txt", "kept").code)
	r := s.run("dies", "print last words\ndie 3")
	require.Equal(t, "last words\n", r.Result.Stdout)
	require.Equal(t, codeKernelDied, r.Error.Code)
	require.Contains(t, r.Result.Stderr, "exit code 3")
	r = s.run("dies", "print back")
	require.Equal(t, "back\n", r.Result.Stdout)
	require.Contains(t, r.Result.Stderr, "variables are gone")
	require.Empty(t, s.run("dies", "print back").Result.Stderr)
	require.Equal(t, "kept", s.ask("GET", "files/a.txt/content?identifier=dies&api-version=2025-10-02-preview", "").body)
	require.Len(t, s.kernels.List(), 1)
}

// A kernel that cannot be started is the pool's trouble, and says so in the API's own words.
func TestKernelsThatDoNotStart(t *testing.T) {
	m := scripted(t, func(kernel.Launch) (kerneltest.Options, error) {
		return kerneltest.Options{}, fault.New(fault.Unstartable, "no such program")
	})
	s := m.serve(nil)
	a := s.ask("POST", "code/execute?identifier=none", `{"properties":{"code":"1"}}`)
	require.Contains(t, refused(t, a, http.StatusServiceUnavailable, "SessionUnavailable"), "no such program")
	r := s.run("none", "print x", "operation-id", "op")
	require.Equal(t, "Failed", r.Status, "who may ask again is told the same")
	require.Equal(t, "SessionUnavailable", r.Error.Code)
}

// A kernel that somebody gave our session by Jupyter's API is not ours: it is not confined.
func TestForeignKernelsAreReplaced(t *testing.T) {
	s := scripted(t, nil).serve(nil)
	ours := strings.TrimSpace(s.run("mixed", "cwd").Result.Stdout)
	all := s.sessions.List(t.Context())
	require.Len(t, all, 1)
	_, err := s.sessions.Update(t.Context(), all[0].ID, sessions.Patch{KernelName: "synth"})
	require.NoError(t, err)
	r := s.run("mixed", "cwd")
	require.Equal(t, ours, strings.TrimSpace(r.Result.Stdout))
	require.Len(t, s.kernels.List(), 1)
}

// The client of a session's kernel stays attached between executions, and not for long.
func TestLines(t *testing.T) {
	m := scripted(t, nil)
	s := m.serve(func(c *Config) { c.SweepEvery = time.Hour })
	connections := func() int { return m.kernels.List()[0].Connections }
	held := func() *line {
		x, err := s.pools["test"].find("line")
		require.NoError(t, err)
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.line
	}
	s.run("line", "print x")
	first := held()
	require.Equal(t, 1, connections())
	s.run("line", "error E no")
	require.Same(t, first, held())

	// Much that others run in between is passed over, and so is a kernel that has died.
	x, err := s.pools["test"].find("line")
	require.NoError(t, err)
	for range s.kernels.Execute(t.Context(), x.kernel(), kernel.ExecuteRequest{Code: "flood 300 10"}) {
	}
	require.Equal(t, "y\n", s.run("line", "print y").Result.Stdout)
	require.NotSame(t, first, held())
	s.run("line", "die 3")
	require.Equal(t, "z\n", s.run("line", "print z").Result.Stdout)
	require.NoError(t, s.kernels.Shutdown(t.Context(), x.kernel()))
	require.Equal(t, "z\n", s.run("line", "print z").Result.Stdout)
	require.Equal(t, 1, connections())
	s.stop()
	require.Zero(t, connections())

	s = m.serve(nil)
	s.run("line", "print x")
	require.Eventually(t, func() bool { return connections() == 0 }, patience, tick)
}

func TestReadySessions(t *testing.T) {
	m := scripted(t, nil)
	s := m.serve(func(c *Config) { c.Pools[0].Ready = 1 })
	warm := s.pools["test"].warm
	require.Eventually(t, func() bool { return warm.Ready() == 1 }, patience, tick)
	ready := m.kernels.List()[0].ID
	r := s.run("quick", "cwd")
	x, err := s.pools["test"].find("quick")
	require.NoError(t, err)
	require.Equal(t, ready, x.kernel())
	require.Equal(t, x.folder.files()+"\n", r.Result.Stdout)
	require.Eventually(t, func() bool { return warm.Ready() == 1 }, patience, tick)
	s.stop()
	require.Len(t, m.kernels.List(), 1, "what nobody took ends with the server")
	names, err := os.ReadDir(m.dir + "/test")
	require.NoError(t, err)
	require.Len(t, names, 1)
}

// useEmptyKernel: other variables, the same files, nothing left.
func TestFreshKernels(t *testing.T) {
	s := scripted(t, nil).serve(nil)
	here := s.run("fresh", "cwd").Result.Stdout
	r := s.execute("fresh", map[string]any{"code": "cwd", "useEmptyKernel": true})
	require.Equal(t, here, r.Result.Stdout)
	require.Len(t, s.prov.Kernels(), 2)
	require.Len(t, s.kernels.List(), 1)
}

// Old outcomes are forgotten in time, and large ones are not kept in memory.
func TestOutcomesAreBounded_P9(t *testing.T) {
	s := scripted(t, nil).serve(nil)
	s.run("many", "flood 20 100000", "operation-id", "large")
	for i := range maxRememberedCount + 5 {
		s.run("many", fmt.Sprintf("print %d", i))
	}
	x, err := s.pools["test"].find("many")
	require.NoError(t, err)
	x.mu.Lock()
	require.LessOrEqual(t, len(x.executions), maxRememberedCount+1)
	require.LessOrEqual(t, len(x.ended), maxRememberedCount)
	x.mu.Unlock()
	a := s.ask("GET", "executions/large?identifier=many", "")
	require.Greater(t, len(decode[resource](t, a.body).Result.Stdout), 500_000, "the database has it")
	x.forgetOld(t.Context(), time.Hour)
	require.Equal(t, http.StatusOK, s.ask("GET", "executions/large?identifier=many", "").code)
	x.forgetOld(t.Context(), 0)
	refused(t, s.ask("GET", "executions/large?identifier=many", ""), http.StatusNotFound, "ExecutionNotFound")
	_, rows, err := s.table.load(t.Context())
	require.NoError(t, err)
	require.Empty(t, rows)
}

func TestOutputIsBounded_P9(t *testing.T) {
	s := scripted(t, nil).serve(nil)
	r := s.execute("loud", map[string]any{"code": "flood 100 1000", "outputStreamsMaxLength": 4096})
	require.Less(t, len(r.Result.Stdout), 5000)
	require.Contains(t, r.Result.Stdout, "left out")
}

// A pool that is not confined serves nobody beyond loopback, unless told to.
func TestUnconfinedPools(t *testing.T) {
	m := scripted(t, nil)
	s := m.serve(func(c *Config) { c.Exposed = true })
	refused(t, s.ask("POST", "executions", `{"code":"1"}`), http.StatusForbidden, "PoolNotConfined")
	refused(t, s.ask("GET", "files", ""), http.StatusForbidden, "PoolNotConfined")
	refused(t, s.ask("POST", "/mcp", `{}`), http.StatusForbidden, "PoolNotConfined")
	require.Error(t, s.Usable("test"))
	s.stop()
	s = m.serve(func(c *Config) { c.Exposed, c.AllowUnconfined = true, true })
	require.Equal(t, "Succeeded", s.run("allowed", "print x").Status)
	s.stop()
	s = m.serve(func(c *Config) { c.Pools[0].Isolation, c.CheckSandbox = isolationBubblewrap, noSandbox })
	refused(t, s.ask("POST", "executions", `{"code":"1"}`), http.StatusServiceUnavailable, "PoolNotConfined")
}

// A stopping server answers those who wait, and takes nothing new.
func TestStopping_P15(t *testing.T) {
	m := scripted(t, nil)
	s := m.serve(nil)
	s.run("stays", "print x")
	answers := make(chan answer, 1)
	go func() {
		a, _ := s.try(context.Background(), "POST", "executions?identifier=stays", `{"code":"sleep 60s"}`)
		answers <- a
	}()
	require.Eventually(t, func() bool { return s.kernels.List()[0].ExecutionState == "busy" }, patience, tick)
	s.stop()
	a := <-answers
	refused(t, a, http.StatusServiceUnavailable, "ServiceUnavailable")
	require.NotEmpty(t, a.header.Get("Retry-After"))
}

func TestMalformedRequests_P13(t *testing.T) {
	s := scripted(t, nil).serve(func(c *Config) { c.MaxBody = 1000 })
	s.run("good", "print x")
	for _, c := range []struct {
		method, path, body string
		status             int
		code               string
		headers            []string
	}{
		{"POST", "executions?identifier=good", "", 400, "BadRequest", nil},
		{"POST", "executions?identifier=good", "nonsense", 400, "BadRequest", nil},
		{"POST", "executions?identifier=good", `{"code":1}`, 400, "BadRequest", nil},
		{"POST", "executions?identifier=good", `{"code":"1"} {}`, 400, "BadRequest", nil},
		{"POST", "executions?identifier=good", `{"code":"1","timeoutInSeconds":1.5}`, 400, "BadRequest", nil},
		{"POST", "executions?identifier=good", `{"code":"1","executionType":"Later"}`, 400, "BadRequest", nil},
		{"POST", "executions?identifier=good", `{"code":"` + strings.Repeat("x", 1000) + `"}`, 413, "PayloadTooLarge", nil},
		{"POST", "executions?identifier=good", "{\"code\":\"\xff\"}", 400, "BadRequest", nil},
		{"POST", "code/execute?identifier=good", `{"properties":{"code":"1","codeInputType":"file"}}`, 400, "BadRequest", nil},
		{"POST", "execute?identifier=good", `{"properties":{"code":"%%","codeInputType":"inlineBase64"}}`, 400, "BadRequest", nil},
		{"POST", "python/execute?identifier=good", `{"pythonCode":"1","timeoutInSeconds":-1}`, 400, "BadRequest", nil},
		{"POST", "python/execute?identifier=good", `{"properties":[]}`, 400, "BadRequest", nil},
		{"POST", "executions?identifier=" + strings.Repeat("x", 129), `{"code":"1"}`, 400, "InvalidIdentifier", nil},
		{"GET", "files?identifier=a%00bc", "", 400, "InvalidIdentifier", nil},
		{"DELETE", "session?identifier=x", "", 400, "InvalidIdentifier", nil},
		{"POST", "executions?identifier=abc", `{"code":"1"}`, 400, "InvalidIdentifier", nil},
		{"POST", "executions", `{"code":"1","identifier":"x"}`, 400, "InvalidIdentifier", nil},
		{"POST", "executions?identifier=good&api-version=soon", `{"code":"1"}`, 400, "InvalidApiVersion", nil},
		{"POST", "executions?identifier=good", `{"code":"1"}`, 400, "BadRequest", []string{"operation-id", "a/b"}},
		{"POST", "executions?identifier=good", `{"code":"1"}`, 400, "BadRequest", []string{"operation-id", strings.Repeat("x", 129)}},
		{"POST", "executions?identifier=good", `{"code":"1"}`, 400, "BadRequest", []string{"Idempotency-Key", strings.Repeat("x", 257)}},
		{"POST", "executions?identifier=good", `{"code":"1"}`, 400, "BadRequest", []string{"Last-Event-ID", "seven"}},
		{"GET", "executions/none?identifier=good", "", 404, "ExecutionNotFound", nil},
		{"GET", "executions/none?identifier=nobody", "", 404, "SessionNotFound", nil},
		{"GET", "session?identifier=nobody", "", 404, "SessionNotFound", nil},
		{"GET", "listSessions?skip=-1", "", 400, "BadRequest", nil},
		{"POST", "/aca/pools/none/executions", `{"code":"1"}`, 404, "PoolNotFound", nil},
		{"GET", "files?identifier=good&recursive=perhaps&api-version=2025-10-02", "", 400, "BadRequest", nil},
		{"GET", "files?identifier=good&path=../x", "", 400, "BadRequest", nil},
		{"GET", "files?identifier=good&path=none", "", 404, "NotFound", nil},
		{"GET", "files/none?identifier=good", "", 404, "NotFound", nil},
		{"GET", "files/content/none?identifier=good", "", 404, "NotFound", nil},
		{"GET", "files/..%2f..%2fx/content?identifier=good&api-version=2025-10-02", "", 400, "BadRequest", nil},
		{"GET", "files/%00?identifier=good", "", 400, "BadRequest", nil},
		{"DELETE", "files/none?identifier=good", "", 404, "NotFound", nil},
		{"DELETE", "files/..%2fx?identifier=good", "", 400, "BadRequest", nil},
		{"POST", "upload?identifier=good", "no form", 400, "BadRequest", nil},
		{"POST", "upload?identifier=good", "--x\r\n\r\n", 400, "BadRequest", []string{"Content-Type", "multipart/form-data; boundary=x"}},
		{"POST", "upload?identifier=good", "--x--\r\n", 400, "BadRequest", []string{"Content-Type", "multipart/form-data; boundary=x"}},
		{"PUT", "files/a?identifier=good&upload=u", "abc", 400, "BadRequest", nil},
		{"PUT", "files/a?identifier=good&upload=u", "abc", 400, "BadRequest", []string{"Content-Range", "bytes 0-1/9"}},
		{"PUT", "files/a?identifier=good&upload=u", "abc", 400, "BadRequest", []string{"Content-Range", "bytes 2-0/9"}},
		{"PUT", "files/a?identifier=good&upload=u", "abc", 400, "BadRequest", []string{"Content-Range", "bytes 8-10/9"}},
		{"PUT", "files/a?identifier=good&upload=u", "abc", 400, "BadRequest", []string{"Content-Range", "bytes 0-2/99999999999999999999"}},
		{"PUT", "files/..%2fa?identifier=good&upload=u", "abc", 400, "BadRequest", []string{"Content-Range", "bytes 0-2/9"}},
		{"PUT", "files/a?identifier=good&upload=../x", "abc", 400, "BadRequest", []string{"Content-Range", "bytes 0-2/9"}},
		{"POST", "files/a?identifier=good&upload=none", "", 404, "NotFound", nil},
		{"GET", "files/a?identifier=good&upload=none", "", 404, "NotFound", nil},
	} {
		a := s.ask(c.method, c.path, c.body, c.headers...)
		require.Equal(t, c.status, a.code, "%s %s: %s", c.method, c.path, a.body)
		refused(t, a, c.status, c.code)
		require.NotContains(t, a.body, s.dir, "S12")
	}
	require.EqualValues(t, 1, s.prov.Kernels()[0].Executions(), "nothing of it ran")
	require.Equal(t, "Succeeded", s.run("good", "print y").Status, "nothing is lost")
}

// The description names every route of a pool, and nothing else.
func TestOpenAPIIsTrue(t *testing.T) {
	s := scripted(t, nil).serve(nil)
	a := s.ask("GET", "/aca/openapi.json", "")
	require.Equal(t, http.StatusOK, a.code)
	require.Equal(t, a.body, s.ask("GET", "openapi.json", "").body)
	doc := decode[struct {
		OpenAPI string                                `json:"openapi"`
		Paths   map[string]map[string]json.RawMessage `json:"paths"`
	}](t, a.body)
	require.Equal(t, "3.1.0", doc.OpenAPI)
	described := map[string]bool{}
	for path, item := range doc.Paths {
		for method := range item {
			if method != "parameters" {
				described[strings.ToUpper(method)+" "+path] = true
			}
		}
	}
	require.Equal(t, poolRoutes(t), described)
}
