package e2e

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// browser is what a browser keeps after a login.
type browser struct {
	cookies string
	xsrf    string
}

// header is a request's, of this browser, with more.
func (b browser) header(more http.Header) http.Header {
	h := more.Clone()
	if h == nil {
		h = http.Header{}
	}
	h.Set("Cookie", b.cookies)
	return h
}

// login goes through the login page as a person does.
func (s *server) login() browser {
	s.t.Helper()
	page, err := s.ask("GET", "login", nil, nil)
	require.NoError(s.t, err)
	b := browser{}
	b.take(page.Response)
	a := s.submit(b, "/", s.token)
	require.Equal(s.t, 302, a.StatusCode, "%s", a.body)
	require.Equal(s.t, "/", a.Header.Get("Location"))
	b.take(a.Response)
	return b
}

// submit sends the login form.
func (s *server) submit(b browser, next, password string) answer {
	s.t.Helper()
	form := url.Values{"_xsrf": {b.xsrf}, "password": {password}}
	a, err := s.ask("POST", "login?next="+url.QueryEscape(next), []byte(form.Encode()),
		b.header(http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}))
	require.NoError(s.t, err)
	return a
}

// take keeps an answer's cookies.
func (b *browser) take(resp *http.Response) {
	for _, c := range resp.Cookies() {
		if c.Name == "_xsrf" {
			b.xsrf = c.Value
		}
		b.cookies += c.Name + "=" + c.Value + "; "
	}
}

// A page of another site, under whatever name, cannot use the server through a browser that has logged in; and a
// name that was bent to point here (DNS rebinding) reaches nothing at all.
func TestOriginAndHost_S2(t *testing.T) {
	s := startSynth(t)
	b := s.login()
	kernel := s.create("f.ipynb", "synth").Kernel.ID
	u, err := url.Parse(s.url)
	require.NoError(t, err)
	for _, host := range []string{"evil.example", "evil.example:" + u.Port(), "localhost.evil.example", "localhost@evil.example",
		"127.0.0.1.nip.io", "xlocalhost", "localhostx", "10.0.0.1", "[::ffff:10.0.0.1]", "0x7f.1", "localhost:" + u.Port() + ".evil.example"} {
		for _, path := range []string{"api", "api/contents/", "login", "files/x", "api/kernels/" + kernel + "/channels"} {
			a, err := s.ask("GET", path, nil, http.Header{"Host": {host}, "Authorization": {"token " + s.token}})
			require.NoError(t, err)
			require.Contains(t, []int{400, 403}, a.StatusCode, "Host %s on %s: %s", host, path, a.body)
		}
		_, resp, err := s.upgrade(kernel+"/channels", http.Header{"Host": {host}, "Authorization": {"token " + s.token}})
		require.ErrorIs(t, err, websocket.ErrBadHandshake, host)
		require.Contains(t, []int{400, 403}, resp.StatusCode, host)
	}
	own := strings.TrimSuffix(s.url, "/")
	for _, origin := range []string{"http://evil.example", own + ".evil.example", "https" + strings.TrimPrefix(own, "http"), "http://localhost",
		own + "1", "null", "http://x@" + u.Host, own + "/", "file://", "http://evil.example?" + own, "http://LOCALHOST.evil:" + u.Port()} {
		more := http.Header{"Origin": {origin}}
		a, err := s.ask("GET", "api/contents/", nil, b.header(more))
		require.NoError(t, err)
		require.Equal(t, 403, a.StatusCode, "Origin %s", origin)
		require.Empty(t, a.Header.Get("Access-Control-Allow-Origin"))
		_, resp, err := s.upgrade(kernel+"/channels", b.header(more))
		require.ErrorIs(t, err, websocket.ErrBadHandshake, origin)
		require.Equal(t, 403, resp.StatusCode, "WebSocket with Origin %s", origin)
	}
	conn, _, err := s.upgrade(kernel+"/channels", b.header(http.Header{"Origin": {own}}))
	require.NoError(t, err, "our own page may")
	conn.Close()
}

// A login leads back to this server only, and so does every other redirect.
func TestRedirectsStayInside_S4(t *testing.T) {
	s := start(t)
	page, err := s.ask("GET", "login", nil, nil)
	require.NoError(t, err)
	b := browser{}
	b.take(page.Response)
	inside := func(location, from string) {
		t.Helper()
		require.True(t, strings.HasPrefix(location, "/") && !strings.HasPrefix(location, "//") && !strings.HasPrefix(location, `/\`), "%s leads to %s", from, location)
		require.NotContains(t, location, "\\")
		base, err := url.Parse(s.url)
		require.NoError(t, err)
		to, err := base.Parse(location)
		require.NoError(t, err)
		require.Equal(t, base.Host, to.Host, "%s leads to %s", from, location)
	}
	for _, next := range []string{"//evil.example", `/\evil.example`, `\\evil.example`, "https:evil.example", "https://evil.example/", "///evil.example",
		"/%2f/evil.example", "/%5cevil.example", "/\t/evil.example", "\t//evil.example", "/.//evil.example", "/x/..//evil.example", "javascript:alert(1)",
		"/%09/evil.example", "//evil.example%2f..", "http:/evil.example", "@evil.example", "/\r\nSet-Cookie: a=b", "/x\u2028"} {
		a := s.submit(b, next, s.token)
		require.Equal(t, 302, a.StatusCode)
		inside(a.Header.Get("Location"), next)
		require.Empty(t, a.Header.Get("A"))
	}
	for _, path := range []string{"/evil.example/", "/evil.example/%2e%2e", "%5cevil.example/", "tree/", "/evil.example//", "x//evil.example/"} {
		a, err := s.ask("GET", path, nil, http.Header{"Authorization": {"token " + s.token}, "Accept": {"text/html"}})
		require.NoError(t, err)
		if l := a.Header.Get("Location"); l != "" {
			inside(l, path)
		}
	}
}

// Guessing is slowed down for who guesses and for nobody else; a cookie outlives a restart, but not the credential
// that it was given for.
func TestThrottleAndCookies_S5(t *testing.T) {
	s := start(t, "--cookie-name=e2e-login") // else it has the port's name, which changes
	b := s.login()
	status := func(header http.Header) int {
		t.Helper()
		a, err := s.ask("GET", "api/status", nil, header)
		require.NoError(t, err)
		return a.StatusCode
	}
	require.Equal(t, 200, status(b.header(nil)))
	s.stop(syscall.SIGKILL)
	s.run()
	require.Equal(t, 200, status(b.header(nil)), "a restart ends no cookie")
	s.stop(syscall.SIGTERM)
	s.token = "another-token"
	s.run()
	require.Equal(t, 403, status(b.header(nil)), "a changed token does")

	throttled := false
	for range 20 {
		a, err := s.ask("GET", "api/status?token=guess", nil, nil)
		require.NoError(t, err)
		if throttled = a.StatusCode == 429; throttled {
			require.NotEmpty(t, a.Header.Get("Retry-After"))
			break
		}
		require.Equal(t, 403, a.StatusCode)
	}
	require.True(t, throttled)
	elsewhere := http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext}}
	defer elsewhere.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), "GET", strings.Replace(s.url, "localhost", "127.0.0.1", 1)+"api/status", nil)
	require.NoError(t, err)
	req.Header = s.bearer()
	resp, err := elsewhere.Do(req)
	if err != nil && strings.Contains(err.Error(), "can't assign requested address") {
		t.Skip("this system has no second loopback address")
	}
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 200, resp.StatusCode, "another address is not affected")
}

// Whatever comes from the user is served in a sandbox: no script of it runs as the server's page.
func TestUserBytesAreSandboxed_S7(t *testing.T) {
	s := startSynth(t)
	const evil = "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
	for _, name := range []string{"x.html", "x.svg", "x.xhtml", "x.ipynb", "x.unknown", "x\r\nA: b.html"} {
		a, err := s.ask("PUT", "api/contents/"+url.PathEscape(name), []byte(`{"type":"file","format":"text","content":"`+evil+`"}`), s.bearer())
		require.NoError(t, err)
		require.Equal(t, 201, a.StatusCode, "%s", a.body)
	}
	s.resource("synth", "logo.svg", evil)
	s.resource("synth", "kernel.html", evil)
	for _, path := range []string{"files/x.html", "files/x.svg", "files/x.xhtml", "files/x.ipynb", "files/x.unknown", "files/x.html?download=1",
		"files/x%0D%0AA:%20b.html?download=1", "view/x.html", "view/x.svg", "kernelspecs/synth/logo.svg", "kernelspecs/synth/kernel.html"} {
		a, err := s.ask("GET", path, nil, s.bearer())
		require.NoError(t, err)
		require.Equal(t, 200, a.StatusCode, path)
		policy := a.Header.Get("Content-Security-Policy")
		if strings.HasPrefix(path, "view/") { // our own page around the file
			require.NotContains(t, string(a.body), "<script>alert", path)
		} else {
			require.Contains(t, policy, "sandbox", path)
		}
		require.NotContains(t, policy, "allow-same-origin", path)
		require.Equal(t, "nosniff", a.Header.Get("X-Content-Type-Options"), path)
		require.Empty(t, a.Header.Get("A"), "a name splits no header")
	}
	for _, path := range []string{"api/contents/x.html", "api/status", "api/kernelspecs", "api/nothing", "login"} {
		a, err := s.ask("GET", path, nil, s.bearer())
		require.NoError(t, err)
		require.Equal(t, "nosniff", a.Header.Get("X-Content-Type-Options"), path)
		require.Contains(t, a.Header.Get("Content-Security-Policy"), "frame-ancestors", path)
		if strings.HasPrefix(path, "api/") {
			require.Contains(t, a.Header.Get("Content-Type"), "application/json", path)
		}
	}
}
