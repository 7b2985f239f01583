package httpx

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
)

// logged serves one request and gives its answer and its one log line (nil when there is none).
func logged(t *testing.T, level slog.Level, h http.HandlerFunc, r *http.Request) (*http.Response, map[string]any) {
	t.Helper()
	var b bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: level}))
	w := httptest.NewRecorder()
	func() {
		defer func() {
			if v := recover(); v != nil {
				require.Equal(t, http.ErrAbortHandler, v)
			}
		}()
		Chain(h, AccessLog(LogConfig{Logger: log}), Recover, SecurityHeaders("/b/")).ServeHTTP(w, r)
	}()
	require.LessOrEqual(t, bytes.Count(b.Bytes(), []byte("\n")), 1, b.String())
	if b.Len() == 0 {
		return w.Result(), nil
	}
	var line map[string]any
	require.NoError(t, json.Unmarshal(b.Bytes(), &line))
	return w.Result(), line
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestAccessLogLine(t *testing.T) {
	r := httptest.NewRequest("POST", "/api/x?a=1&token=s3cret", nil)
	r.Header.Set("Referer", "http://x/?token=s3cret")
	r.Header.Set("Authorization", "token s3cret")
	resp, line := logged(t, slog.LevelInfo, answer(201, "hello"), r)
	require.Equal(t, resp.Header.Get("X-Request-Id"), line["request_id"])
	require.NotEmpty(t, line["request_id"])
	require.Positive(t, line["dur"])
	delete(line, "time")
	delete(line, "request_id")
	delete(line, "dur")
	require.Equal(t, map[string]any{"level": "INFO", "msg": "request", "method": "POST", "path": "/api/x?a=1&token=[redacted]",
		"status": 201., "bytes": 5., "remote": "192.0.2.1"}, line)
}

func TestAccessLogLevels(t *testing.T) {
	for _, tt := range []struct {
		method string
		status int
		want   any
	}{
		{"GET", 200, nil}, {"HEAD", 304, nil}, {"GET", 302, nil}, {"POST", 201, "INFO"}, {"DELETE", 204, "INFO"}, {"GET", 404, "INFO"},
		{"GET", 403, "INFO"}, {"GET", 429, "WARN"}, {"GET", 503, "WARN"}, {"GET", 500, "ERROR"}, {"POST", 507, "ERROR"},
	} {
		_, line := logged(t, slog.LevelInfo, answer(tt.status, ""), httptest.NewRequest(tt.method, "/x", nil))
		require.Equal(t, tt.want, line["level"], "%s %d", tt.method, tt.status)
	}
	_, line := logged(t, slog.LevelDebug, answer(200, ""), httptest.NewRequest("GET", "/x", nil))
	require.Equal(t, "DEBUG", line["level"], "a poll")
}

func TestInternalErrorIsLoggedOnceAndToldToNobody_S12(t *testing.T) {
	h := Handler(func(http.ResponseWriter, *http.Request) error { return errors.New("open /srv/secret/place") })
	resp, line := logged(t, slog.LevelInfo, h.ServeHTTP, httptest.NewRequest("GET", "/x", nil))
	require.Equal(t, 500, resp.StatusCode)
	require.Equal(t, "open /srv/secret/place", line["err"])
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.JSONEq(t, fmt.Sprintf(`{"message":"internal error (request %s)","reason":null}`, line["request_id"]), string(body))
}

func TestPanic_P13(t *testing.T) {
	resp, line := logged(t, slog.LevelInfo, func(http.ResponseWriter, *http.Request) { panic("at /srv/place") }, httptest.NewRequest("GET", "/x", nil))
	require.Equal(t, 500, resp.StatusCode)
	require.Contains(t, line["err"], "at /srv/place")
	require.Contains(t, line["stack"], "TestPanic")
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NotContains(t, string(body), "/srv")

	half := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "half"); panic("late") }
	srv := httptest.NewServer(Chain(http.HandlerFunc(half), AccessLog(LogConfig{Logger: slog.New(slog.DiscardHandler)}), Recover))
	defer srv.Close()
	got, err := http.Get(srv.URL)
	if err == nil {
		defer got.Body.Close()
		_, err = io.ReadAll(got.Body)
	}
	require.Error(t, err, "half an answer must not look whole")

	_, line = logged(t, slog.LevelDebug, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, httptest.NewRequest("GET", "/x", nil))
	require.Nil(t, line["err"], "a handler's own way to cut a connection")
	require.NotNil(t, line)
}

func TestGoneClientIs499(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	h := func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() }
	_, line := logged(t, slog.LevelDebug, h, httptest.NewRequest("GET", "/x", nil).WithContext(ctx))
	require.EqualValues(t, 499, line["status"])
	_, line = logged(t, slog.LevelDebug, Handler(func(_ http.ResponseWriter, r *http.Request) error { return r.Context().Err() }).ServeHTTP,
		httptest.NewRequest("GET", "/x", nil).WithContext(ctx))
	require.EqualValues(t, 499, line["status"])
	require.Equal(t, "INFO", line["level"])
	_, line = logged(t, slog.LevelDebug, answer(200, "x"), httptest.NewRequest("GET", "/x", nil).WithContext(ctx))
	require.EqualValues(t, 200, line["status"], "it had its answer")
}

func TestRequestID(t *testing.T) {
	for given, kept := range map[string]bool{"abc-1.2_X": true, "": false, "a b": false, "a\nb": false, "ü": false, string(bytes.Repeat([]byte("a"), 65)): false} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["X-Request-Id"] = []string{given}
		var inside string
		resp, _ := logged(t, slog.LevelError, func(_ http.ResponseWriter, r *http.Request) { inside = RequestID(r.Context()) }, r)
		require.Equal(t, kept, inside == given, given)
		require.Equal(t, inside, resp.Header.Get("X-Request-Id"))
		require.True(t, plainWord(inside))
	}
}

func TestLoggerCarriesRequestID(t *testing.T) {
	var b bytes.Buffer
	h := func(_ http.ResponseWriter, r *http.Request) { Logger(r.Context()).Info("hello") }
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("X-Request-Id", "here")
	AccessLog(LogConfig{Logger: slog.New(slog.NewTextHandler(&b, nil))})(http.HandlerFunc(h)).ServeHTTP(httptest.NewRecorder(), r)
	require.Contains(t, b.String(), "msg=hello request_id=here")
	require.Same(t, slog.Default(), Logger(context.Background()))
}

func TestLoggablePath_S6(t *testing.T) {
	for in, want := range map[string]string{
		"/a":                                  "/a",
		"/a?1700000000000":                    "/a?1700000000000",
		"/a?content=1&hash=0":                 "/a?content=1&hash=0",
		"/a?token=T":                          "/a?token=[redacted]",
		"/a?TOKEN=T":                          "/a?TOKEN=[redacted]",
		"/a?%74oken=T":                        "/a?[redacted]",
		"/a?%2574oken=T":                      "/a?[redacted]",
		"/a?x=1&_xsrf=T&y=2":                  "/a?x=1&_xsrf=[redacted]&y=2",
		"/a?password=T&new_password=T":        "/a?password=[redacted]&new_password=[redacted]",
		"/login?next=%2Flab%3Ftoken%3DT":      "/login?next=[redacted]",
		"/login?next=%252Flab%253Ftoken%253D": "/login?next=[redacted]",
		"/a?x=1;token=T":                      "/a?x=[redacted]",
		"/a?x=%zz":                            "/a?x=[redacted]",
		"/a?token":                            "/a?token=[redacted]",
		"/a?session_id=1":                     "/a?session_id=1",
	} {
		u := &url.URL{}
		u.Path, u.RawQuery, _ = cut(in)
		require.Equal(t, want, loggable(u), in)
	}
}

func cut(s string) (string, string, bool) {
	b, a, ok := bytes.Cut([]byte(s), []byte("?"))
	return string(b), string(a), ok
}

func TestClientThroughTrustedProxiesOnly(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	for name, tt := range map[string]struct {
		remote string
		header http.Header
		want   Client
	}{
		"plain":          {"192.0.2.1:5", http.Header{}, Client{netip.MustParseAddr("192.0.2.1"), "here", false}},
		"not trusted":    {"192.0.2.1:5", http.Header{"X-Forwarded-For": {"1.1.1.1"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"x"}, "X-Real-Ip": {"1.1.1.1"}}, Client{netip.MustParseAddr("192.0.2.1"), "here", false}},
		"trusted":        {"10.0.0.1:5", http.Header{"X-Forwarded-For": {"192.0.2.7"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"outside"}}, Client{netip.MustParseAddr("192.0.2.7"), "outside", true}},
		"mapped":         {"[::ffff:10.0.0.1]:5", http.Header{"X-Forwarded-For": {"192.0.2.7"}}, Client{netip.MustParseAddr("192.0.2.7"), "here", false}},
		"chain":          {"[::1]:5", http.Header{"X-Forwarded-For": {"6.6.6.6, 192.0.2.7", "10.9.9.9"}}, Client{netip.MustParseAddr("192.0.2.7"), "here", false}},
		"all trusted":    {"10.0.0.1:5", http.Header{"X-Forwarded-For": {"10.0.0.3, 10.0.0.2"}}, Client{netip.MustParseAddr("10.0.0.3"), "here", false}},
		"garbage before": {"10.0.0.1:5", http.Header{"X-Forwarded-For": {"evil, 10.0.0.2"}}, Client{netip.MustParseAddr("10.0.0.2"), "here", false}},
		"garbage":        {"10.0.0.1:5", http.Header{"X-Forwarded-For": {"evil"}, "X-Scheme": {"https"}}, Client{netip.MustParseAddr("10.0.0.1"), "here", true}},
		"real ip":        {"10.0.0.1:5", http.Header{"X-Real-Ip": {"[2001:db8::1]:80"}}, Client{netip.MustParseAddr("2001:db8::1"), "here", false}},
		"last word":      {"10.0.0.1:5", http.Header{"X-Forwarded-Proto": {"https, http"}, "X-Forwarded-Host": {"evil, good"}}, Client{netip.MustParseAddr("10.0.0.1"), "good", false}},
		"unix socket":    {"@", http.Header{"X-Forwarded-For": {"1.1.1.1"}}, Client{netip.Addr{}, "here", false}},
	} {
		t.Run(name, func(t *testing.T) {
			r := &http.Request{Host: "here", RemoteAddr: tt.remote, Header: tt.header}
			require.Equal(t, tt.want, forwarded(r, trusted))
			require.Equal(t, "here", ClientOf(r).Host, "without AccessLog: the connection's own")
		})
	}
}

func TestKindsOfNoteWithoutMiddleware(t *testing.T) {
	ctx := WithRequestID(context.Background(), "id")
	NoteError(ctx, fault.New(fault.Busy, "x"))
	require.Equal(t, fault.Busy, fault.KindOf(NotedError(ctx)))
	require.Equal(t, "id", RequestID(ctx))
	require.NoError(t, NotedError(context.Background()))
	require.Empty(t, RequestID(context.Background()))
}

func TestSecurityHeaders_S7(t *testing.T) {
	policy := func(path string, h http.HandlerFunc) string {
		resp, _ := logged(t, slog.LevelError, h, httptest.NewRequest("GET", path, nil))
		require.Equal(t, "nosniff", resp.Header.Get("X-Content-Type-Options"))
		return resp.Header.Get("Content-Security-Policy")
	}
	const page = "frame-ancestors 'self'; report-uri /b/api/security/csp-report"
	ok := answer(200, "")
	require.Equal(t, page, policy("/lab", ok))
	require.Equal(t, page, policy("/apix", ok))
	for _, p := range []string{"/api", "/api/x", "/lab/api/settings"} {
		require.Equal(t, page+"; default-src 'none'", policy(p, ok), p)
	}
	require.Equal(t, page+"; sandbox allow-scripts", policy("/files/x", func(w http.ResponseWriter, _ *http.Request) { AddCSP(w, "sandbox allow-scripts") }))
	require.Equal(t, "x", policy("/files/x", func(w http.ResponseWriter, _ *http.Request) { SetCSP(w, "x") }))
	require.Equal(t, page, policy("/files/x", func(w http.ResponseWriter, _ *http.Request) { w.Header().Add("Content-Security-Policy", "x") }))
	require.Equal(t, page, policy("/lab", ok), "no answer changes another's")
}
