package auth

import (
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLoginForm(t *testing.T) {
	s := newSite(t)
	page := text(t, s.get("/login?next="+url.QueryEscape(base+`lab?a="><script>`)))
	require.NotContains(t, page, "<script>")
	require.Contains(t, page, `name="next" value="`+base+`lab?a=`)
	require.Contains(t, page, "/?token=", "it says where the token is")
	require.Contains(t, page, `action="`+base+`login"`)

	resp := s.form(url.Values{"password": {token}, "next": {base + "tree"}})
	require.Equal(t, 302, resp.StatusCode)
	require.Equal(t, base+"tree", resp.Header.Get("Location"))
	cookie := "Cookie: " + cookieName + "=" + cookieOf(resp, cookieName).Value
	require.Equal(t, 200, s.get("/api/me", cookie).StatusCode)
	again := s.get("/login?next="+url.QueryEscape(base+"lab"), cookie)
	require.Equal(t, 302, again.StatusCode)
	require.Equal(t, base+"lab", again.Header.Get("Location"))
	require.Equal(t, base, s.get("/login?next=//evil", cookie).Header.Get("Location"))

	resp = s.form(url.Values{"password": {"wrong"}, "next": {"//evil"}})
	require.Equal(t, 401, resp.StatusCode)
	require.Nil(t, cookieOf(resp, cookieName))
	body := text(t, resp)
	require.Contains(t, body, `role="alert"`)
	require.Contains(t, body, `name="next" value="`+base+`"`)
	require.NotContains(t, body, "wrong")
}

func TestLoginByAddress(t *testing.T) {
	s := newSite(t)
	resp := s.get("/login?next=" + url.QueryEscape(base+"lab") + "&token=" + token)
	require.Equal(t, 302, resp.StatusCode)
	require.Equal(t, base+"lab", resp.Header.Get("Location"))
	require.NotNil(t, cookieOf(resp, cookieName))
	require.Contains(t, text(t, s.get("/login?token=wrong")), "the token is not right")
}

func TestLoginAsksForXSRF_S3(t *testing.T) {
	s := newSite(t)
	x := cookieOf(s.get("/login"), "_xsrf").Value
	post := func(body string, headers ...string) int {
		return s.ask("POST", "/login", strings.NewReader(body), append(headers, "Content-Type: application/x-www-form-urlencoded")...).StatusCode
	}
	require.Equal(t, 403, post("password="+token))
	require.Equal(t, 403, post("password="+token, "Cookie: _xsrf="+x))
	require.Equal(t, 403, post("password="+token+"&_xsrf="+x))
	require.Equal(t, 302, post("password="+token+"&_xsrf="+x, "Cookie: _xsrf="+x))
	require.Equal(t, 403, post("password="+token+"&_xsrf="+x, "Cookie: _xsrf="+x, "Origin: http://evil.example"))
	require.Equal(t, 400, post("password=%zz&_xsrf="+x, "Cookie: _xsrf="+x))
	require.Equal(t, 400, post("password="+strings.Repeat("x", maxFormBytes)+"&_xsrf="+x, "Cookie: _xsrf="+x))
	require.Equal(t, 400, post("password="+strings.Repeat("x", maxPasswordBytes+1)+"&_xsrf="+x, "Cookie: _xsrf="+x))
}

func TestPassword(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Token, c.PasswordHash = "", HashPassword("open sesame") })
	require.True(t, s.auth.Enabled())
	require.NotContains(t, text(t, s.get("/login")), "token")
	require.Equal(t, 302, s.form(url.Values{"password": {"open sesame"}}).StatusCode)
	for _, wrong := range []string{"", "open", "open sesame ", "Open sesame"} {
		require.Equal(t, 401, s.form(url.Values{"password": {wrong}}).StatusCode, wrong)
	}
	require.Equal(t, 403, s.get("/api/status", "Authorization: token open sesame").StatusCode, "a password is no token")
	require.Equal(t, 403, s.get("/api/status", "Authorization: token").StatusCode)
}

func TestPasswordChange_S5(t *testing.T) {
	dir := t.TempDir()
	inDir := func(c *Config) { c.StateDir = dir }
	fixed := newSite(t, inDir, func(c *Config) { c.AllowPasswordChange = false })
	require.NotContains(t, text(t, fixed.get("/login")), "new_password")
	require.Equal(t, 302, fixed.form(url.Values{"password": {token}, "new_password": {"nope"}}).StatusCode)
	require.Equal(t, 401, fixed.form(url.Values{"password": {"nope"}}).StatusCode)

	s := newSite(t, inDir)
	require.Contains(t, text(t, s.get("/login")), "new_password")
	require.Equal(t, 401, s.form(url.Values{"password": {"wrong"}, "new_password": {"first"}}).StatusCode)
	require.Equal(t, 401, s.form(url.Values{"password": {"first"}}).StatusCode)
	require.Equal(t, 302, s.form(url.Values{"password": {token}, "new_password": {"first"}}).StatusCode)
	require.Equal(t, 302, s.form(url.Values{"password": {"first"}, "new_password": {"second"}}).StatusCode)
	require.Equal(t, 401, s.form(url.Values{"password": {"first"}}).StatusCode)
	require.Equal(t, 302, s.form(url.Values{"password": {"second"}}).StatusCode)
	require.Equal(t, 200, s.get("/api/status", auth48).StatusCode, "the token goes on")
	st, err := os.Stat(filepath.Join(dir, passwordFile))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), st.Mode())

	configured := newSite(t, inDir, func(c *Config) { c.PasswordHash = HashPassword("the operator's") })
	require.Equal(t, 401, configured.form(url.Values{"password": {"second"}}).StatusCode, "a newly configured one counts")
	require.Equal(t, 302, configured.form(url.Values{"password": {"the operator's"}}).StatusCode)

	require.NoError(t, os.WriteFile(filepath.Join(dir, passwordFile), []byte("{"), 0o600))
	_, err = New(Config{BaseURL: "/", StateDir: dir}, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, passwordFile, "it does not fall back to letting everybody in")
}

func TestCookieSecretIsPrivate_S5(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s := newSite(t, func(c *Config) { c.StateDir = dir })
	cookie, _ := s.login()
	path := filepath.Join(dir, secretFile)
	st, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), st.Mode())
	before, err := os.ReadFile(path)
	require.NoError(t, err)

	require.NoError(t, os.Chmod(path, 0o644))
	s = newSite(t, func(c *Config) { c.StateDir = dir })
	require.Equal(t, 403, s.get("/api/status", cookie).StatusCode, "others could have read it")
	require.Contains(t, s.log.String(), "others can read it")
	for _, damage := range []string{"", "!", "YWJj"} {
		require.NoError(t, os.WriteFile(path, []byte(damage), 0o600))
		newSite(t, func(c *Config) { c.StateDir = dir })
		after, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NotEqual(t, before, after)
		require.Len(t, strings.TrimSpace(string(after)), 44)
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "no temporary file stays")
}

func TestHashForms(t *testing.T) {
	for hash, password := range map[string]string{
		// Made by jupyter_server's passwd (argon2-cffi) and printed in its documentation (sha1).
		"argon2:$argon2id$v=19$m=10240,t=10,p=8$57rVYerDdAlP89hiumFCGg$CJkvGsCX1RXRWsBkZYMroS4TBjQ95mDseO/OQwrMqK0": "mypassword",
		"sha1:0e112c3ddfce:a68df677475c2b47b6e86d0467eec97ac5f4b85a":                                                "mypassword",
		HashPassword("ü"): "ü",
		strings.TrimPrefix(HashPassword("x"), "argon2:"): "x",
	} {
		verify, err := parseHash(hash)
		require.NoError(t, err, hash)
		require.True(t, verify(password), hash)
		require.False(t, verify(password+"x"), hash)
	}
	for _, bad := range []string{"", "x", "plain", "argon2:", "md5:aa:" + strings.Repeat("0", 32), "sha1:aa", "sha1:aa:", "sha1:aa:zz", "sha1:aa:00",
		"$argon2d$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", "$argon2id$v=16$m=64,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=4294967295,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", "$argon2id$v=19$m=64,t=0,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=64,t=1,p=0$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", "$argon2id$v=19$m=64,t=1,p=1,x=2$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=64,t=1,p=1$c2FsdA$AAAAAAAAAAAAAAAAAAAAAA", "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$AAAA", "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ"} {
		_, err := parseHash(bad)
		require.Error(t, err, bad)
	}
}

func TestWrongTokensAreThrottled_S5(t *testing.T) {
	for name, tok := range map[string]string{"guessable": "short", "long": token} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, func(c *Config) { c.Token = tok })
				bad := func(from string) int {
					return s.get("/api/status", "Authorization: token wrong", "Remote: "+from).StatusCode
				}
				good := func(from string) int {
					return s.get("/api/status", "Authorization: token "+tok, "Remote: "+from).StatusCode
				}
				for range failureBurst {
					require.Equal(t, 403, bad("192.0.2.1:1"))
				}
				resp := s.get("/lab?token=wrong", "Remote: 192.0.2.1:2", "Accept: text/html")
				require.Equal(t, 429, resp.StatusCode)
				require.Equal(t, "5", resp.Header.Get("Retry-After"))
				require.Contains(t, text(t, resp), "wait 5 seconds")
				require.Equal(t, 403, s.get("/api/status", "Remote: 192.0.2.1:2").StatusCode, "no credentials are no failure")
				require.Equal(t, 200, good("192.0.2.2:1"), "a client elsewhere")
				if tok == token {
					require.Equal(t, 429, bad("192.0.2.1:1"))
					require.Equal(t, 200, good("192.0.2.1:1"), "nobody guesses 192 bits")
					require.Equal(t, 403, bad("192.0.2.1:1"), "success resets")
					return
				}
				require.Equal(t, 429, good("192.0.2.1:1"), "else guessing would go on unthrottled")
				time.Sleep(failureEvery)
				require.Equal(t, 200, good("192.0.2.1:1"))
				for range failureBurst {
					require.Equal(t, 403, bad("192.0.2.1:1"), "success resets")
				}
				require.Equal(t, 429, bad("192.0.2.1:1"))
			})
		})
	}
}

func TestPublicRoutesAreNoOracleForTokens_S5(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Token = "short" })
	right := s.get("/api", "Authorization: token short", "Origin: http://evil.example")
	wrong := s.get("/api", "Authorization: token wrong", "Origin: http://evil.example")
	right.Header.Del("X-Request-Id")
	wrong.Header.Del("X-Request-Id")
	require.Equal(t, wrong.Header, right.Header)
}

func TestLoginsAreThrottled_S5(t *testing.T) {
	s := newSite(t, func(c *Config) {
		c.Token, c.PasswordHash = "", "sha1:0e112c3ddfce:a68df677475c2b47b6e86d0467eec97ac5f4b85a"
	})
	form := func(password, from string) int {
		return s.form(url.Values{"password": {password}}, "Remote: "+from).StatusCode
	}
	for range failureBurst {
		require.Equal(t, 401, form("wrong", "[2001:db8::1]:1"))
	}
	resp := s.form(url.Values{"password": {"wrong"}}, "Remote: [2001:db8::2]:1")
	require.Equal(t, 429, resp.StatusCode, "one subscriber has a /64")
	require.NotEmpty(t, resp.Header.Get("Retry-After"))
	require.Equal(t, 429, form("mypassword", "[2001:db8::1]:1"))
	require.Equal(t, 302, form("mypassword", "[2001:db8:0:1::1]:1"))
	require.Equal(t, 401, s.form(url.Values{"password": {"wrong"}}, "Remote: 10.0.0.1:1", "X-Forwarded-For: 192.0.2.7").StatusCode)
}

func addrOf(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, byte(i >> 16), byte(i >> 8), byte(i)})
}

func TestThrottleTableIsBounded_S10(t *testing.T) {
	th := newThrottle()
	for i := range maxAddresses + 100 {
		th.try(addrOf(i))
	}
	require.Len(t, th.byAddr, maxAddresses)
	require.Equal(t, maxAddresses, th.recent.Len())
	for i := range maxAddresses + 100 {
		th.reset(addrOf(i))
	}
	require.Empty(t, th.byAddr)
	require.Zero(t, th.entries.Load())

	var d departed
	for i := range maxLoggedOut + 100 {
		d.add(addrOf(i).String())
		d.add(addrOf(i).String())
	}
	require.Len(t, d.users, maxLoggedOut)
	require.False(t, d.has(addrOf(99).String()))
	require.True(t, d.has(addrOf(100).String()))
	require.True(t, d.has(addrOf(maxLoggedOut+99).String()))
}
