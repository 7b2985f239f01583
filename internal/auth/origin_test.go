package auth

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/httpx"
)

func TestParseHost(t *testing.T) {
	for in, want := range map[string][2]string{
		"localhost": {"localhost", ""}, "LocalHost:8888": {"localhost", "8888"}, "127.0.0.1:1": {"127.0.0.1", "1"},
		"[::1]:8888": {"[::1]", "8888"}, "[0:0::1]": {"[::1]", ""}, "a-b_c.example.org:65535": {"a-b_c.example.org", "65535"},
	} {
		h, p, ok := parseHost(in)
		require.True(t, ok, in)
		require.Equal(t, want, [2]string{h, p}, in)
	}
	for _, bad := range []string{"", ":80", "a:", "a:0", "a:080", "a:65536", "a:8a", "a:-1", "a b", "a/b", "a@b", "::1", "[::1", "[::1]x", "[::1]]",
		"[127.0.0.1]", "[fe80::1%eth0]", "[::1%25x]:80", "a:80:80", "a\x00", "ä", strings.Repeat("a", 254), "a,b"} {
		_, _, ok := parseHost(bad)
		require.False(t, ok, "%q", bad)
	}
}

func TestOriginsAreComparedWhole_S2(t *testing.T) {
	at := func(host string, tls bool) httpx.Client { return httpx.Client{Host: host, TLS: tls} }
	for _, tt := range []struct {
		origin string
		client httpx.Client
		same   bool
	}{
		{"http://localhost:8888", at("localhost:8888", false), true},
		{"HTTP://LOCALHOST:8888", at("localhost:8888", false), true},
		{"http://example.org", at("example.org:80", false), true},
		{"https://example.org:443", at("example.org", true), true},
		{"http://[::1]:8888", at("[::1]:8888", false), true},
		{"https://localhost:8888", at("localhost:8888", false), false},
		{"http://localhost:8888", at("localhost:8888", true), false},
		{"http://localhost:8889", at("localhost:8888", false), false},
		{"http://localhost", at("localhost:8888", false), false},
		{"http://localhost:8888.evil.com", at("localhost:8888", false), false},
		{"http://evil-localhost:8888", at("localhost:8888", false), false},
		{"http://localhost:8888/", at("localhost:8888", false), false},
		{"http://u@localhost:8888", at("localhost:8888", false), false},
		{"http://localhost:88888", at("localhost:88888", false), false},
		{"null", at("localhost:8888", false), false},
		{"", at("", false), false},
		{"http://", at("", false), false},
	} {
		o, ok := parseOrigin(tt.origin)
		require.Equal(t, tt.same, ok && sameOrigin(o, tt.client), "%q at %v", tt.origin, tt.client)
	}
}

func TestForeignOriginWithCookieIsRefused_S2(t *testing.T) {
	s := newSite(t)
	cookie, xsrf := s.login()
	ws := []string{"Connection: Upgrade", "Upgrade: websocket"}
	for _, tt := range []struct {
		origin string
		cookie int // with the cookie
	}{
		{"http://localhost:8888", 200}, {"http://localhost:8889", 403}, {"https://localhost:8888", 403}, {"http://evil.example", 403},
		{"null", 403}, {"http://localhost:8888.evil.example", 403}, {"http://127.0.0.1:8888", 403}, {"garbage", 403},
	} {
		o := "Origin: " + tt.origin
		require.Equal(t, tt.cookie, s.get("/api/kernels/x/channels", append(ws, cookie, o)...).StatusCode, tt.origin)
		require.Equal(t, tt.cookie, s.get("/api/contents", cookie, o).StatusCode, tt.origin)
		require.Equal(t, tt.cookie, s.ask("POST", "/api/sessions", nil, cookie, o, "X-XSRFToken: "+xsrf).StatusCode, tt.origin)
		require.Equal(t, 200, s.get("/api/kernels/x/channels", append(ws, auth48, o)...).StatusCode, tt.origin)
		require.Equal(t, 200, s.ask("POST", "/api/sessions", nil, auth48, o).StatusCode, tt.origin)
	}
	require.Equal(t, 200, s.get("/api/kernels/x/channels", append(ws, cookie)...).StatusCode, "no Origin")
}

func TestCORS_S2(t *testing.T) {
	allowed := func(resp *http.Response) string { return resp.Header.Get("Access-Control-Allow-Origin") }
	const friend, evil = "https://friend.example", "https://evil.example"

	s := newSite(t)
	cookie, _ := s.login()
	require.Equal(t, evil, allowed(s.get("/api/status", auth48, "Origin: "+evil)), "a bearer needs no browser's protection")
	require.Empty(t, allowed(s.get("/api/status", cookie, "Origin: "+evil)))
	require.Empty(t, allowed(s.get("/api/status", "Origin: "+evil)))
	require.Empty(t, allowed(s.get("/api", auth48, "Origin: "+evil)), "a public route tells nothing about a token")
	pre := s.ask("OPTIONS", "/api/status", nil, "Origin: "+evil, "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: authorization")
	require.Equal(t, 204, pre.StatusCode)
	require.Empty(t, allowed(pre))

	s = newSite(t, func(c *Config) { c.AllowOrigin, c.AllowCredentials = friend+"/", true })
	cookie, xsrf := s.login()
	resp := s.get("/api/status", cookie, "Origin: "+friend, "Sec-Fetch-Site: cross-site")
	require.Equal(t, 200, resp.StatusCode)
	require.Equal(t, friend, allowed(resp))
	require.Equal(t, "true", resp.Header.Get("Access-Control-Allow-Credentials"))
	require.Equal(t, "Origin", resp.Header.Get("Vary"))
	pre = s.ask("OPTIONS", "/api/status", nil, "Origin: "+friend)
	require.Equal(t, friend, allowed(pre))
	require.Contains(t, pre.Header.Get("Access-Control-Allow-Methods"), "PATCH")
	require.Contains(t, pre.Header.Get("Access-Control-Allow-Headers"), "authorization")
	require.Equal(t, 200, s.ask("POST", "/api/x", nil, cookie, "Origin: "+friend, "X-XSRFToken: "+xsrf).StatusCode)
	require.Empty(t, allowed(s.get("/api/status", auth48, "Origin: "+evil)), "a named origin means that one only")
	for _, bad := range []string{friend + ".evil.example", "https://friend.exampl", "http://friend.example", friend + ":444", "https://xfriend.example"} {
		require.Equal(t, 403, s.get("/api/status", cookie, "Origin: "+bad).StatusCode, bad)
		require.Empty(t, allowed(s.ask("OPTIONS", "/api/status", nil, "Origin: "+bad)), bad)
	}

	s = newSite(t, func(c *Config) { c.AllowOriginPat = `https://[a-z]+\.friend\.example|http://ok` })
	cookie, _ = s.login()
	for origin, want := range map[string]int{
		"https://a.friend.example": 200, "http://ok": 200, "https://a.friend.example.evil.example": 403, "http://ok.evil.example": 403,
		"https://evil.example/https://a.friend.example": 403, "xhttps://a.friend.example": 403, "https://a.friend.example:8443": 403,
	} {
		resp := s.get("/api/status", cookie, "Origin: "+origin)
		require.Equal(t, want, resp.StatusCode, origin)
		require.Equal(t, want == 200, allowed(resp) == origin, origin)
		require.Empty(t, resp.Header.Get("Access-Control-Allow-Credentials"))
	}

	s = newSite(t, func(c *Config) { c.AllowOrigin, c.AllowCredentials = "*", true })
	cookie, _ = s.login()
	resp = s.get("/api/status", auth48, "Origin: "+evil)
	require.Equal(t, 200, resp.StatusCode)
	require.Equal(t, "*", allowed(resp))
	require.Empty(t, resp.Header.Get("Access-Control-Allow-Credentials"))
	require.Equal(t, 403, s.get("/api/status", cookie, "Origin: "+evil).StatusCode, "* is for bearers")
}

func TestHostIsChecked_S2(t *testing.T) {
	s := newSite(t, func(c *Config) { c.LocalHostnames = []string{"My-Box"} })
	for h, want := range map[string]int{
		"localhost:8888": 200, "LOCALHOST": 200, "127.0.0.1:1": 200, "127.9.9.9": 200, "[::1]:8888": 200, "my-box:8888": 200,
		"evil.example": 403, "localhost.evil.example": 403, "127.0.0.1.evil.example": 403, "10.0.0.1": 403, "[fe80::1]": 403,
		"0.0.0.0": 403, "localhost:x": 403, "": 403, "127.1": 403, "2130706433": 403, "[::ffff:127.0.0.1]": 200, "[::ffff:10.0.0.1]": 403,
	} {
		for _, p := range []string{"/api", "/login", "/static/x", "/api/status?token=" + token} {
			require.Equal(t, want, s.get(p, "Host: "+h).StatusCode, "%s at %q", p, h)
		}
	}
	require.Equal(t, 403, s.get("/api", "Host: localhost", "Remote: 10.0.0.9:1", "X-Forwarded-Host: evil.example").StatusCode)
	require.Equal(t, 403, s.get("/api", "Host: evil.example", "Remote: 10.0.0.9:1", "X-Forwarded-Host: localhost").StatusCode)
	require.Equal(t, 200, newSite(t, func(c *Config) { c.AllowRemoteAccess = true }).get("/api", "Host: evil.example").StatusCode)
}

func TestOriginBehindATrustedProxyOnly_S2(t *testing.T) {
	s := newSite(t, func(c *Config) { c.AllowRemoteAccess = true })
	resp := s.get("/lab?token="+token, "Host: jupyter.example", "X-Forwarded-Proto: https", "Remote: 10.0.0.9:1")
	c := cookieOf(resp, "username-jupyter-example")
	require.NotNil(t, c)
	get := func(headers ...string) int {
		return s.get("/api/status", append(headers, "Host: jupyter.example", "Cookie: "+c.Name+"="+c.Value, "Origin: https://jupyter.example")...).StatusCode
	}
	require.Equal(t, 200, get("X-Forwarded-Proto: https", "Remote: 10.0.0.9:1"))
	require.Equal(t, 200, get("X-Scheme: https", "Remote: 10.0.0.9:1"))
	require.Equal(t, 403, get("X-Forwarded-Proto: https", "Remote: 192.0.2.1:1"), "not a trusted one")
	require.Equal(t, 403, get("Remote: 10.0.0.9:1"))
}

func FuzzParseHost(f *testing.F) {
	for _, s := range []string{"localhost:8888", "[::1]:80", "a.b", "::1", "[::1%eth0]", "a:b:c", "A:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, port, ok := parseHost(s)
		if !ok {
			return
		}
		require.NotEmpty(t, host)
		whole := host
		if port != "" {
			whole += ":" + port
		}
		require.False(t, strings.ContainsAny(whole, " /@\\\t\r\n,;%"))
		h2, p2, ok := parseHost(whole)
		require.True(t, ok && h2 == host && p2 == port, "%q read again is %q %q", whole, h2, p2)
	})
}

func FuzzParseOrigin(f *testing.F) {
	for _, s := range []string{"http://localhost:8888", "https://a.b:443", "null", "vscode-webview://abc", "http://a/b", "http://[::1]", "://a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		o, ok := parseOrigin(s)
		if !ok {
			return
		}
		again, ok := parseOrigin(o.String())
		require.True(t, ok)
		require.Equal(t, o, again)
	})
}
