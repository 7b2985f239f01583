package auth

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
	"github.com/nbserv/nbserv/internal/store"
)

const secret = "correct horse"

// people are accounts in a database of their own, with a clock that tests turn.
type people struct {
	*Accounts
	t    *testing.T
	path string
	time time.Time
}

func newPeople(t *testing.T) *people {
	t.Helper()
	p := &people{t: t, path: filepath.Join(t.TempDir(), "state.db"), time: time.Now()}
	p.reopen()
	return p
}

// reopen is what a restart of the server does.
func (p *people) reopen() {
	p.t.Helper()
	db, err := store.Open(p.t.Context(), p.path, slog.New(slog.DiscardHandler), AccountSchema)
	require.NoError(p.t, err)
	p.t.Cleanup(func() { require.NoError(p.t, db.Close()) })
	p.Accounts = NewAccounts(db, slog.New(slog.DiscardHandler))
	p.Accounts.now = func() time.Time { return p.time }
}

// site is a server on which /r/… is a dialect with accounts; /r/login is public.
func (p *people) site(change ...func(*Config)) *site {
	return newSite(p.t, append([]func(*Config){func(c *Config) {
		c.Accounts = p.Accounts
		c.Dialects = []Dialect{{
			Has: func(path string) bool { return strings.HasPrefix(path, "/r/") }, Accounts: true,
			Public: func(path string) bool { return path == "/r/login" },
			WriteError: func(w http.ResponseWriter, _ *http.Request, err error) {
				w.WriteHeader(httpx.Status(fault.KindOf(err)))
				_, _ = w.Write([]byte("r: " + fault.Message(err)))
			},
		}}
	}}, change...)...)
}

// logIn is one try, from an address.
func (s *site) logIn(name, password, remote string) (Grant, error) {
	r := httptest.NewRequest("POST", "/r/login", nil)
	r.RemoteAddr = remote
	return s.auth.LogIn(httptest.NewRecorder(), r, name, password)
}

func (s *site) in(path, access string) int {
	return s.get(path, "Authorization: Bearer "+access).StatusCode
}

func kindIs(t *testing.T, kind fault.Kind, err error) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, kind, fault.KindOf(err), err)
}

func TestAccountsAreAddedListedAndRemoved(t *testing.T) {
	p, ctx := newPeople(t), t.Context()
	require.NoError(t, p.Add(ctx, "zoe", secret))
	require.NoError(t, p.Add(ctx, "ann@example.org", secret))
	kindIs(t, fault.Conflict, p.Add(ctx, "zoe", secret))
	kindIs(t, fault.Conflict, p.Add(ctx, Admin, secret))
	kindIs(t, fault.Invalid, p.Add(ctx, "bob", "short"))
	kindIs(t, fault.Invalid, p.Add(ctx, "bob", strings.Repeat("x", maxPasswordBytes+1)))
	for _, name := range []string{"", "-x", "a b", "a/b", "é", strings.Repeat("x", 65), "a\x00"} {
		kindIs(t, fault.Invalid, p.Add(ctx, name, secret))
	}
	all, err := p.List(ctx)
	require.NoError(t, err)
	require.Equal(t, []Account{{"ann@example.org", p.time.UTC().Truncate(time.Second)}, {"zoe", p.time.UTC().Truncate(time.Second)}}, all)
	require.NoError(t, p.Remove(ctx, "zoe"))
	kindIs(t, fault.NotFound, p.Remove(ctx, "zoe"))
	kindIs(t, fault.NotFound, p.SetPassword(ctx, "zoe", secret))
	hash, _, err := p.hash(ctx, "ann@example.org")
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(hash, "argon2:$argon2id$"))
}

func TestAccountLogsInAndReachesItsDialectOnly_S1(t *testing.T) {
	p := newPeople(t)
	require.NoError(t, p.Add(t.Context(), "ann", secret))
	s := p.site()
	grant, err := s.logIn("ann", secret, "127.0.0.1:1")
	require.NoError(t, err)
	require.Equal(t, p.time.Add(time.Hour).Truncate(time.Second), grant.Expires)
	resp := s.get("/r/x", "Authorization: Bearer "+grant.Access)
	require.Equal(t, 200, resp.StatusCode)
	require.Equal(t, "in:ann", text(t, resp))
	require.Empty(t, resp.Cookies())
	require.Equal(t, 200, s.get("/r/x", "Authorization: Bearer "+token).StatusCode, "the server's own token works, too")
	require.Equal(t, 200, s.get("/r/login").StatusCode, "a public route")
	require.Equal(t, 401, s.get("/r/login/..").StatusCode)
	for _, path := range []string{"/api/contents", "/lab", "/ImageStore/x"} {
		require.Equal(t, 403, s.get(path, "Authorization: Bearer "+grant.Access, "Accept: application/json").StatusCode, path)
	}
	resp = s.get("/r/x", "Authorization: Bearer "+grant.Access+"x")
	require.Equal(t, 401, resp.StatusCode)
	require.Equal(t, `Bearer realm="nbserv"`, resp.Header.Get("WWW-Authenticate"))
	require.Contains(t, text(t, resp), "r: the access token is not valid")
	require.Equal(t, 401, s.get("/r/x", basic("any", token)).StatusCode)
	require.Equal(t, 401, s.get("/r/x").StatusCode)
	require.NotContains(t, s.log.String(), secret, "S6")
	require.NotContains(t, s.log.String(), grant.Access, "S6")
}

func TestWrongPasswordsAreThrottledPerAddress_S5(t *testing.T) {
	p := newPeople(t)
	require.NoError(t, p.Add(t.Context(), "ann", secret))
	s := p.site()
	for i := range failureBurst {
		_, err := s.logIn([]string{"ann", "nobody", Admin}[i%3], "wrong password", "127.0.0.1:1")
		kindIs(t, fault.Unauthenticated, err)
	}
	_, err := s.logIn("ann", secret, "127.0.0.1:1")
	kindIs(t, fault.TooMany, err)
	_, err = s.logIn("ann", secret, "127.0.0.2:1")
	require.NoError(t, err)
}

func TestAdminHasTheServersTokenForAPassword(t *testing.T) {
	p := newPeople(t)
	s := p.site()
	grant, err := s.logIn(Admin, token, "127.0.0.1:1")
	require.NoError(t, err)
	require.Equal(t, 200, s.in("/r/x", grant.Access))
	again := p.site()
	require.Equal(t, 401, again.in("/r/x", grant.Access), "the state folder's secret is another one")
	open := p.site(func(c *Config) { c.Token = "" })
	grant, err = open.logIn(Admin, "anything", "127.0.0.1:1")
	require.NoError(t, err, "who asks for nothing asks for no password")
	require.Equal(t, 200, open.in("/r/x", grant.Access))
	require.Equal(t, 200, open.get("/r/x").StatusCode)
	require.Equal(t, 401, open.in("/r/x", grant.Access+"x"), "but a token that is sent is looked at")
}

// S5: another password, a removal and a revocation end what was given out before, also over a restart.
func TestTokensEndWithTheirPassword_S5(t *testing.T) {
	p, ctx := newPeople(t), t.Context()
	require.NoError(t, p.Add(ctx, "ann", secret))
	require.NoError(t, p.Add(ctx, "bob", secret))
	s := p.site()
	ann, err := s.logIn("ann", secret, "127.0.0.1:1")
	require.NoError(t, err)
	bob, err := s.logIn("bob", secret, "127.0.0.1:1")
	require.NoError(t, err)
	p.reopen()
	s = p.site()
	require.Equal(t, 200, s.in("/r/x", ann.Access), "they survive a restart")

	other := *p // another process
	other.reopen()
	require.NoError(t, other.SetPassword(ctx, "ann", "another password"))
	require.NoError(t, other.Remove(ctx, "bob"))
	p.time = p.time.Add(lookEvery)
	require.Equal(t, 401, s.in("/r/x", ann.Access))
	require.Equal(t, 401, s.in("/r/x", bob.Access))
	for _, g := range []Grant{ann, bob} {
		_, err := s.auth.RefreshGrant(ctx, g.Refresh)
		kindIs(t, fault.Unauthenticated, err)
	}
	_, err = s.logIn("ann", secret, "127.0.0.1:1")
	kindIs(t, fault.Unauthenticated, err)

	fresh, err := s.logIn("ann", "another password", "127.0.0.1:1")
	require.NoError(t, err)
	require.NoError(t, s.auth.RevokeGrant(ctx, fresh.Refresh))
	require.Equal(t, 401, s.in("/r/x", fresh.Access), "at once")
	kindIs(t, fault.Unauthenticated, s.auth.RevokeGrant(ctx, fresh.Refresh))
	p.reopen()
	require.Equal(t, 401, p.site().in("/r/x", fresh.Access))
}

// A refresh token is good once; its second use ends the whole login, whoever came second.
func TestReuseOfARefreshTokenEndsTheFamily(t *testing.T) {
	p, ctx := newPeople(t), t.Context()
	require.NoError(t, p.Add(ctx, "ann", secret))
	s := p.site()
	first, err := s.logIn("ann", secret, "127.0.0.1:1")
	require.NoError(t, err)
	elsewhere, err := s.logIn("ann", secret, "127.0.0.1:1")
	require.NoError(t, err)
	second, err := s.auth.RefreshGrant(ctx, first.Refresh)
	require.NoError(t, err)
	require.NotEqual(t, first.Refresh, second.Refresh)
	require.Equal(t, 200, s.in("/r/x", second.Access))
	_, err = s.auth.RefreshGrant(ctx, first.Refresh)
	kindIs(t, fault.Unauthenticated, err)
	_, err = s.auth.RefreshGrant(ctx, second.Refresh)
	kindIs(t, fault.Unauthenticated, err)
	require.Equal(t, 401, s.in("/r/x", second.Access))
	require.Equal(t, 200, s.in("/r/x", elsewhere.Access), "another login of the same account goes on")
	for _, bad := range []string{"", "x", strings.Repeat("x", maxTokenText+1)} {
		_, err = s.auth.RefreshGrant(ctx, bad)
		kindIs(t, fault.Unauthenticated, err)
	}
}

func TestTokensExpireAndKeysRotate(t *testing.T) {
	p, ctx := newPeople(t), t.Context()
	require.NoError(t, p.Add(ctx, "ann", secret))
	s := p.site()
	old, err := s.logIn("ann", secret, "127.0.0.1:1")
	require.NoError(t, err)
	p.time = p.time.Add(keyLife - time.Minute)
	lastOfOldKey, err := s.logIn("ann", secret, "127.0.0.1:1")
	require.NoError(t, err)
	require.Equal(t, kid(t, old.Access), kid(t, lastOfOldKey.Access))
	p.time = p.time.Add(2 * time.Minute)
	require.Equal(t, 401, s.in("/r/x", old.Access))
	next, err := s.logIn("ann", secret, "127.0.0.1:1")
	require.NoError(t, err)
	require.NotEqual(t, kid(t, old.Access), kid(t, next.Access))
	require.Equal(t, 200, s.in("/r/x", lastOfOldKey.Access), "what the old key signed is good until it expires")
	p.time = p.time.Add(refreshLife)
	_, err = s.auth.RefreshGrant(ctx, next.Refresh)
	kindIs(t, fault.Unauthenticated, err)
	_, err = s.logIn("ann", secret, "127.0.0.1:1")
	require.NoError(t, err)
	require.Len(t, p.keys, 1, "keys that verify nothing any more are forgotten")
}

func kid(t *testing.T, token string) string {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[0])
	require.NoError(t, err)
	var header struct{ Kid string }
	require.NoError(t, json.Unmarshal(raw, &header))
	return header.Kid
}

// What others have signed, or nobody, lets nobody in.
func TestForgedTokens(t *testing.T) {
	p := newPeople(t)
	require.NoError(t, p.Add(t.Context(), "ann", secret))
	s := p.site()
	good, err := s.logIn("ann", secret, "127.0.0.1:1")
	require.NoError(t, err)
	var c claims
	_, _, err = jwt.NewParser().ParseUnverified(good.Access, &c)
	require.NoError(t, err)
	forge := func(method jwt.SigningMethod, key any, change func(*claims)) string {
		mine := c
		change(&mine)
		token := jwt.NewWithClaims(method, mine)
		token.Header["kid"] = kid(t, good.Access)
		text, err := token.SignedString(key)
		require.NoError(t, err)
		return text
	}
	same := func(*claims) {}
	key := p.keys[0].secret
	require.Equal(t, 200, s.in("/r/x", forge(jwt.SigningMethodHS256, key, same)), "the test forges well")
	for name, token := range map[string]string{
		"no signature":       forge(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, same),
		"another key":        forge(jwt.SigningMethodHS256, bytes.Repeat([]byte("x"), keyBytes), same),
		"another method":     forge(jwt.SigningMethodHS512, key, same),
		"no expiry":          forge(jwt.SigningMethodHS256, key, func(c *claims) { c.ExpiresAt = nil }),
		"from the future":    forge(jwt.SigningMethodHS256, key, func(c *claims) { c.IssuedAt = jwt.NewNumericDate(p.time.Add(time.Hour)) }),
		"nobody":             forge(jwt.SigningMethodHS256, key, func(c *claims) { c.Subject = "zoe" }),
		"another password":   forge(jwt.SigningMethodHS256, key, func(c *claims) { c.Stamp++ }),
		"admin, by an other": forge(jwt.SigningMethodHS256, key, func(c *claims) { c.Subject = Admin }),
	} {
		require.Equal(t, 401, s.in("/r/x", token), name)
	}
}

// FuzzAccessToken: whatever a client sends is refused, without a panic.
func FuzzAccessToken(f *testing.F) {
	for _, seed := range []string{"eyJ.eyJ.", "eyJhbGciOiJub25lIn0.e30.", "..", "eyJhbGciOiJIUzI1NiIsImtpZCI6MX0.bnVsbA.AA"} {
		f.Add(seed)
	}
	db, err := store.Open(f.Context(), filepath.Join(f.TempDir(), "state.db"), slog.New(slog.DiscardHandler), AccountSchema)
	require.NoError(f, err)
	f.Cleanup(func() { require.NoError(f, db.Close()) })
	a := NewAccounts(db, slog.New(slog.DiscardHandler))
	f.Fuzz(func(t *testing.T, token string) {
		_, err := a.verify(t.Context(), token)
		kindIs(t, fault.Unauthenticated, err)
	})
}
