package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gorilla/mux"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// testServer is a whole server that does not listen, in folders of its own.
func testServer(t testing.TB, log io.Writer, change func(*Config)) *server {
	t.Helper()
	home := t.TempDir()
	root := filepath.Join(home, "root")
	require.NoError(t, os.Mkdir(root, 0o755))
	env := readEnvironment([]string{"HOME=" + home, "PATH=/usr/bin:/bin"})
	c := defaultConfig(env)
	c.KernelHost = inProcess
	c.RootDir, c.StateDir, c.Auth.Token = root, filepath.Join(home, "state"), "secret-token"
	c.Kernels.RuntimeDir = filepath.Join(home, "run")
	c.given, c.LogLevel = map[string]bool{"token": true}, "debug"
	if change != nil {
		change(&c)
	}
	require.NoError(t, c.resolve())
	require.NoError(t, c.validate())
	logger, err := newLogger(log, c.LogLevel, c.LogFormat)
	require.NoError(t, err)
	s, err := assemble(c, logger)
	require.NoError(t, err)
	t.Cleanup(func() { s.close(context.Background()) })
	return s
}

// route is one line of the route table.
type route struct{ method, path string }

// varPattern is a variable in a route's template, with its expression if it has one: {id}, {path:(?s:.*)}.
var varPattern = regexp.MustCompile(`\{(\w+)(?::(?:[^{}]|\{[^{}]*\})*)?\}`)

func routesOf(t *testing.T, r *mux.Router) []route {
	t.Helper()
	var all []route
	require.NoError(t, r.Walk(func(r *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		path, err := r.GetPathTemplate()
		if err != nil {
			return err
		}
		methods, err := r.GetMethods()
		if err != nil {
			return fmt.Errorf("%s takes any method: %w", path, err)
		}
		for _, m := range methods {
			all = append(all, route{m, varPattern.ReplaceAllString(path, "{$1}")})
		}
		return nil
	}))
	slices.SortFunc(all, func(a, b route) int { return strings.Compare(a.path+" "+a.method, b.path+" "+b.method) })
	return slices.Compact(all)
}

// ask sends one request to the server, below its base URL.
func (r route) ask(s *server, header http.Header) *httptest.ResponseRecorder {
	target := varPattern.ReplaceAllString(r.path, "x")
	req := httptest.NewRequest(r.method, "http://localhost"+strings.TrimSuffix(s.cfg.BaseURL, "/")+target, nil)
	for k, v := range header {
		req.Header[k] = v
	}
	w := httptest.NewRecorder()
	s.http.Handler.ServeHTTP(w, req)
	return w
}

// S1: the whole surface is on one page, and every line that is not public refuses a stranger.
func TestRoutes_S1(t *testing.T) {
	const golden = "testdata/routes.golden"
	s := testServer(t, io.Discard, nil)
	var b strings.Builder
	for _, r := range routesOf(t, s.router()) {
		w := r.ask(s, http.Header{"Accept": {"application/json"}})
		access := "public"
		if r == (route{"POST", "/login"}) { // public, and refuses what its page's form did not send (S3)
			require.Equal(t, http.StatusForbidden, w.Code)
			require.Contains(t, w.Body.String(), "<form")
		} else if w.Code == http.StatusForbidden || w.Code == http.StatusUnauthorized {
			access = "private"
			for name, h := range map[string]http.Header{
				"a wrong token":    {"Authorization": {"token wrong"}},
				"an empty token":   {"Authorization": {"token "}},
				"a made-up cookie": {"Cookie": {"username-localhost=x; username-localhost-8888=x"}},
				"a browser":        {"Accept": {"text/html"}},
				"an upgrade":       {"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-WebSocket-Version": {"13"}, "Sec-WebSocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}},
			} {
				w := r.ask(s, h)
				toLogin := w.Code == http.StatusFound && strings.HasPrefix(w.Header().Get("Location"), "/login?")
				require.True(t, toLogin || w.Code == http.StatusForbidden || w.Code == http.StatusUnauthorized || w.Code == http.StatusTooManyRequests,
					"%s %s lets %s in: %d", r.method, r.path, name, w.Code)
			}
		}
		fmt.Fprintf(&b, "%-7s %-7s %s\n", access, r.method, r.path)
	}
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(golden, []byte(b.String()), 0o644))
		return
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), b.String(), "the surface changed: look at each line, then -update")
}

// /api/spec.yaml is true: it names every route of the API, and nothing else.
func TestSpecIsTrue(t *testing.T) {
	var doc struct {
		OpenAPI string                          `yaml:"openapi"`
		Paths   map[string]map[string]yaml.Node `yaml:"paths"`
	}
	require.NoError(t, yaml.Unmarshal(spec, &doc))
	require.True(t, strings.HasPrefix(doc.OpenAPI, "3.1"))
	var described []string
	for path, item := range doc.Paths {
		for method := range item {
			if slices.Contains([]string{"get", "put", "post", "patch", "delete"}, method) {
				described = append(described, strings.ToUpper(method)+" "+path)
			}
		}
	}
	var served []string
	for _, r := range routesOf(t, testServer(t, io.Discard, nil).router()) {
		if strings.HasPrefix(r.path, "/aca/pools/") { // the code interpreter describes them itself
			continue
		}
		if r.method != http.MethodHead { // HEAD is GET without a body
			served = append(served, r.method+" "+r.path)
		}
	}
	slices.Sort(described)
	slices.Sort(served)
	require.Equal(t, served, described)
}

func TestUnknownRoutes(t *testing.T) {
	for _, base := range []string{"/", "/a%40b/"} {
		s := testServer(t, io.Discard, func(c *Config) { c.BaseURL = base })
		header := http.Header{"Authorization": {"token secret-token"}}
		for _, c := range []struct {
			route
			code  int
			allow string
		}{
			{route{"GET", "/api/nothing"}, 404, ""},
			{route{"GET", "/nothing"}, 404, ""},
			{route{"GET", "/api/%00"}, 404, ""},
			{route{"DELETE", "/api/status"}, 405, "GET, HEAD"},
			{route{"POST", "/api/config/x"}, 405, "GET, HEAD, PATCH, PUT"},
			{route{"PUT", "/api/shutdown"}, 405, "POST"},
		} {
			w := c.ask(s, header)
			require.Equal(t, c.code, w.Code, "%s %s", c.method, c.path)
			require.Equal(t, c.allow, w.Header().Get("Allow"))
			if !strings.HasPrefix(c.path, "/api/") { // a person's address: a page says so
				require.Contains(t, w.Body.String(), "nothing at this address")
				continue
			}
			var body struct {
				Message string  `json:"message"`
				Reason  *string `json:"reason"`
			}
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
			require.NotEmpty(t, body.Message)
		}
		w := route{"GET", "/x/y/"}.ask(s, header)
		require.Equal(t, http.StatusFound, w.Code)
		require.Equal(t, base+"x/y", w.Header().Get("Location"))
	}
}

func TestStatusAndVersion(t *testing.T) {
	s := testServer(t, io.Discard, nil)
	header := http.Header{"Authorization": {"token secret-token"}}
	require.JSONEq(t, `{"version":"`+apiVersion+`"}`, route{"GET", "/api"}.ask(s, nil).Body.String())
	status := func() (got map[string]any) {
		w := route{"GET", "/api/status"}.ask(s, header)
		require.Equal(t, "application/json", w.Header().Get("Content-Type"))
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
		return got
	}
	first := status()
	require.Equal(t, 0.0, first["kernels"])
	require.Equal(t, 0.0, first["connections"])
	require.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$`, first["started"])
	require.Equal(t, first["started"], first["last_activity"])
	route{"GET", "/api/sessions?no_track_activity=1"}.ask(s, header)
	require.Equal(t, first["last_activity"], status()["last_activity"])
	route{"GET", "/api/sessions"}.ask(s, header)
	require.Greater(t, status()["last_activity"], first["last_activity"])
}

// S6: the token is in no log line, wherever a client puts it.
func TestNoSecretInTheLog_S6(t *testing.T) {
	var log strings.Builder
	s := testServer(t, &log, nil)
	for _, r := range routesOf(t, s.router()) {
		with := r
		with.path += "?token=secret-token&next=%2F%3Ftoken%3Dsecret-token"
		with.ask(s, nil)
		r.ask(s, http.Header{"Authorization": {"token secret-token"}, "Referer": {"http://localhost/?token=secret-token"}})
		r.ask(s, http.Header{"Cookie": {"secret-token=secret-token"}, "X-Request-Id": {"a"}})
	}
	report := httptest.NewRequest("POST", "http://localhost/api/security/csp-report",
		strings.NewReader(`{"csp-report":{"document-uri":"http://localhost/?token=secret-token","blocked-uri":"http://x/?token=secret-token#secret-token","violated-directive":"img-src"}}`))
	report.Header.Set("Authorization", "token secret-token")
	s.http.Handler.ServeHTTP(httptest.NewRecorder(), report)
	require.Contains(t, log.String(), "img-src")
	require.Contains(t, log.String(), "path=/api/sessions")
	require.NotContains(t, log.String(), "secret-token")
}

func TestMetricsAuth(t *testing.T) {
	s := testServer(t, io.Discard, nil)
	require.Equal(t, http.StatusForbidden, route{"GET", "/metrics"}.ask(s, http.Header{"Accept": {"text/plain"}}).Code)
	w := route{"GET", "/metrics"}.ask(s, http.Header{"Authorization": {"token secret-token"}})
	require.Contains(t, w.Body.String(), "nbserv_kernels_running_count 0")
	require.Contains(t, w.Body.String(), "nbserv_sessions_open_count 0")
	route{"GET", "/api/config/abc"}.ask(s, http.Header{"Authorization": {"token secret-token"}})
	route{"GET", "/api/kernels/abc"}.ask(s, http.Header{"Authorization": {"token secret-token"}})
	body := route{"GET", "/metrics"}.ask(s, http.Header{"Authorization": {"token secret-token"}}).Body.String()
	require.Contains(t, body, `nbserv_http_request_duration_seconds_count{class="2xx",method="GET",route="/api/config/{section:\\w+}"} 1`)
	require.Contains(t, body, `nbserv_http_request_duration_seconds_count{class="4xx",method="GET",route="/api/kernels/{id}"} 1`)
	require.NotContains(t, body, "abc", "labels are routes, never paths")
	open := testServer(t, io.Discard, func(c *Config) { c.MetricsAuth = false })
	require.Equal(t, http.StatusOK, route{"GET", "/metrics"}.ask(open, nil).Code)
}

func TestRequestIDReachesTheClient(t *testing.T) {
	s := testServer(t, io.Discard, nil)
	require.NotEmpty(t, route{"GET", "/api"}.ask(s, nil).Header().Get("X-Request-Id"))
}
