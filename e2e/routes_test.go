package e2e

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// route is one line of the list of all routes that cmd/nbserv's own test keeps true.
type route struct {
	public       bool
	method, path string
}

func routes(t *testing.T) (all []route) {
	t.Helper()
	raw, err := os.ReadFile("../cmd/nbserv/testdata/routes.golden")
	require.NoError(t, err)
	for line := range strings.Lines(string(raw)) {
		f := strings.Fields(line)
		require.Len(t, f, 3, line)
		all = append(all, route{f[0] == "public", f[1], strings.TrimPrefix(f[2], "/")})
	}
	return all
}

// fill puts names into a path's variables, by the order of the pairs.
func fill(path string, pairs ...string) string {
	path = strings.NewReplacer(pairs...).Replace(path)
	return strings.NewReplacer("{path}", "f.txt", "{id}", "x", "{name}", "x", "{file}", "x", "{section}", "x", "{locale}", "en").Replace(path)
}

var allMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"}

// credentials that are none.
var wrong = map[string]struct {
	query  string
	header http.Header
}{
	"nobody":          {"", nil},
	"a wrong token":   {"?token=wrong", nil},
	"an empty token":  {"?token=", http.Header{"Authorization": {"token "}}},
	"part of a token": {"", http.Header{"Authorization": {"Bearer 0123456789abcdef0123456789abcdef0123456789abcde"}}},
	"a made-up cookie": {"", http.Header{"Cookie": {"username-localhost=x; username-127-0-0-1=e30.e30"},
		"Referer": {"http://localhost/"}, "Sec-Fetch-Site": {"same-origin"}}},
	"a proxy's word": {"", http.Header{"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-User": {"root"}, "X-Real-Ip": {"127.0.0.1"}}},
}

// Every private route refuses who has no credentials, whatever the method, and does nothing.
func TestStrangersAreRefused_S1(t *testing.T) {
	s := prepareSynth(t)
	s.token = "0123456789abcdef0123456789abcdef0123456789abcdef" // right ones of this length are let in among wrong ones
	s.run()
	require.Equal(t, 201, s.call("PUT", "api/contents/f.txt", text("secret words"), nil).StatusCode)
	made := s.create("f.ipynb", "synth")
	before := s.metric("nbserv_kernels_started_total")
	done := map[string]bool{}
	for _, r := range routes(t) {
		if r.public || done[r.path] || strings.HasPrefix(r.path, "rserver/login") { // logins need none
			continue
		}
		done[r.path] = true
		path := fill(r.path, "sessions/{id}", "sessions/"+made.ID, "kernels/{id}", "kernels/"+made.Kernel.ID, "{id}", "checkpoint", "{name}", "synth")
		for _, method := range allMethods {
			for name, c := range wrong {
				a, err := s.ask(method, path+c.query, []byte(`{}`), c.header)
				require.NoError(t, err)
				toLogin := a.StatusCode == 302 && strings.HasPrefix(a.Header.Get("Location"), "/login?")
				refused := toLogin || a.StatusCode == 403 || a.StatusCode == 401 || a.StatusCode == 429 ||
					method == "OPTIONS" && a.StatusCode == 204 && len(a.body) == 0
				require.True(t, refused, "%s %s by %s: %s: %s", method, path, name, a.Status, a.body)
				require.NotContains(t, string(a.body), "secret words")
				if a.StatusCode == 403 {
					requireClear(t, s.server, method+" "+path, a)
				}
			}
		}
	}
	for name, c := range wrong {
		header := c.header.Clone()
		if header == nil {
			header = http.Header{}
		}
		for _, protocol := range [][]string{nil, {v1}, {v1, "v1.token.websocket.jupyter.org"}} {
			header.Del("Sec-WebSocket-Protocol")
			if protocol != nil {
				header["Sec-WebSocket-Protocol"] = protocol
			}
			_, resp, err := s.upgrade(made.Kernel.ID+"/channels"+c.query, header)
			require.ErrorIs(t, err, websocket.ErrBadHandshake, name)
			require.Contains(t, []int{403, 429}, resp.StatusCode, name)
		}
	}
	require.Equal(t, before, s.metric("nbserv_kernels_started_total"))
	require.FileExists(t, s.root+"/f.txt")
	require.Len(t, s.processes(), 1)
}

// What is public answers strangers, and is on a short list.
func TestPublicListIsShort_S1(t *testing.T) {
	s := start(t)
	var paths []string
	for _, r := range routes(t) {
		if r.public && r.method == "GET" {
			paths = append(paths, r.path)
			a, err := s.ask("GET", fill(r.path), nil, nil)
			require.NoError(t, err)
			want := 200
			if strings.Contains(r.path, "{file}") { // of JupyterLab's, which has no x
				want = 404
			}
			require.Equal(t, want, a.StatusCode, r.path)
		}
	}
	slices.Sort(paths)
	require.Equal(t, []string{"api", "favicon.ico", "healthz", "lab/api/themes/{file}", "lab/extensions/{file}", "login", "logout",
		"static/favicon.ico", "static/favicons/{name}", "static/lab/{file}", "static/notebook/{file}"}, paths)
}

// Who has logged in by cookie must prove with each change that the page is ours; the token needs no such proof.
func TestChangesByCookieNeedXSRF_S3(t *testing.T) {
	s := startSynth(t)
	b := s.login()
	made := s.create("f.ipynb", "synth")
	require.Equal(t, 201, s.call("PUT", "api/contents/f.txt", text("words"), nil).StatusCode)
	for _, r := range routes(t) {
		if r.method == "GET" || r.method == "HEAD" || r.public || strings.HasPrefix(r.path, "rserver/login") || strings.Contains(r.path, "csp-report") || r.path == "api/shutdown" {
			continue
		}
		path := fill(r.path, "sessions/{id}", "sessions/"+made.ID, "kernels/{id}", "kernels/"+made.Kernel.ID, "{id}", "checkpoint")
		for name, more := range map[string]http.Header{
			"without":       {},
			"made up":       {"X-Xsrftoken": {"0123456789abcdef0123456789abcdef"}},
			"another site":  {"X-Xsrftoken": {b.xsrf}, "Origin": {"http://evil.example"}},
			"a sibling":     {"X-Xsrftoken": {b.xsrf}, "Sec-Fetch-Site": {"same-site"}},
			"cross-site":    {"X-Xsrftoken": {b.xsrf}, "Sec-Fetch-Site": {"cross-site"}},
			"another port":  {"X-Xsrftoken": {b.xsrf}, "Origin": {"http://localhost:1"}},
			"a null origin": {"X-Xsrftoken": {b.xsrf}, "Origin": {"null"}},
		} {
			a, err := s.ask(r.method, path, []byte(`{}`), b.header(more))
			require.NoError(t, err)
			require.Equal(t, 403, a.StatusCode, "%s %s %s: %s", r.method, path, name, a.body)
			requireClear(t, s.server, path, a)
		}
	}
	require.FileExists(t, s.root+"/f.txt")
	s.kernelProcess(made.Kernel.ID)
	own := b.header(http.Header{"X-Xsrftoken": {b.xsrf}, "Origin": {strings.TrimSuffix(s.url, "/")}, "Sec-Fetch-Site": {"same-origin"}})
	a, err := s.ask("DELETE", "api/sessions/"+made.ID, nil, own)
	require.NoError(t, err)
	require.Equal(t, 204, a.StatusCode, "our own page may: %s", a.body)

	// A user's files cannot be drawn into a page of another site, not even as an image.
	for name, c := range map[string]struct {
		more   http.Header
		status int
	}{
		"our page":        {http.Header{"Sec-Fetch-Site": {"same-origin"}}, 200},
		"typed":           {http.Header{"Sec-Fetch-Site": {"none"}, "Sec-Fetch-Mode": {"navigate"}}, 200},
		"another site":    {http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"no-cors"}}, 403},
		"a link there":    {http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"navigate"}}, 403},
		"an old browser":  {http.Header{"Referer": {"http://evil.example/"}}, 403},
		"and its own one": {http.Header{"Referer": {s.url + "tree"}}, 200},
	} {
		a, err := s.ask("GET", "files/f.txt", nil, b.header(c.more))
		require.NoError(t, err)
		require.Equal(t, c.status, a.StatusCode, name)
	}
}
