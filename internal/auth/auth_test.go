package auth

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/gorilla/mux"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nbserv/nbserv/internal/httpx"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	base  = "/a%40b/"
	token = "0123456789abcdef0123456789abcdef0123456789abcdef"
	host  = "localhost:8888"
)

// site is a server with the package's routes and one of every sort of its own.
type site struct {
	t    *testing.T
	auth *Auth
	h    http.Handler
	log  *bytes.Buffer
}

func newSite(t *testing.T, change ...func(*Config)) *site {
	t.Helper()
	cfg := Config{BaseURL: base, Token: token, StateDir: t.TempDir(), AllowPasswordChange: true}
	for _, f := range change {
		f(&cfg)
	}
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	a, err := New(cfg, logger)
	require.NoError(t, err)
	r := mux.NewRouter().SkipClean(true)
	a.Register(r)
	r.PathPrefix("/").HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, _ := UserFrom(r.Context())
		if r.URL.Path == "/lab" {
			XSRFToken(w, r)
		}
		_, _ = io.WriteString(w, "in:"+u.Username)
	})
	h := httpx.Chain(a.Wrap(r), httpx.AccessLog(httpx.LogConfig{Logger: logger, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}),
		httpx.Recover, httpx.SecurityHeaders(base))
	return &site{t, a, h, &log}
}

// ask sends a request with header lines "Name: value".
func (s *site) ask(method, target string, body io.Reader, headers ...string) *http.Response {
	s.t.Helper()
	r := httptest.NewRequest(method, target, body)
	r.Host, r.RemoteAddr = host, "127.0.0.1:5555"
	for _, line := range headers {
		k, v, _ := strings.Cut(line, ": ")
		switch k {
		case "Host":
			r.Host = v
		case "Remote":
			r.RemoteAddr = v
		default:
			r.Header.Add(k, v)
		}
	}
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, r)
	return w.Result()
}

func (s *site) get(target string, headers ...string) *http.Response {
	return s.ask("GET", target, nil, headers...)
}

func text(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(b)
}

// cookieOf is the cookie called name that an answer sets, or nil.
func cookieOf(resp *http.Response, name string) *http.Cookie {
	for _, c := range resp.Cookies() {
		if c.Name == name {
			return c
		}
	}
	return nil
}

const cookieName = "username-localhost-8888"

// login opens the server's address as a browser does, and gives its cookies.
func (s *site) login() (header, xsrf string) {
	s.t.Helper()
	resp := s.get("/lab?token=" + token)
	require.Equal(s.t, 200, resp.StatusCode)
	user, x := cookieOf(resp, cookieName), cookieOf(resp, "_xsrf")
	require.NotNil(s.t, user)
	require.NotNil(s.t, x)
	return "Cookie: " + cookieName + "=" + user.Value + "; _xsrf=" + x.Value, x.Value
}

func (s *site) form(values url.Values, headers ...string) *http.Response {
	s.t.Helper()
	page := s.get("/login")
	require.Equal(s.t, 200, page.StatusCode)
	x := cookieOf(page, "_xsrf")
	require.NotNil(s.t, x)
	values.Set("_xsrf", x.Value)
	return s.ask("POST", "/login", strings.NewReader(values.Encode()), append([]string{
		"Content-Type: application/x-www-form-urlencoded", "Cookie: _xsrf=" + x.Value}, headers...)...)
}

var auth48 = "Authorization: token " + token

func TestEverythingAsksButTheShortList_S1(t *testing.T) {
	s := newSite(t)
	open := []string{"/api", "/login", "/logout", "/healthz", "/favicon.ico", "/static/lab/main.js", "/lab/extensions/x/y.js", "/lab/api/themes/t/i.css"}
	for _, p := range open {
		require.Equal(t, 200, s.get(p).StatusCode, p)
	}
	api := []string{"/api/", "/api/status", "/api/me", "/api/kernels", "/api/contents/a.txt", "/lab/api/settings", "/api/x/../../static/"}
	for _, p := range api {
		resp := s.get(p)
		require.Equal(t, 403, resp.StatusCode, p)
		require.Equal(t, "application/json", resp.Header.Get("Content-Type"), p)
		require.Contains(t, text(t, resp), `"message":"credentials are missing`, p)
		require.Empty(t, resp.Header.Values("Set-Cookie"), p)
	}
	pages := []string{"/", "/lab", "/tree/x", "/files/a.txt", "/view/a.html", "/metrics", "/kernelspecs/python3/logo.png",
		"/static/../lab", "/static//x", "/static/%2e%2e/lab", "/static/.hidden", "/static/a%5cb", "/loginx", "/staticx", "/static"}
	for _, p := range pages {
		resp := s.get(p, "Accept: text/html,*/*;q=0.8")
		require.Equal(t, 302, resp.StatusCode, p)
		require.True(t, strings.HasPrefix(resp.Header.Get("Location"), base+"login?next="), p)
		require.Equal(t, 403, s.get(p, "Accept: application/json").StatusCode, p)
		require.Equal(t, 403, s.ask("POST", p, nil).StatusCode, p)
	}
	resp := s.get("/api/kernels/x/channels", "Connection: Upgrade", "Upgrade: websocket", "Accept: text/html")
	require.Equal(t, 403, resp.StatusCode)
	require.Equal(t, 403, s.get("/lab", "Connection: Upgrade", "Upgrade: WebSocket").StatusCode)
	require.Equal(t, 200, newSite(t, func(c *Config) { c.PublicMetrics = true }).get("/metrics").StatusCode)
}

func TestTokenForms_S1(t *testing.T) {
	s := newSite(t)
	for _, tt := range []struct {
		name, target, header string
		want                 int
	}{
		{"token", "/api/status", "Authorization: token " + token, 200},
		{"upper case", "/api/status", "Authorization: TOKEN " + token, 200},
		{"bearer", "/api/status", "Authorization: bearer   " + token + " ", 200},
		{"Bearer", "/api/status", "Authorization: Bearer " + token, 200},
		{"query", "/api/status?1234&token=" + token, "X: y", 200},
		{"encoded query", "/api/status?%74oken=" + token, "X: y", 200},
		{"query before header", "/api/status?token=" + token, "Authorization: token wrong", 200},
		{"wrong query before header", "/api/status?token=wrong", auth48, 403},
		{"prefix", "/api/status", "Authorization: token " + token[:47], 403},
		{"longer", "/api/status", "Authorization: token " + token + "0", 403},
		{"no scheme", "/api/status", "Authorization: " + token, 403},
		{"basic", "/api/status", "Authorization: Basic " + token, 403},
		{"empty", "/api/status", "Authorization: token ", 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.want, s.get(tt.target, tt.header).StatusCode)
		})
	}
}

func TestLoginRedirectKeepsAddressWithoutToken(t *testing.T) {
	s := newSite(t)
	resp := s.get("/lab/tree/%C3%A9%20x?reset&token=wrong&a=b")
	require.Equal(t, 302, resp.StatusCode)
	u, err := url.Parse(resp.Header.Get("Location"))
	require.NoError(t, err)
	require.Equal(t, base+"lab/tree/%C3%A9%20x?reset&a=b", u.Query().Get("next"))
	require.Equal(t, base+"lab/tree/%C3%A9%20x?reset&a=b", safeNext(u.Query().Get("next"), base))
}

func TestNoAuthenticationWhenNeitherTokenNorPassword(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Token = "" })
	require.False(t, s.auth.Enabled())
	resp := s.get("/api/me")
	require.Equal(t, 200, resp.StatusCode)
	c := cookieOf(resp, cookieName)
	require.NotNil(t, c)
	first := text(t, resp)
	require.Equal(t, first, text(t, s.get("/api/me", "Cookie: "+cookieName+"="+c.Value)))
	require.NotEqual(t, first, text(t, s.get("/api/me")))
	require.Equal(t, 200, s.ask("POST", "/api/kernels", nil).StatusCode, "a script")
	require.Equal(t, 403, s.ask("POST", "/api/kernels", nil, "Origin: http://evil.example").StatusCode)
	require.Equal(t, 403, s.ask("POST", "/api/kernels", nil, "Sec-Fetch-Site: cross-site").StatusCode)
	require.Equal(t, 403, s.ask("POST", "/api/kernels", nil, "Origin: http://"+host).StatusCode, "a browser without XSRF token")
	up := []string{"Connection: Upgrade", "Upgrade: websocket"}
	require.Equal(t, 200, s.get("/api/kernels/x/channels", up...).StatusCode)
	require.Equal(t, 403, s.get("/api/kernels/x/channels", append(up, "Origin: http://evil.example")...).StatusCode)
	require.Contains(t, text(t, s.get("/logout")), "Cannot log out")
	require.Equal(t, 302, s.get("/login").StatusCode)
}

func TestTokenSetsCookieOnceAndCookieKeepsUser_S5(t *testing.T) {
	s := newSite(t)
	resp := s.get("/api/status", auth48)
	c := cookieOf(resp, cookieName)
	require.NotNil(t, c)
	require.True(t, c.HttpOnly)
	require.False(t, c.Secure)
	require.Equal(t, http.SameSiteLaxMode, c.SameSite)
	require.Equal(t, base, c.Path)
	require.Equal(t, 30*24*3600, c.MaxAge)
	cookie := "Cookie: " + cookieName + "=" + c.Value
	for _, h := range [][]string{{cookie}, {cookie, auth48}} {
		again := s.get("/lab", h...)
		require.Equal(t, 200, again.StatusCode)
		require.Nil(t, cookieOf(again, cookieName))
		require.Equal(t, text(t, s.get("/tree", cookie)), text(t, again))
	}
	require.NotEqual(t, text(t, s.get("/tree", cookie)), text(t, s.get("/tree", auth48)), "a token alone is somebody new")
	require.Nil(t, cookieOf(s.get("/api/x", auth48, "Connection: Upgrade", "Upgrade: websocket"), cookieName))

	https := s.get("/api/status", auth48, "Remote: 10.1.2.3:4", "X-Forwarded-Proto: https")
	require.True(t, cookieOf(https, cookieName).Secure)
	other := newSite(t, func(c *Config) { c.CookieName = "mine" })
	require.NotNil(t, cookieOf(other.get("/lab", auth48), "mine"))
}

func TestXSRFCookieIsReadableByPages(t *testing.T) {
	s := newSite(t)
	resp := s.get("/lab", auth48)
	x := cookieOf(resp, "_xsrf")
	require.False(t, x.HttpOnly)
	require.Equal(t, base, x.Path)
	require.True(t, strings.HasPrefix(resp.Header.Values("Set-Cookie")[0], cookieName), "clients that join the lines read the first")
	require.Nil(t, cookieOf(s.get("/lab", auth48, "Cookie: _xsrf="+x.Value), "_xsrf"))
	require.NotNil(t, cookieOf(s.get("/lab", auth48, "Cookie: _xsrf=short"), "_xsrf"))
}

func TestDamagedAndForeignCookiesAreNone_S5(t *testing.T) {
	s := newSite(t)
	cookie, _ := s.login()
	require.Equal(t, 200, s.get("/api/status", cookie).StatusCode)
	_, value, _ := strings.Cut(strings.Split(cookie, ";")[0], "=")
	for i := range value {
		damaged := []byte(value)
		if damaged[i] ^= 1; damaged[i] == ';' || damaged[i] == '"' {
			continue
		}
		require.Equal(t, 403, s.get("/api/status", "Cookie: "+cookieName+"="+string(damaged)).StatusCode, i)
	}
	for _, v := range []string{"", ".", value[1:], value + "=", value + "A", value[:len(value)-1], "eyJ1c2VybmFtZSI6ImEifQ." + strings.Repeat("A", 43)} {
		require.Equal(t, 403, s.get("/api/status", "Cookie: "+cookieName+"="+v).StatusCode, v)
	}
	require.Equal(t, 403, s.get("/api/status", "Cookie: username-localhost-9999="+value, "Host: localhost:9999").StatusCode, "another server's name")
	require.Equal(t, 200, s.get("/api/status", "Cookie: "+cookieName+"=old; a=b; "+cookieName+"="+value).StatusCode, "one per path")
}

func TestChangedCredentialEndsCookies_S5(t *testing.T) {
	dir := t.TempDir()
	inDir := func(c *Config) { c.StateDir = dir }
	s := newSite(t, inDir)
	cookie, _ := s.login()
	require.Equal(t, 200, newSite(t, inDir).get("/api/status", cookie).StatusCode, "a restart alone ends nothing")
	for name, change := range map[string]func(*Config){
		"token":    func(c *Config) { c.Token = strings.Repeat("f", 48) },
		"password": func(c *Config) { c.PasswordHash = "sha1:00:" + strings.Repeat("0", 40) },
		"no token": func(c *Config) { c.Token, c.PasswordHash = "", "sha1:00:"+strings.Repeat("0", 40) },
		"secret":   func(c *Config) { c.StateDir = t.TempDir() },
	} {
		require.Equal(t, 403, newSite(t, inDir, change).get("/api/status", cookie).StatusCode, name)
	}
	resp := s.form(url.Values{"password": {token}, "new_password": {"a new one"}})
	require.Equal(t, 302, resp.StatusCode)
	require.Equal(t, 403, s.get("/api/status", cookie).StatusCode, "at once")
	fresh := "Cookie: " + cookieName + "=" + cookieOf(resp, cookieName).Value
	require.Equal(t, 200, s.get("/api/status", fresh).StatusCode)

	after := newSite(t, inDir)
	require.Equal(t, 403, after.get("/api/status", cookie).StatusCode, "after a restart, too")
	require.Equal(t, 200, after.get("/api/status", fresh).StatusCode)
	require.Equal(t, 302, after.form(url.Values{"password": {"a new one"}}).StatusCode)
	require.Equal(t, 401, after.form(url.Values{"password": {"another"}}).StatusCode)
}

func TestLogoutIsFinal_S5(t *testing.T) {
	s := newSite(t)
	cookie, xsrf := s.login()
	resp := s.get("/logout", cookie)
	require.Equal(t, 200, resp.StatusCode)
	require.Contains(t, text(t, resp), "Successfully logged out")
	require.Negative(t, cookieOf(resp, cookieName).MaxAge)
	mark := cookieOf(resp, cookieName+"-out")
	require.NotNil(t, mark)

	require.Equal(t, 403, s.get("/api/status", cookie).StatusCode, "a copy of the cookie is worth nothing")
	for name, inFlight := range map[string]*http.Response{
		"poll":          s.get("/api/kernels", cookie, auth48),
		"page":          s.get("/lab?token="+token, cookie),
		"identity":      s.ask("PATCH", "/api/me", strings.NewReader(`{"color":"red"}`), cookie, auth48),
		"after logout":  s.get("/api/kernels", auth48, "Cookie: _xsrf="+xsrf+"; "+mark.Name+"=1"),
		"api by query":  s.get("/api/kernels?token="+token, "Cookie: "+mark.Name+"=1"),
		"patch marked":  s.ask("PATCH", "/api/me", strings.NewReader(`{"color":"red"}`), auth48, "Cookie: "+mark.Name+"=1"),
		"header marked": s.get("/lab", auth48, "Cookie: "+mark.Name+"=1"),
	} {
		require.Equal(t, 200, inFlight.StatusCode, name)
		require.Nil(t, cookieOf(inFlight, cookieName), name)
	}
	anew := s.get("/lab?token="+token, "Cookie: "+mark.Name+"=1")
	require.NotEmpty(t, cookieOf(anew, cookieName).Value)
	require.Negative(t, cookieOf(anew, mark.Name).MaxAge)
	again := s.form(url.Values{"password": {token}}, "Cookie: "+mark.Name+"=1")
	require.NotEmpty(t, cookieOf(again, cookieName).Value)
	require.Negative(t, cookieOf(again, mark.Name).MaxAge)
}

func TestLogoutByAnotherSiteIsRefused_S3(t *testing.T) {
	s := newSite(t)
	cookie, _ := s.login()
	require.Equal(t, 403, s.get("/logout", cookie, "Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors").StatusCode)
	require.Equal(t, 200, s.get("/api/status", cookie).StatusCode)
}

func TestNoSecretInLogs_S6(t *testing.T) {
	s := newSite(t, func(c *Config) { c.PasswordHash = HashPassword("open sesame") })
	cookie, xsrf := s.login()
	s.get("/files/missing?token=" + token + "&_xsrf=" + xsrf)
	s.get("/lab?%74oken=" + token)
	s.get("/login?next=%2Flab%3Ftoken%3D" + token)
	s.get("/api/status", auth48, "Referer: http://x/?token="+token)
	s.get("/api/status?token=wrong" + token)
	s.ask("POST", "/api/x?_xsrf="+xsrf, nil, cookie)
	s.ask("POST", "/login?password=open+sesame", nil)
	s.form(url.Values{"password": {"open sesame"}, "new_password": {"sesame open"}})
	s.get("/logout", cookie)
	value := strings.TrimPrefix(strings.Split(cookie, ";")[0], "Cookie: "+cookieName+"=")
	require.Contains(t, s.log.String(), "[redacted]")
	for _, secret := range []string{token, xsrf, value, "sesame", "argon2id"} {
		require.NotContains(t, s.log.String(), secret)
	}
}

func TestMe(t *testing.T) {
	s := newSite(t)
	cookie, xsrf := s.login()
	var got struct {
		Identity    map[string]any      `json:"identity"`
		Permissions map[string][]string `json:"permissions"`
	}
	body := text(t, s.get("/api/me?permissions="+url.QueryEscape(`{"contents":["read","write"],"x":[]}`), cookie))
	require.NoError(t, json.Unmarshal([]byte(body), &got))
	require.Len(t, got.Identity, 6)
	require.Regexp(t, `^[0-9a-f]{32}$`, got.Identity["username"])
	require.Regexp(t, `^Anonymous [A-Z][a-z]+$`, got.Identity["name"])
	require.Regexp(t, `^A[A-Z]$`, got.Identity["initials"])
	require.Nil(t, got.Identity["color"])
	require.Equal(t, map[string][]string{"contents": {"read", "write"}, "x": {}, "updatable_fields": identityFields}, got.Permissions)
	for _, bad := range []string{`[]`, `""`, `null`, `{"a":"b"}`, `{"a":[5]}`, `{"a":{}}`, `{"a":null}`, `{"a":[null]}`, `{`} {
		resp := s.get("/api/me?permissions="+url.QueryEscape(bad), cookie)
		require.Equal(t, 400, resp.StatusCode, bad)
		require.Contains(t, text(t, resp), "permissions should be a JSON dict", bad)
	}

	patch := func(body string) *http.Response {
		return s.ask("PATCH", "/api/me", strings.NewReader(body), cookie, "X-XSRFToken: "+xsrf)
	}
	for body, want := range map[string]string{
		``: "missing JSON", `{}`: "missing JSON", `[]`: "JSON array", `{"username":"root"}`: "username is not updatable",
		`{"color":5}`: `\"color\" should be a string`, `{"fake":"x","name":"y"}`: "fake is not updatable", `{`: "malformed",
		`{"name":"` + strings.Repeat("x", 3000) + `"}`: "2000 bytes",
	} {
		resp := patch(body)
		require.Equal(t, 400, resp.StatusCode, body)
		require.Contains(t, text(t, resp), want, body)
	}
	resp := patch(`{"color":"#123456","name":"Ada","display_name":null}`)
	require.Equal(t, 200, resp.StatusCode)
	body = text(t, resp)
	require.Contains(t, body, `"status":"success"`)
	require.Contains(t, body, `"name":"Ada","display_name":"Ada","initials":`)
	kept := s.get("/api/me", "Cookie: "+cookieName+"="+cookieOf(resp, cookieName).Value)
	require.Contains(t, text(t, kept), `"color":"#123456"`)
	colour := newSite(t, func(c *Config) { c.UpdatableFields = []string{"color"} })
	require.Equal(t, 400, colour.ask("PATCH", "/api/me", strings.NewReader(`{"name":"x"}`), auth48).StatusCode)
}

func TestSettingsThatCannotBeUsedAreNamed(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"base URL":         func(c *Config) { c.BaseURL = "/x" },
		"percent-encoded":  func(c *Config) { c.BaseURL = "/ü/" },
		"token":            func(c *Config) { c.Token = "a b" },
		"password":         func(c *Config) { c.PasswordHash = "plain text" },
		"allow_origin:":    func(c *Config) { c.AllowOrigin = "example.org" },
		"allow_origin_pat": func(c *Config) { c.AllowOriginPat = "(" },
		"cookie_name":      func(c *Config) { c.CookieName = "a;b" },
		"updatable_fields": func(c *Config) { c.UpdatableFields = []string{"username"} },
	} {
		cfg := Config{BaseURL: "/"}
		change(&cfg)
		_, err := New(cfg, slog.New(slog.DiscardHandler))
		require.ErrorContains(t, err, want)
	}
}
