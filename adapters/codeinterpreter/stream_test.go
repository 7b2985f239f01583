package codeinterpreter

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// event is a server-sent event.
type event struct{ id, kind, data string }

// events reads a stream up to the event that last accepts, and cuts it there.
func (s *server) events(method, path, body string, last func(event) bool, headers ...string) (all []event) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.url+prefix+s.names[0]+"/"+path, strings.NewReader(body))
	require.NoError(s.t, err)
	req.Header.Set("Accept", "text/event-stream")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	require.Equal(s.t, http.StatusOK, resp.StatusCode)
	require.Equal(s.t, "text/event-stream", resp.Header.Get("Content-Type"))
	var e event
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch {
		case name == "id":
			e.id = value
		case name == "event":
			e.kind = value
		case name == "data":
			e.data = value
		case lines.Text() == "" && e.kind != "":
			if all = append(all, e); last(e) {
				return all
			}
			e = event{}
		}
	}
	require.Fail(s.t, "the stream ended early", "%v", all)
	return nil
}

func done(e event) bool { return e.kind == "done" }

func kinds(all []event) (list []string) {
	for _, e := range all {
		list = append(list, e.kind)
	}
	return list
}

const talk = `{"code":"print a\nstderr b\ndisplay text/html <b>\necho c"}`

// Outputs come as they are made, with the places to read on from; in the end the whole.
func TestStreams(t *testing.T) {
	s := scripted(t, nil).serve(nil)
	for _, route := range []string{"code/execute", "python/execute", "execute", "executions"} {
		all := s.events("POST", route+"?identifier=talks", talk, done)
		require.Equal(t, []string{"stdout", "stderr", "display_data", "stdout", "execute_result", "done"}, kinds(all))
		require.JSONEq(t, `{"text":"a\n"}`, all[0].data)
		require.JSONEq(t, `{"data":{"text/html":"<b>"},"metadata":{},"transient":{}}`, all[2].data)
		r := decode[resource](t, all[5].data)
		require.Equal(t, "Succeeded", r.Status)
		require.Equal(t, "a\nc\n", r.Result.Stdout)
	}
	all := s.events("POST", "executions?identifier=talks", `{"code":"error E no"}`, done)
	require.Equal(t, []string{"error", "done"}, kinds(all))
}

// A stream that was cut is read on from, while the code runs and after it has ended.
func TestStreamsReadOn_P4(t *testing.T) {
	s := scripted(t, nil).serve(nil)
	body := `{"code":"print 1\nprint 2\nsleep 200ms\nprint 3\nprint 4"}`
	cut := s.events("POST", "executions?identifier=cut.", body, func(e event) bool { return strings.Contains(e.data, "1") }, "operation-id", "op")
	// The same request again, as a client that retries sends it.
	rest := s.events("POST", "executions?identifier=cut.", body, done, "operation-id", "op", "Last-Event-ID", cut[0].id)
	require.Equal(t, []string{"stdout", "stdout", "stdout", "done"}, kinds(rest))
	require.JSONEq(t, `{"text":"2\n"}`, rest[0].data)
	require.EqualValues(t, 1, s.prov.Kernels()[0].Executions())

	again := s.events("GET", "executions/op?identifier=cut.", "", done, "Last-Event-ID", rest[1].id)
	require.Equal(t, []string{"stdout", "done"}, kinds(again))
	require.JSONEq(t, `{"text":"4\n"}`, again[0].data)
	all := s.events("GET", "executions/op?identifier=cut.", "", done)
	require.Equal(t, []string{"stdout", "stdout", "stdout", "stdout", "done"}, kinds(all))
	last := s.events("GET", "executions/op?identifier=cut.", "", done, "Last-Event-ID", all[3].id)
	require.Equal(t, []string{"done"}, kinds(last))
}

// A silent stream says that it is there, while code waits and while it runs.
func TestSilentStreams(t *testing.T) {
	s := scripted(t, nil).serve(func(c *Config) { c.KeepAlive = 20 * time.Millisecond })
	s.execute("quiet", map[string]any{"code": "sleep 1s", "executionType": "asynchronous"}, "operation-id", "first")
	a := s.ask("POST", "executions?identifier=quiet", `{"code":"sleep 1s\nprint x"}`, "Accept", "text/event-stream")
	before, _, found := strings.Cut(a.body, "event: stdout")
	require.True(t, found, a.body)
	require.Contains(t, before, ": still there\n\n")
	require.Contains(t, a.body, "event: done")
}

// Several streams of one execution, and one that begins before it runs.
func TestStreamsOfWhatWaits(t *testing.T) {
	s := scripted(t, nil).serve(nil)
	s.run("wait", "print x")
	s.execute("wait", map[string]any{"code": "sleep 200ms", "executionType": "asynchronous"}, "operation-id", "first")
	s.execute("wait", map[string]any{"code": "print mine", "executionType": "asynchronous"}, "operation-id", "second")
	all := s.events("GET", "executions/second?identifier=wait", "", done)
	require.Equal(t, []string{"stdout", "done"}, kinds(all))
	require.JSONEq(t, `{"text":"mine\n"}`, all[0].data)
}

// The journal is bounded: what a reader has missed is said, and the outcome is there.
func TestStreamsOfAnotherEpoch_P4(t *testing.T) {
	s := scripted(t, nil).serve(nil)
	s.run("old.", "print x", "operation-id", "op")
	all := s.events("GET", "executions/op?identifier=old.", "", done, "Last-Event-ID", "ffff:1")
	require.Equal(t, "gap", all[0].kind)
	require.Equal(t, "done", all[len(all)-1].kind)
}

// A kernel that is gone takes no stream with it.
func TestStreamsWithoutTheKernel(t *testing.T) {
	m := scripted(t, nil)
	s := m.serve(nil)
	s.run("gone", "print x", "operation-id", "op")
	require.NoError(t, m.kernels.Shutdown(t.Context(), m.kernels.List()[0].ID))
	require.Equal(t, []string{"done"}, kinds(s.events("GET", "executions/op?identifier=gone", "", done)))
	all := s.events("POST", "executions?identifier=gone", `{"code":"print x\ndie 3"}`, done)
	require.Contains(t, kinds(all), "error")
	require.Equal(t, codeKernelDied, decode[resource](t, all[len(all)-1].data).Error.Code)
}
