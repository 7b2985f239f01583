package auth

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

// User is who asks, as GET /api/me shows it. One token is shared by all who use a server, so a User is really one
// browser or one program: its Username is random and lives as long as its cookie.
type User struct {
	Username    string  `json:"username"`
	Name        string  `json:"name"`
	DisplayName string  `json:"display_name"`
	Initials    *string `json:"initials"`
	AvatarURL   *string `json:"avatar_url"`
	Color       *string `json:"color"`
}

// fill gives the names that are empty their defaults, as Jupyter does.
func (u *User) fill() {
	if u.Name == "" {
		u.Name = u.Username
	}
	if u.DisplayName == "" {
		u.DisplayName = u.Name
	}
}

// set sets one of identityFields; nil clears it.
func (u *User) set(field string, v *string) {
	text := ""
	if v != nil {
		text = *v
	}
	switch field {
	case "name":
		u.Name = text
	case "display_name":
		u.DisplayName = text
	case "initials":
		u.Initials = v
	case "avatar_url":
		u.AvatarURL = v
	case "color":
		u.Color = v
	}
}

// maxIdentity is how long the fields of a User may be in all: it lives in a cookie.
const maxIdentity = 2000

// updated is u with the given fields changed. A field that is not updatable, or no string, is Invalid.
func (u User) updated(fields map[string]json.RawMessage, updatable []string) (User, error) {
	if len(fields) == 0 {
		return User{}, fault.New(fault.Invalid, "Invalid or missing JSON body")
	}
	size := 0
	for name, raw := range fields {
		if !slices.Contains(updatable, name) {
			return User{}, fault.New(fault.Invalid, "Field %.100s is not updatable", name)
		}
		var v *string
		if err := json.Unmarshal(raw, &v); err != nil {
			return User{}, fault.Wrap(fault.Invalid, err, "field %q should be a string", name)
		}
		u.set(name, v)
		size += len(raw)
	}
	u.fill()
	if all, err := json.Marshal(u); err != nil || size > maxIdentity || len(all) > maxIdentity {
		return User{}, fault.New(fault.Invalid, "the identity may have %d bytes in all: it is kept in a cookie", maxIdentity)
	}
	return u, nil
}

// moons name people that nobody has named, as Jupyter does: an Anonymous and a moon of Jupiter.
var moons = [...]string{
	"Adrastea", "Aitne", "Amalthea", "Ananke", "Aoede", "Arche", "Autonoe", "Callirrhoe", "Callisto", "Carme", "Carpo",
	"Chaldene", "Cyllene", "Dia", "Elara", "Erinome", "Euanthe", "Eukelade", "Euporie", "Europa", "Eurydome", "Ganymede",
	"Harpalyke", "Hegemone", "Helike", "Hermippe", "Herse", "Himalia", "Io", "Iocaste", "Isonoe", "Kale", "Kallichore",
	"Kalyke", "Kore", "Leda", "Lysithea", "Megaclite", "Metis", "Mneme", "Orthosie", "Pasiphae", "Pasithee", "Praxidike",
	"Sinope", "Sponde", "Taygete", "Thebe", "Thelxinoe", "Themisto", "Thyone",
}

// initials of the moons' people, to be pointed to and never changed: A and a letter each.
var initials = func() (all ['Z' + 1]string) {
	for c := 'A'; c <= 'Z'; c++ {
		all[c] = "A" + string(c)
	}
	return all
}()

// anonymous makes a new user.
func anonymous() User {
	var b [17]byte
	_, _ = rand.Read(b[:]) // never fails
	moon := moons[int(b[16])%len(moons)]
	name := "Anonymous " + moon
	return User{Username: hex.EncodeToString(b[:16]), Name: name, DisplayName: name, Initials: &initials[moon[0]]}
}

type sessionKey struct{}

// keep puts s where sessionOf finds it.
func (s *session) keep(r *http.Request) *http.Request {
	if httpx.SetCaller(r.Context(), s) {
		return r
	}
	return r.WithContext(context.WithValue(r.Context(), sessionKey{}, s)) // no AccessLog around
}

// sessionOf is what Wrap found out about the request of ctx; nil outside Wrap.
func sessionOf(ctx context.Context) *session {
	if s, ok := httpx.Caller(ctx).(*session); ok {
		return s
	}
	s, _ := ctx.Value(sessionKey{}).(*session)
	return s
}

// Owner is the account that the request of ctx acts for: Admin for whoever has the server's own token or password, and
// for everybody on a server without authentication.
func Owner(ctx context.Context) string {
	if s := sessionOf(ctx); s != nil && s.account != "" {
		return s.account
	}
	return Admin
}

// UserFrom is the user that Wrap let in with the request of ctx; false on a public route and outside Wrap.
func UserFrom(ctx context.Context) (User, bool) {
	if s := sessionOf(ctx); s != nil && s.known {
		return s.user, true
	}
	return User{}, false
}
