package auth

import (
	"crypto/hmac"
	"encoding/base64"
	"encoding/json"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/nbserv/nbserv/internal/httpx"
)

const (
	cookieLife = 30 * 24 * time.Hour // jupyter_server's

	// maxCookieValue keeps a cookie below the 4096 bytes that browsers store, its name and attributes included.
	maxCookieValue = 3800

	// maxSameName is how many cookies of one name are looked at: one for each path that the server ever had.
	maxSameName = 4

	// outSuffix names the cookie that says: logged out here. See markOut.
	outSuffix = "-out"
)

// ticket is what a login cookie carries.
type ticket struct {
	User
	Issued int64 `json:"t"` // Unix seconds
}

// seal makes a cookie's value: the ticket, a dot, and a MAC over the cookie's name and the ticket, in base64.
func (c *credentials) seal(name string, u *User, now time.Time) string {
	body, _ := json.Marshal(ticket{*u, now.Unix()}) // strings and a number: cannot fail
	b := make([]byte, 0, base64.RawURLEncoding.EncodedLen(len(body))+1+macLen)
	b = base64.RawURLEncoding.AppendEncode(b, body)
	var mac [32]byte
	c.mac(mac[:0], name, b)
	b = append(b, '.')
	return string(base64.RawURLEncoding.AppendEncode(b, mac[:]))
}

const macLen = 43 // 32 bytes in base64 without padding

// open is the inverse of seal. It is false for whatever the current credentials did not seal, or too long ago.
func (c *credentials) open(name, value string, now time.Time) (User, bool) {
	dot := len(value) - macLen - 1
	if dot < 1 || len(value) > maxCookieValue || value[dot] != '.' {
		return User{}, false
	}
	var got, want [32]byte
	if n, err := base64.RawURLEncoding.Strict().Decode(got[:], []byte(value[dot+1:])); err != nil || n != len(got) {
		return User{}, false
	}
	c.mac(want[:0], name, []byte(value[:dot]))
	if !hmac.Equal(got[:], want[:]) {
		return User{}, false
	}
	body, err := base64.RawURLEncoding.DecodeString(value[:dot])
	if err != nil {
		return User{}, false
	}
	var t ticket
	if json.Unmarshal(body, &t) != nil || t.Username == "" {
		return User{}, false
	}
	age := now.Sub(time.Unix(t.Issued, 0))
	return t.User, age < cookieLife && age > -24*time.Hour // clocks are set back a little, too
}

// cookies yields the values of the cookies called name in Cookie header lines, at most maxSameName of them. It
// takes what browsers send, and skips what they do not.
func cookies(lines []string, name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		found := 0
		for _, line := range lines {
			for pair := range strings.SplitSeq(line, ";") {
				k, v, ok := strings.Cut(strings.Trim(pair, " \t"), "=")
				if !ok || k != name {
					continue
				}
				v = strings.TrimPrefix(v, `"`)
				if found++; found > maxSameName || !yield(strings.TrimSuffix(v, `"`)) {
					return
				}
			}
		}
	}
}

// hostCookie is the login cookie's name for one Host.
type hostCookie struct{ host, name, out string }

// cookieNames gives the login cookie its name: cookies are shared by all ports of a host, so its name has both.
func (a *Auth) cookieNames(host string) *hostCookie {
	if c := a.lastCookie.Load(); c != nil && c.host == host {
		return c
	}
	name := a.cfg.CookieName
	if name == "" {
		name = "username-" + strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' || r|0x20 >= 'a' && r|0x20 <= 'z' {
				return r
			}
			return '-'
		}, host)
	}
	c := &hostCookie{host, name, name + outSuffix}
	a.lastCookie.Store(c)
	return c
}

// readCookie finds the user of the login cookie. A logged-out cookie gives its user too, with out set: its request
// was sent before the browser learnt of the logout.
func (a *Auth) readCookie(r *http.Request, c *credentials, name string) (u User, ok, out bool) {
	for v := range cookies(r.Header["Cookie"], name) {
		if u, ok := c.open(name, v, time.Now()); ok {
			if a.loggedOut.has(u.Username) {
				return u, false, true
			}
			return u, true, false
		}
	}
	return User{}, false, false
}

// setCookie logs u in. It replaces a login cookie that this answer may have set before.
func (a *Auth) setCookie(w http.ResponseWriter, cl httpx.Client, u *User) {
	if a.loggedOut.has(u.Username) {
		return // its browser has logged out meanwhile: no answer in flight may undo that
	}
	names := a.cookieNames(cl.Host)
	value := a.creds.Load().seal(names.name, u, time.Now())
	h := w.Header()
	line := a.cookieLine(names.name, value, cl.TLS)
	for i, old := range h["Set-Cookie"] {
		if strings.HasPrefix(old, names.name+"=") {
			h["Set-Cookie"][i] = line
			return
		}
	}
	h["Set-Cookie"] = append(h["Set-Cookie"], line)
}

// logIn sets the login cookie of a user who has just proven to be one, and takes back the mark of a logout.
func (a *Auth) logIn(w http.ResponseWriter, r *http.Request, s *session) {
	a.setCookie(w, s.client, &s.user)
	if out := a.cookieNames(s.client.Host).out; hasCookie(r, out) {
		a.expire(w, out)
	}
}

func hasCookie(r *http.Request, name string) bool {
	for range cookies(r.Header["Cookie"], name) {
		return true
	}
	return false
}

// cookieLine is a Set-Cookie header. The value is ours and needs no quoting; http.SetCookie costs four times this.
func (a *Auth) cookieLine(name, value string, tls bool) string {
	tail := "; Path=" + a.cfg.BaseURL + "; Max-Age=2592000; HttpOnly; SameSite=Lax"
	if tls {
		tail += "; Secure"
	}
	return name + "=" + value + tail
}

// expire makes the browser forget a cookie of ours, also one of "/" from before there was a base URL.
func (a *Auth) expire(w http.ResponseWriter, name string) {
	http.SetCookie(w, &http.Cookie{Name: name, Path: a.cfg.BaseURL, MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	if a.cfg.BaseURL != "/" {
		http.SetCookie(w, &http.Cookie{Name: name, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	}
}

// markOut tells the browser that it has logged out. Its open pages go on polling with the token that they know, but
// without a login cookie; with the mark, their answers do not log it in again.
func (a *Auth) markOut(w http.ResponseWriter, cl httpx.Client) {
	h := w.Header()
	h["Set-Cookie"] = append(h["Set-Cookie"], a.cookieLine(a.cookieNames(cl.Host).out, "1", cl.TLS))
}
