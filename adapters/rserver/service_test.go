package rserver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
)

// Each call finds the environment that the snapshot and initCode have made, whatever the calls before did to it.
func TestEachCallHasACleanEnvironment(t *testing.T) {
	t.Parallel()
	s := newSite(t, realHost(t, runtimeR, runtimePython))
	for _, c := range []struct {
		runtime                    *runtime
		prepare, init, dirty, look string
	}{
		{runtimeR,
			`a <- 1; e <- new.env(); e$v <- 1; counter <- local({ n <- 0; function() { n <<- n + 1; n } }); writeLines("kept", "f.txt")`,
			`i <- 10; writeLines("made", "init.txt")`,
			`a <- 2; leak <- 1; .hidden <- 1; e$v <- 2; e$w <- 3; counter(); options(digits = 3, leaked.option = 1); library(splines)
			 setwd(tempdir()); Sys.setenv(LEAK = "1", HOME = "/nowhere"); RNGkind("Wichmann-Hill"); i <<- 11; rm(counter)
			 con <- file("x.txt", "w"); pdf(NULL)`,
			`state <- c(a, exists("leak"), exists(".hidden"), e$v, length(ls(e)), counter(), getOption("digits"), is.null(getOption("leaked.option")),
				"package:splines" %in% search(), nzchar(Sys.getenv("LEAK")), RNGkind()[1] == "Mersenne-Twister", i, nrow(showConnections()) < 10,
				file.exists("f.txt") && readLines("f.txt") == "kept", length(dir()), Sys.getenv("HOME") != "/nowhere", length(dev.list()) < 2)`},
		{runtimePython,
			"a = 1\nd = {'v': [1]}\ndef f(): return a\nopen('f.txt', 'w').write('kept'); None",
			"import os\ni = 10\nopen('init.txt', 'w').write('made')",
			"import sys, warnings\na = 2; leak = 1; d['v'].append(2); d['w'] = 1; os.environ['LEAK'] = '1'; sys.path.append('/leak')\n" +
				"warnings.simplefilter('error'); del f; os.chdir('/'); i = 11; builtin = len",
			"import sys, warnings\nstate = [a, 'leak' in globals(), len(d['v']), 'w' in d, 'LEAK' in os.environ, '/leak' in sys.path, f(), i,\n" +
				"  open('f.txt').read() == 'kept', len(os.listdir()), any(w[0] == 'error' for w in warnings.filters)]"},
	} {
		t.Run(c.runtime.name, func(t *testing.T) {
			ann := user{&site{t: t, h: s.h, tokens: s.tokens, dir: s.dir}, "ann"}
			x := ann.session(c.runtime)
			ann.mustExecute(x, c.prepare)
			snap := ann.snapshot(x)
			code := map[*runtime]string{
				runtimeR:      "if (dirty) {\n" + c.dirty + "\nstate <- 0 } else {\n" + c.look + "\n}",
				runtimePython: "if dirty:\n    exec(" + pythonLiteral(c.dirty) + ", globals())\n    state = 0\nelse:\n    exec(" + pythonLiteral(c.look) + ", globals())",
			}[c.runtime]
			path := ann.publish("clean-"+c.runtime.name, publishRequest{
				RuntimeType: &c.runtime.name, SnapshotID: &snap, InitCode: &c.init, Code: &code,
				InputParameterDefinitions: definitions("dirty logical"), OutputParameterDefinitions: definitions("state vector"),
			})
			ann.json(200, "PUT", strings.Replace(path, "/api/", "/services/", 1)+"/pool", poolModel{1, 1}, nil) // one kernel for all
			before := ann.mustCall(path, `{"dirty": false}`)["state"]
			for range 2 {
				ann.mustCall(path, `{"dirty": true}`)
				require.JSONEq(t, before, ann.mustCall(path, `{"dirty": false}`)["state"])
			}
			x2, err := s.srv.service(serviceKey{"clean-" + c.runtime.name, "v1"})
			require.NoError(t, err)
			total, _ := x2.pool.counts()
			require.Equal(t, 1, total)
			ann.json(200, "DELETE", x+"/force", nil, nil)
		})
	}
}

// Files are those of one call: what it makes is given out, and gone for the next; what it breaks is mended.
func TestServiceFiles(t *testing.T) {
	t.Parallel()
	s := newSite(t, realHost(t, runtimeR))
	ann := s.as("ann")
	x := ann.session(runtimeR)
	ann.mustExecute(x, `writeLines("kept", "f.txt")`)
	snap := ann.snapshot(x)
	path := ann.publish("files", publishRequest{
		SnapshotID: &snap, InitCode: ptr(`writeLines("made", "init.txt")`), OutputFileNames: &[]string{"out.txt", "missing.txt"},
		Code:                      ptr(`n <- length(dir(recursive = TRUE)); ignored <- eval(parse(text = what)); writeLines(what, "out.txt"); dir.create("d"); print(readLines("f.txt"))`),
		InputParameterDefinitions: definitions("what character"), OutputParameterDefinitions: definitions("n numeric"),
	})
	ann.json(200, "PUT", "/services/files/v1/pool", poolModel{1, 1}, nil)
	for _, what := range []string{"1", `writeLines("broken", "f.txt")`, "1", `unlink("f.txt"); writeLines("again", "f.txt")`, "1", `writeLines("x", "init.txt")`, "1"} {
		got := ann.call(path, `{"what": `+jsonText(what)+`}`)
		require.True(t, got.Success, got.ErrorMessage)
		require.Equal(t, "2", string(got.OutputParameters[0].Value), what)
		require.Equal(t, map[string][]byte{"out.txt": []byte(what + "\n")}, got.OutputFiles)
		require.Contains(t, got.ChangedFiles, "out.txt")
		if what == "1" {
			require.Equal(t, "[1] \"kept\"\n", got.ConsoleOutput)
			require.Equal(t, []string{"out.txt"}, got.ChangedFiles)
		}
	}
}

// pids are the processes of the adapter's kernels, by what they say themselves.
func (u user) pid(path string) int {
	u.t.Helper()
	var pid float64
	require.NoError(u.t, json.Unmarshal([]byte(u.mustCall(path, `{"what":"pid"}`)["v"]), &pid))
	return int(pid)
}

// A kernel that is killed in a call is an error for that call; others go on, and the next has another kernel.
func TestADeadKernelIsOneCallsError(t *testing.T) {
	t.Parallel()
	s := newSite(t, realHost(t, runtimeR, runtimePython))
	for _, r := range runtimes {
		t.Run(r.name, func(t *testing.T) {
			ann := user{&site{t: t, h: s.h, tokens: s.tokens, dir: s.dir}, "ann"}
			code := map[*runtime]string{
				runtimeR:      `v <- Sys.getpid(); if (what == "die") tools::pskill(v, 9); if (what == "quit") quit("no"); if (what == "stop") stop("no")`,
				runtimePython: "import os, signal\nv = os.getpid()\nif what == 'die': os.kill(v, signal.SIGKILL)\nif what == 'quit': raise SystemExit(3)\nif what == 'stop': raise ValueError('no')",
			}[r]
			path := ann.publish("mortal-"+r.name, publishRequest{RuntimeType: &r.name, Code: &code,
				InputParameterDefinitions: definitions("what character"), OutputParameterDefinitions: definitions("v numeric")})
			ann.json(200, "PUT", "/services/mortal-"+r.name+"/v1/pool", poolModel{2, 2}, nil)
			first := ann.pid(path)
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					got := ann.call(path, `{"what":"die"}`)
					require.False(t, got.Success)
					require.Contains(t, got.ErrorMessage, r.name+" ended during the call: ")
				})
				wg.Go(func() { ann.pid(path) })
			}
			wg.Wait()
			require.NotEqual(t, first, ann.pid(path))
			got := ann.call(path, `{"what":"stop"}`)
			require.False(t, got.Success)
			require.Contains(t, got.ErrorMessage, "no")
			require.Contains(t, got.ConsoleOutput, "no")
			got = ann.call(path, `{"what":"quit"}`)
			require.Equal(t, r == runtimeR, got.Success, "a call can end no more than itself: %s", got.ErrorMessage)
			// One that dies while nobody uses it is nobody's error.
			require.NoError(t, syscall.Kill(ann.pid(path), syscall.SIGKILL))
			for range 4 {
				ann.pid(path)
			}
		})
	}
}

func TestParallelConsumers(t *testing.T) {
	t.Parallel()
	s := newSite(t, realHost(t, runtimeR))
	ann, bob := s.as("ann"), s.as("bob")
	path := ann.publish("add", publishRequest{Code: ptr("Sys.sleep(0.01); r <- x + y"),
		InputParameterDefinitions: definitions("x numeric, y numeric"), OutputParameterDefinitions: definitions("r numeric")})
	ann.json(200, "PUT", "/services/add/v1/pool", poolModel{0, 3}, nil)
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for j := range 3 {
				require.Equal(t, fmt.Sprint(i*100+j), bob.mustCall(path, fmt.Sprintf(`{"x": %d, "y": %d}`, i*100, j))["r"])
			}
		})
	}
	wg.Wait()
	x, err := s.srv.service(serviceKey{"add", "v1"})
	require.NoError(t, err)
	total, busy := x.pool.counts()
	require.LessOrEqual(t, total, 3)
	require.Zero(t, busy)
}

// A client that goes away interrupts its call, and no other.
func TestAClientThatLeavesEndsItsCall(t *testing.T) {
	t.Parallel()
	s := newSite(t, realHost(t, runtimePython))
	ann := s.as("ann")
	path := ann.publish("slow", publishRequest{RuntimeType: ptr("python"), Code: ptr("import time\nif wait: open('/proc/self/comm').read(); time.sleep(600)\nr = 1"),
		InputParameterDefinitions: definitions("wait logical"), OutputParameterDefinitions: definitions("r integer")})
	ann.json(200, "PUT", "/services/slow/v1/pool", poolModel{1, 1}, nil)
	x, err := s.srv.service(serviceKey{"slow", "v1"})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		r := httptest.NewRequestWithContext(ctx, "POST", "http://localhost"+Prefix+path, strings.NewReader(`{"wait": true}`))
		r.Header.Set("Authorization", "Bearer "+s.tokens["ann"])
		s.h.ServeHTTP(httptest.NewRecorder(), r)
	})
	require.Eventually(t, func() bool { _, busy := x.pool.counts(); return busy == 1 }, patience, tick)
	cancel()
	wg.Wait()
	require.Equal(t, "1", ann.mustCall(path, `{"wait": false}`)["r"], "the only kernel is free again")
}

func TestServicesAreChangedAndListed(t *testing.T) {
	t.Parallel()
	s := newSite(t, realHost(t, runtimeR))
	ann, bob := s.as("ann"), s.as("bob")
	path := ann.publish("calc", publishRequest{Code: ptr("r <- x + 1"), Description: ptr("adds"),
		InputParameterDefinitions: definitions("x numeric"), OutputParameterDefinitions: definitions("r numeric")})
	require.Equal(t, "3", ann.mustCall(path, `{"x": 2, "unknown": 5}`)["r"])
	ann.json(200, "PATCH", "/services/calc/v1", publishRequest{Code: ptr("r <- x * 10")}, nil)
	require.Equal(t, "20", bob.mustCall(path, `{"x": 2}`)["r"])
	ann.json(200, "PATCH", "/services/calc/v1", `{"code": null, "inputParameterDefinitions": [], "initCode": "x <- 7", "outputFileNames": null}`, nil)
	require.Equal(t, "70", bob.mustCall(path, ``)["r"])
	var list []serviceModel
	bob.json(200, "GET", "/services/calc/v1", nil, &list)
	require.Len(t, list, 1)
	got := list[0]
	require.Equal(t, []parameterDefinition{}, got.InputParameterDefinitions)
	require.Equal(t, []string{}, got.OutputFileNames)
	require.Equal(t, []any{"ann", "ann", permissionRead, "adds", "x <- 7", "R"},
		[]any{got.Owner, got.VersionPublishedBy, got.MyPermissionOnService, *got.Description, *got.InitCode, got.RuntimeType})
	require.Nil(t, got.SnapshotID)
	require.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$`, got.CreationTime)

	var url string
	ann.json(201, "POST", "/services/calc", publishRequest{Code: ptr("1")}, &url)
	require.Regexp(t, `^http://localhost/rserver/api/calc/[0-9a-f-]{36}$`, url)
	ann.json(200, "GET", "/services/calc", nil, &list)
	require.Len(t, list, 2)
	bob.json(200, "GET", "/services/calc", nil, &list)
	require.Len(t, list, 1, "a version that was made up is for its author's eyes")
	require.Equal(t, "[]\n", bob.json(200, "GET", "/services/nothing", nil, nil))
	ann.json(200, "DELETE", "/services/calc/v1", nil, nil)
	bob.refused(404, "POST", path, `{"x": 2}`)
}

func TestBrokenInitCodeIsTold(t *testing.T) {
	t.Parallel()
	s := newSite(t, realHost(t, runtimeR))
	ann := s.as("ann")
	path := ann.publish("broken", publishRequest{Code: ptr("1"), InitCode: ptr(`stop("no model")`)})
	require.Contains(t, ann.refused(402, "POST", path, `{}`).Message, "the service's initCode failed: Error: no model")
}

func TestPools(t *testing.T) {
	t.Parallel()
	s := newSite(t, realHost(t, runtimeR))
	ann := s.as("ann")
	path := ann.publish("pooled", publishRequest{Code: ptr("r <- 1"), OutputParameterDefinitions: definitions("r numeric")})
	pool := "/services/pooled/v1/pool"
	var got poolModel
	ann.json(200, "GET", pool, nil, &got)
	require.Equal(t, poolModel{0, 4}, got)
	require.JSONEq(t, `{"InitialPoolSize": 2, "MaxPoolSize": 3}`, ann.json(200, "PUT", pool, poolModel{2, 3}, nil))
	size := func(srv *Server) int {
		x, err := srv.service(serviceKey{"pooled", "v1"})
		require.NoError(t, err)
		total, _ := x.pool.counts()
		return total
	}
	require.Eventually(t, func() bool { return size(s.srv) == 2 }, patience, tick)
	x, err := s.srv.service(serviceKey{"pooled", "v1"})
	require.NoError(t, err)
	x.pool.tend(t.Context(), time.Now().Add(time.Hour), time.Minute)
	require.Equal(t, 2, size(s.srv), "the initial size stays")
	ann.mustCall(path, `{}`)
	s.stop()
	s.start()
	require.Eventually(t, func() bool { return size(s.srv) == 2 }, patience, tick, "it is there again")
	ann.json(200, "GET", pool, nil, &got)
	require.Equal(t, poolModel{2, 3}, got)
	ann.json(200, "DELETE", pool, nil, &got)
	require.Equal(t, poolModel{0, 4}, got)
	x, err = s.srv.service(serviceKey{"pooled", "v1"})
	require.NoError(t, err)
	require.Eventually(t, func() bool { x.pool.tend(t.Context(), time.Now().Add(time.Hour), time.Minute); return size(s.srv) == 0 }, patience, tick)
	ann.mustCall(path, `{}`)
	for _, bad := range []string{`{}`, `{"InitialPoolSize":-1,"MaxPoolSize":1}`, `{"InitialPoolSize":3,"MaxPoolSize":2}`, `{"InitialPoolSize":0,"MaxPoolSize":0}`, `{"InitialPoolSize":1,"MaxPoolSize":65}`} {
		ann.refused(400, "PUT", pool, bad)
	}
}

// All kernels of services together are bounded; the one that has had nothing to do for longest makes room.
func TestServicesShareTheKernels(t *testing.T) {
	t.Parallel()
	s := newSite(t, realHost(t, runtimePython))
	s.srv.cfg.MaxAllWorkers = 1
	ann := s.as("ann")
	var paths []string
	for i := range 3 {
		paths = append(paths, ann.publish(fmt.Sprint("s", i), publishRequest{RuntimeType: ptr("Python"), Code: ptr(fmt.Sprint("r = ", i)), OutputParameterDefinitions: definitions("r integer")}))
	}
	for range 2 {
		for i, path := range paths {
			require.Equal(t, fmt.Sprint(i), ann.mustCall(path, `{}`)["r"])
		}
	}
	workers := 0
	for _, st := range s.host.List() {
		if st.Owner == kernelOwner && st.ExecutionState != kernel.StateTerminating {
			workers++
		}
	}
	require.LessOrEqual(t, workers, 1)
}

func TestBatches(t *testing.T) {
	t.Parallel()
	s := newSite(t, realHost(t, runtimePython))
	ann, bob := s.as("ann"), s.as("bob")
	path := ann.publish("many", publishRequest{RuntimeType: ptr("Python"), OutputFileNames: &[]string{"out.txt"},
		Code:                      ptr("import time\nif x == 3: raise ValueError('three')\nif x == 99: time.sleep(600)\nopen('out.txt', 'w').write(str(x)); r = x * 2"),
		InputParameterDefinitions: definitions("x integer"), OutputParameterDefinitions: definitions("r integer")})
	start := func(u user, n int) string {
		items := []string{}
		for i := range n {
			items = append(items, fmt.Sprintf(`{"x": %d}`, i))
		}
		var started struct{ BatchExecutionId, batchExecutionID string }
		text := u.json(202, "POST", path+"/batch?parallelCount=2", "["+strings.Join(items, ",")+"]", &started)
		require.Contains(t, text, `"batchExecutionId":"`+started.BatchExecutionId)
		return started.BatchExecutionId
	}
	status := func(u user, id, query string) (b batchResult, results []webServiceResult) {
		u.json(200, "GET", path+"/batch/"+id+query, nil, &b)
		for _, raw := range b.BatchExecutionResults {
			var one struct {
				webServiceResult
				OutputParameters map[string]json.RawMessage `json:"outputParameters"`
			}
			require.NoError(t, json.Unmarshal(raw, &one))
			if r, ok := one.OutputParameters["r"]; ok {
				one.webServiceResult.OutputParameters = values{{"r", r}}
			}
			results = append(results, one.webServiceResult)
		}
		return b, results
	}
	id := start(bob, 8)
	require.Eventually(t, func() bool { b, _ := status(bob, id, ""); return b.State == batchComplete }, patience, 20*tick)
	b, results := status(bob, id, "")
	require.Equal(t, []int{8, 8, 2}, []int{b.CompletedItemCount, b.TotalItemCount, b.ParallelCount})
	for i, r := range results {
		require.Equal(t, i != 3, r.Success, i)
		if i != 3 {
			require.Equal(t, fmt.Sprint(2*i), string(r.OutputParameters[0].Value))
		}
	}
	require.Equal(t, "ValueError: three", results[3].ErrorMessage)
	require.JSONEq(t, `["out.txt"]`, bob.json(200, "GET", path+"/batch/"+id+"/5/files", nil, nil))
	require.JSONEq(t, `[]`, bob.json(200, "GET", path+"/batch/"+id+"/3/files", nil, nil))
	require.Equal(t, "5", bob.ask("GET", path+"/batch/"+id+"/5/files/out.txt", nil).Body.String())
	for _, sub := range []string{"/8/files", "/x/files", "/-1/files", "/3/files/out.txt", "/5/files/..%2F..%2Finput.json", "/5/files/no"} {
		bob.refused(404, "GET", path+"/batch/"+id+sub, nil)
	}
	ann.refused(404, "GET", path+"/batch/"+id, nil) // S13: her service, his batch
	ann.refused(404, "DELETE", path+"/batch/"+id, nil)
	require.JSONEq(t, `["`+id+`"]`, bob.json(200, "GET", path+"/batch", nil, nil))
	require.JSONEq(t, `[]`, ann.json(200, "GET", path+"/batch", nil, nil))

	// A batch goes on where a server has stopped.
	var started startBatchResponse
	bob.json(202, "POST", path+"/batch?parallelCount=1", `[{"x":1},{"x":99},{"x":2}]`, &started)
	require.Eventually(t, func() bool { b, _ := status(bob, started.ID, ""); return b.CompletedItemCount == 1 }, patience, 20*tick)
	b, results = status(bob, started.ID, "?showPartialResult=true")
	require.Equal(t, batchInProgress, b.State)
	require.Len(t, results, 1)
	s.stop()
	s.start()
	b, results = status(bob, started.ID, "?showPartialResults=true")
	require.Equal(t, 1, b.CompletedItemCount)
	require.Len(t, results, 1)
	_, results = status(bob, id, "")
	require.Len(t, results, 8, "what was done is there")
	bob.json(200, "DELETE", path+"/batch/"+started.ID, nil, nil)
	bob.refused(404, "GET", path+"/batch/"+started.ID, nil)
	require.Equal(t, "10", bob.mustCall(path, `{"x": 5}`)["r"], "its kernel is free again")

	for _, bad := range []string{``, `[]`, `{}`, `[{"x":"a"}]`, `[{"x":1},{}]`} {
		bob.refused(400, "POST", path+"/batch", bad)
	}
	bob.refused(400, "POST", path+"/batch?parallelCount=0", `[{"x":1}]`)
	ann.json(200, "DELETE", "/services/many/v1", nil, nil)
	bob.refused(404, "GET", path+"/batch/"+id, nil)
}
