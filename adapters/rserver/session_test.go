package rserver

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/auth"
)

func (u user) console(session string) string {
	u.t.Helper()
	var c consoleOutputResponse
	u.json(200, "GET", session+"/console-output", nil, &c)
	return c.ConsoleOutput
}

// What code prints can be read while it runs, also from within one expression, and a long loop can be cancelled.
func TestConsoleWhileRunningAndCancel(t *testing.T) {
	t.Parallel()
	s := newSite(t, realHost(t, runtimeR, runtimePython))
	for r, code := range map[*runtime]string{
		runtimeR:      `i <- 0; repeat { i <- i + 1; cat("tick", i, "é\n"); Sys.sleep(0.02) }`,
		runtimePython: "import time\ni = 0\nwhile True:\n    i += 1; print('tick', i, 'é', flush=True); time.sleep(0.02)",
	} {
		t.Run(r.name, func(t *testing.T) {
			ann := user{&site{t: t, h: s.h, tokens: s.tokens, dir: s.dir}, "ann"}
			x := ann.session(r)
			ann.json(200, "POST", x+"/cancel", nil, nil) // nothing runs: nothing happens
			var got executeResponse
			var wg sync.WaitGroup
			wg.Go(func() { got = ann.execute(x, code) })
			require.Eventually(t, func() bool { return strings.Contains(ann.console(x), "tick 3 é\n") }, patience, 20*tick)
			ann.json(200, "POST", x+"/cancel", nil, nil)
			wg.Wait()
			require.False(t, got.Success)
			require.Contains(t, got.ConsoleOutput, "tick 3 é\n")
			require.Contains(t, ann.console(x), "tick 3 é\n", "after it, too")
			after := ann.mustExecute(x, map[*runtime]string{runtimeR: `cat(i > 2, "\n")`, runtimePython: "print(i > 2)"}[r])
			require.Equal(t, "true", strings.ToLower(strings.TrimSpace(after.ConsoleOutput)), "the session is as it was")
			require.Equal(t, after.ConsoleOutput, ann.console(x))
		})
	}
}

// A client that goes away leaves its execution to itself; another one waits for it.
func TestExecutionsGoOnAndTakeTurns(t *testing.T) {
	t.Parallel()
	s := newSite(t, realHost(t, runtimePython))
	ann := s.as("ann")
	x := ann.session(runtimePython)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		r := httptest.NewRequestWithContext(ctx, "POST", "http://localhost"+Prefix+x+"/execute",
			strings.NewReader(`{"code": "import time\nprint('begun', flush=True)\nwhile not go: time.sleep(0.01)", "inputParameters": [{"name": "go", "value": []}]}`))
		r.Header.Set("Authorization", "Bearer "+s.tokens["ann"])
		s.h.ServeHTTP(httptest.NewRecorder(), r)
	})
	require.Eventually(t, func() bool { return strings.Contains(ann.console(x), "begun") }, patience, tick)
	cancel()
	wg.Wait()
	waiting, leave := context.WithCancel(t.Context())
	wg.Go(func() { // one that leaves before its turn is never begun
		r := httptest.NewRequestWithContext(waiting, "POST", "http://localhost"+Prefix+x+"/execute", strings.NewReader(`{"code": "never = 1"}`))
		r.Header.Set("Authorization", "Bearer "+s.tokens["ann"])
		s.h.ServeHTTP(httptest.NewRecorder(), r)
	})
	leave()
	wg.Wait()
	wg.Go(func() { ann.mustExecute(x, "assert time and 'never' not in globals()") })
	ann.json(200, "POST", x+"/cancel", nil, nil)
	wg.Wait()
	var history []string
	ann.json(200, "GET", x+"/history", nil, &history)
	require.Len(t, history, 4)
}

// A session whose kernel has died says so, keeps its files, and can be deleted; also when the server restarts in between.
func TestASessionThatHasEnded(t *testing.T) {
	t.Parallel()
	s := newSite(t, realHost(t, runtimeR))
	ann := s.as("ann")
	x, idle := ann.session(runtimeR), ann.session(runtimeR)
	got := ann.execute(x, `writeLines("kept", "f.txt"); cat("last words\n"); tools::pskill(Sys.getpid(), 9); Sys.sleep(60)`)
	require.False(t, got.Success)
	require.Contains(t, got.ErrorMessage, "R ended during the execution, and the session with it")
	require.Regexp(t, "^last words\n.*SIGKILL", got.ConsoleOutput)
	require.Equal(t, []string{"f.txt"}, got.ChangedFiles)
	gone := func() {
		t.Helper()
		require.Contains(t, ann.refused(410, "GET", x+"/workspace", nil).Message, "the session has ended: ")
		ann.refused(410, "POST", x+"/execute", executeRequest{Code: "1"})
		ann.refused(410, "POST", x+"/snapshot", `{}`)
		require.JSONEq(t, `["f.txt"]`, ann.json(200, "GET", x+"/files", nil, nil))
		require.Contains(t, ann.json(200, "GET", x+"/history", nil, nil), "last words")
		ann.json(200, "POST", x+"/cancel", nil, nil)
	}
	gone()
	// One that dies while nothing runs is started again by the host: it is not the session's kernel any more.
	pid := ann.mustExecute(idle, "p <- Sys.getpid()", "p").OutputParameters[0].Value
	var n float64
	require.NoError(t, json.Unmarshal(pid, &n))
	require.NoError(t, syscall.Kill(int(n), syscall.SIGKILL))
	ann.refused(410, "GET", idle+"/workspace", nil)

	s.stop()
	s.start()
	gone()
	require.Len(t, s.srv.listSessions("ann"), 2)
	for _, path := range []string{x, idle} {
		ann.json(200, "DELETE", path, nil, nil)
		ann.refused(404, "GET", path+"/files", nil)
	}
	require.Empty(t, s.srv.listSessions("ann"))
}

// Sessions are there again after a restart, where their kernels are; what nobody wants is gone.
func TestSessionsSurviveTheServer(t *testing.T) {
	t.Parallel()
	host := realHost(t, runtimePython)
	s := newSite(t, host)
	ann := s.as("ann")
	x := ann.session(runtimePython)
	ann.mustExecute(x, "v = 42; print('said')")
	path := ann.publish("kept", publishRequest{RuntimeType: ptr("Python"), Code: ptr("r = 1"), OutputParameterDefinitions: definitions("r integer")})
	ann.mustCall(path, `{}`)
	s.stop()
	require.Len(t, host.List(), 1, "only the session's kernel is left: %v", host.List())
	s.start()
	require.JSONEq(t, `["v"]`, ann.json(200, "GET", x+"/workspace", nil, nil))
	require.JSONEq(t, `{"name":"v","value":42}`, jsonText(ann.mustExecute(x, "v", "v").OutputParameters[0]))
	require.Equal(t, "1", ann.mustCall(path, `{}`)["r"])
	ann.json(200, "DELETE", x, nil, nil)
}

func TestSessionLimit(t *testing.T) {
	t.Parallel()
	s := newSite(t, realHost(t, runtimePython))
	s.srv.cfg.MaxSessions = 1
	ann := s.as("ann")
	x := ann.session(runtimePython)
	e := ann.refused(503, "POST", "/sessions", createSessionRequest{RuntimeType: "Python"})
	require.Contains(t, e.Message, "delete one")
	ann.json(200, "DELETE", x+"/force", nil, nil)
	ann.session(runtimePython)
	ann.refused(400, "POST", "/sessions", createSessionRequest{RuntimeType: "Julia"})
	ann.refused(400, "POST", "/sessions", createSessionRequest{Name: strings.Repeat("x", maxName+1)})
	s.srv.cfg.PythonKernel, s.srv.cfg.MaxSessions = "no-such-kernel", 9
	ann.refused(501, "POST", "/sessions", createSessionRequest{RuntimeType: "python"})
}

// The second session need not wait for a kernel; one that was killed while it waited is nobody's.
func TestWarmSessions(t *testing.T) {
	t.Parallel()
	host := realHost(t, runtimePython)
	s := newSite(t, host)
	s.srv.cfg.WarmSessions = 1
	ann := s.as("ann")
	first := ann.session(runtimePython)
	ready := func() bool {
		s.srv.mu.Lock()
		p := s.srv.pools[place{runtimePython, false}]
		s.srv.mu.Unlock()
		return p.Ready() == 1
	}
	require.Eventually(t, ready, patience, tick)
	pid := ann.mustExecute(first, "import os; pid = os.getppid()", "pid")
	require.Len(t, pid.OutputParameters, 1)
	began := time.Now()
	second := ann.session(runtimePython)
	t.Logf("a session that was started ahead took %v", time.Since(began))
	require.NotEqual(t, ann.mustExecute(first, "p = os.getpid()", "p").OutputParameters, ann.mustExecute(second, "import os; p = os.getpid()", "p").OutputParameters)
	require.Eventually(t, ready, patience, tick)
	for _, st := range host.List() {
		x, err := s.srv.session("ann", strings.TrimPrefix(second, "/sessions/"))
		require.NoError(t, err)
		if strings.HasPrefix(st.Owner, "pool ") && st.ID != x.row.kernelID {
			require.NoError(t, host.Restart(t.Context(), st.ID)) // what a death comes to
		}
	}
	ann.mustExecute(ann.session(runtimePython), "1")
	s.stop()
	require.Len(t, host.List(), 3, "those that wait end with the server")
}

// The server's own token acts for admin, and so does a login with it; others' things do not exist for admin either.
func TestAdminIsAUserLikeOthers_S13(t *testing.T) {
	t.Parallel()
	s := newSite(t, realHost(t, runtimePython))
	ann, admin := s.as("ann"), s.as("")
	x := ann.session(runtimePython)
	admin.refused(404, "GET", x+"/files", nil)
	mine := admin.session(runtimePython)
	ann.refused(404, "GET", mine+"/files", nil)
	var grant accessTokenResponse
	s.as("nobody").json(200, "POST", "/login", loginRequest{auth.Admin, token}, &grant)
	s.tokens["admin"] = grant.AccessToken
	var list []sessionModel
	s.as("admin").json(200, "GET", "/sessions", nil, &list)
	require.Len(t, list, 1)
	require.Equal(t, auth.Admin, list[0].Owner)
}
