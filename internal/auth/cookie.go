package auth

import (
	"crypto/hmac"
	"encoding/base64"
	"encoding/json"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/nbserv/nbserv/internal/clock"
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

// seal makes a Set-Cookie line that begins with name=value and ends with tail. The value is the ticket, a dot, and a MAC
// over the cookie's name and the ticket, in base64; that needs no quoting.
func (c *credentials) seal(name string, u *User, now time.Time, tail string) string {
	m := c.macs.Get().(*macer)
	defer c.macs.Put(m)
	var scratch [512]byte
	body := ticket{*u, now.Unix()}.appendJSON(scratch[:0])
	b := append(append(m.line[:0], name...), '=')
	start := len(b)
	b = base64.RawURLEncoding.AppendEncode(b, body)
	mac := m.mac(name, b[start:])
	b = append(b, '.')
	b = base64.RawURLEncoding.AppendEncode(b, mac)
	m.line = append(b, tail...)
	return string(m.line)
}

// appendJSON writes what json.Marshal would, at a fifth of its cost: clients that keep no cookies are sent a new one
// with every answer.
func (t ticket) appendJSON(b []byte) []byte {
	b = append(b, `{"username":`...)
	b = httpx.AppendString(b, t.Username)
	b = append(b, `,"name":`...)
	b = httpx.AppendString(b, t.Name)
	b = append(b, `,"display_name":`...)
	b = httpx.AppendString(b, t.DisplayName)
	b = appendOptional(b, `,"initials":`, t.Initials)
	b = appendOptional(b, `,"avatar_url":`, t.AvatarURL)
	b = appendOptional(b, `,"color":`, t.Color)
	b = append(b, `,"t":`...)
	b = strconv.AppendInt(b, t.Issued, 10)
	return append(b, '}')
}

func appendOptional(b []byte, key string, v *string) []byte {
	if v == nil {
		return b
	}
	return httpx.AppendString(append(b, key...), *v)
}

const macLen = 43 // 32 bytes in base64 without padding

// open is the inverse of seal. It is false for whatever the current credentials did not seal, or too long ago.
func (c *credentials) open(name, value string, now time.Time) (User, bool) {
	key := sealed{name, value}
	c.mu.Lock()
	t, ok := c.opened[key]
	c.mu.Unlock()
	if !ok {
		if t, ok = c.check(name, value); !ok {
			return User{}, false
		}
		c.remember(sealed{strings.Clone(name), strings.Clone(value)}, t)
	}
	age := now.Sub(time.Unix(t.Issued, 0))
	return t.User, age < cookieLife && age > -24*time.Hour // clocks are set back a little, too
}

// check opens a value and verifies its MAC.
func (c *credentials) check(name, value string) (t ticket, ok bool) {
	dot := len(value) - macLen - 1
	if dot < 1 || len(value) > maxCookieValue || value[dot] != '.' {
		return ticket{}, false
	}
	got, err := base64.RawURLEncoding.Strict().DecodeString(value[dot+1:])
	if err != nil {
		return ticket{}, false
	}
	m := c.macs.Get().(*macer)
	defer c.macs.Put(m)
	if !hmac.Equal(got, m.mac(name, []byte(value[:dot]))) {
		return ticket{}, false
	}
	body, err := base64.RawURLEncoding.DecodeString(value[:dot])
	if err != nil || json.Unmarshal(body, &t) != nil || t.Username == "" {
		return ticket{}, false
	}
	return t, true
}

// sealed is a cookie as it came.
type sealed struct{ name, value string }

// maxOpened is how many cookies' contents are remembered: a page polls with the same one for days. About 200 KB.
const maxOpened = 256

func (c *credentials) remember(key sealed, t ticket) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.opened) >= maxOpened {
		clear(c.opened)
	}
	c.opened[key] = t
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
		if u, ok := c.open(name, v, clock.Steady()); ok {
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
	line := a.creds.Load().seal(names.name, u, clock.Steady(), a.cookieTail(cl))
	h := w.Header()
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

// cookieTail is what follows the value of a login cookie.
func (a *Auth) cookieTail(cl httpx.Client) string {
	if cl.TLS {
		return a.tailTLS
	}
	return a.tail
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
	h["Set-Cookie"] = append(h["Set-Cookie"], a.cookieNames(cl.Host).out+"=1"+a.cookieTail(cl))
}
