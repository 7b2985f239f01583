package auth

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// Config is what an Auth needs to know. Its zero value, but for BaseURL, is a server without authentication on a
// loopback address.
type Config struct {
	// BaseURL is where browsers find the server: percent-encoded, with a leading and a trailing slash.
	BaseURL string
	// StateDir keeps the cookie secret and a password set on the login page, both 0600. Empty: in memory only.
	StateDir string

	// Token lets a client in. Empty: no token is accepted. Without a token and a password everybody is let in.
	Token string
	// PasswordHash is argon2:$argon2id$…, $argon2id$… or Jupyter's older algorithm:salt:hash. Empty: no password,
	// unless one was set on the login page.
	PasswordHash string
	// AllowPasswordChange lets whoever logs in set a new password on the login page.
	AllowPasswordChange bool

	// AllowOrigin is a further origin whose pages may use the server, or "*" for any page that brings the token.
	AllowOrigin string
	// AllowOriginPat is a regular expression for such origins; it has to match a whole origin.
	AllowOriginPat string
	// AllowCredentials lets pages of those origins send the login cookie.
	AllowCredentials bool
	// AllowRemoteAccess takes any Host header. Set it when the server listens beyond loopback.
	AllowRemoteAccess bool
	// LocalHostnames are the names beside loopback addresses that Host may have. "localhost" is always one.
	LocalHostnames []string
	// DisableCheckXSRF asks browsers for no XSRF token. Their origin is checked all the same.
	DisableCheckXSRF bool

	// CookieName of the login cookie. Empty: username-<host>-<port>.
	CookieName string
	// UpdatableFields of the identity that PATCH /api/me takes. Nil: all of them.
	UpdatableFields []string
	// Dialects are parts of the server whose clients are not Jupyter's.
	Dialects []Dialect
	// Accounts are the people whom dialects may let in beside the bearer of the token. nil: nobody.
	Accounts *Accounts
	// PublicMetrics serves /metrics without credentials.
	PublicMetrics bool
}

// Dialect is a part of the server whose clients are not Jupyter's. There, missing and wrong credentials are 401 with
// a challenge, and errors are written the dialect's way. Everything else is as elsewhere.
type Dialect struct {
	// Has tells whether a path, decoded and without the base URL, belongs to it.
	Has func(path string) bool
	// Public tells of a path of its own that it asks for no credentials: how one gets them. nil: none does.
	Public func(path string) bool
	// WriteError writes the answer to a request that is refused.
	WriteError func(http.ResponseWriter, *http.Request, error)
	// Bearer says that its clients send bearer tokens, and no HTTP Basic.
	Bearer bool
	// TokenHeaders are further headers in which its clients may send the server's token.
	TokenHeaders []string
	// Accounts lets those in who bring an access token of Config.Accounts, too, and challenges for one. Without
	// it, clients know no tokens: they send HTTP Basic with the server's token as the password, whatever the
	// user's name.
	Accounts bool
}

// challenge is the value of WWW-Authenticate.
func (d *Dialect) challenge() string {
	if d.Accounts || d.Bearer {
		return `Bearer realm="nbserv"`
	}
	return `Basic realm="nbserv: the token is the password", charset="UTF-8"`
}

// tokenOf finds a token in the dialect's own headers.
func (d *Dialect) tokenOf(h http.Header) string {
	for _, name := range d.TokenHeaders {
		if t := h.Get(name); t != "" {
			return t
		}
	}
	return ""
}

// dialectOf is the dialect that a path belongs to, or nil.
func (a *Auth) dialectOf(path string) *Dialect {
	for i := range a.cfg.Dialects {
		if d := &a.cfg.Dialects[i]; d.Has(path) {
			return d
		}
	}
	return nil
}

// identityFields are those of a User that can be updated, in Jupyter's order.
var identityFields = []string{"name", "display_name", "initials", "avatar_url", "color"}

// Validate says which setting cannot be used.
func (c *Config) Validate() error {
	if err := validBase(c.BaseURL); err != nil {
		return err
	}
	if strings.ContainsFunc(c.Token, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return fmt.Errorf("the token has a space or a control character: no client can send it")
	}
	if c.PasswordHash != "" {
		if _, err := parseHash(c.PasswordHash); err != nil {
			return fmt.Errorf("the password hash is not usable: %w", err)
		}
	}
	if c.AllowOrigin != "" && c.AllowOrigin != "*" {
		if _, ok := parseOrigin(strings.TrimSuffix(c.AllowOrigin, "/")); !ok {
			return fmt.Errorf("allow_origin: %q is not an origin such as https://example.org", c.AllowOrigin)
		}
	}
	if _, err := compilePat(c.AllowOriginPat); err != nil {
		return fmt.Errorf("allow_origin_pat: %w", err)
	}
	if c.CookieName != "" && strings.ContainsFunc(c.CookieName, func(r rune) bool { return !tokenChar(r) }) {
		return fmt.Errorf("cookie_name: %q has characters that a cookie's name cannot have", c.CookieName)
	}
	for _, f := range c.UpdatableFields {
		if !slices.Contains(identityFields, f) {
			return fmt.Errorf("updatable_fields: %q is none of %s", f, strings.Join(identityFields, ", "))
		}
	}
	return nil
}

func validBase(base string) error {
	if !strings.HasPrefix(base, "/") || !strings.HasSuffix(base, "/") || strings.HasPrefix(base, "//") {
		return fmt.Errorf("the base URL %q has to begin and end with one slash", base)
	}
	// It stands in headers: in the path of cookies and in the Content-Security-Policy.
	if strings.ContainsFunc(base, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`";,\`, r) }) {
		return fmt.Errorf("the base URL %q has to be percent-encoded", base)
	}
	return nil
}

// compilePat makes a pattern that matches whole origins only (S2): Jupyter's was once satisfied with a prefix.
func compilePat(pat string) (*regexp.Regexp, error) {
	if pat == "" {
		return nil, nil
	}
	return regexp.Compile(`\A(?:` + pat + `)\z`)
}

// tokenChar is a character of an RFC 9110 token, which a cookie's name is.
func tokenChar(r rune) bool {
	return r > ' ' && r < 0x7f && !strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
}
