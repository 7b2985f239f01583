package auth

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/gorilla/mux"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
	"github.com/nbserv/nbserv/internal/page"
)

const (
	maxFormBytes     = 64 << 10 // a login form has four short fields
	maxIdentityBytes = 64 << 10
	maxPasswordBytes = 1024
)

// Register adds /login, /logout and /api/me. They work below Wrap only.
func (a *Auth) Register(r *mux.Router) {
	r.Handle("/login", httpx.Handler(a.getLogin)).Methods(http.MethodGet, http.MethodHead)
	r.Handle("/login", httpx.Handler(a.postLogin)).Methods(http.MethodPost)
	r.Handle("/logout", httpx.Handler(a.getLogout)).Methods(http.MethodGet, http.MethodHead)
	r.Handle("/api/me", httpx.Handler(a.getMe)).Methods(http.MethodGet, http.MethodHead)
	r.Handle("/api/me", httpx.Handler(a.patchMe)).Methods(http.MethodPatch)
}

func (a *Auth) getLogin(w http.ResponseWriter, r *http.Request) error {
	s := sessionOf(r.Context())
	next := safeNext(queryValue(r.URL.RawQuery, "next"), a.cfg.BaseURL)
	message := ""
	if token, _ := tokenOf(r); token != "" && !s.known {
		if err := a.identify(w, r, s); err != nil {
			if fault.KindOf(err) == fault.TooMany {
				a.WriteError(w, r, err)
				return nil
			}
			message = fault.Message(err)
		}
	}
	if s.known || !a.Enabled() {
		redirect(w, next)
		return nil
	}
	return a.showLogin(w, r, http.StatusOK, next, message)
}

func (a *Auth) postLogin(w http.ResponseWriter, r *http.Request) error {
	s := sessionOf(r.Context())
	r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
	if err := r.ParseForm(); err != nil {
		return fault.Wrap(fault.Invalid, err, "the login form cannot be read")
	}
	next := r.PostForm.Get("next")
	if next == "" {
		next = queryValue(r.URL.RawQuery, "next")
	}
	next = safeNext(next, a.cfg.BaseURL)
	if err := a.crossSite(r, s, r.PostForm.Get("_xsrf")); err != nil {
		httpx.NoteError(r.Context(), err)
		return a.showLogin(w, r, http.StatusForbidden, next, "Please try once more: "+fault.Message(err)+".")
	}
	if !a.Enabled() {
		redirect(w, next)
		return nil
	}
	err := a.login(w, r, s, r.PostForm.Get("password"), r.PostForm.Get("new_password"))
	switch fault.KindOf(err) {
	case fault.Unauthenticated:
		httpx.NoteError(r.Context(), err)
		return a.showLogin(w, r, http.StatusUnauthorized, next, fault.Message(err))
	case fault.TooMany:
		httpx.NoteError(r.Context(), err)
		return a.showLogin(w, r, http.StatusTooManyRequests, next, fault.Message(err))
	}
	if err != nil {
		return err
	}
	redirect(w, next)
	return nil
}

// login lets a new user in for the password or the token, and sets a new password when one is given. Wrong
// credentials are Unauthenticated, too many of them TooMany.
func (a *Auth) login(w http.ResponseWriter, r *http.Request, s *session, typed, newPassword string) error {
	if len(typed) > maxPasswordBytes || len(newPassword) > maxPasswordBytes {
		return fault.New(fault.Invalid, "a password has at most %d bytes", maxPasswordBytes)
	}
	c := a.creds.Load()
	if !c.longToken || !c.tokenIs(typed) { // see checkToken
		if wait, ok := a.logins.try(s.client.Addr); !ok {
			return tooMany(w, wait)
		}
		ok, err := a.passwordIs(r.Context(), c, typed)
		if err != nil {
			return err
		}
		if !ok {
			return fault.New(fault.Unauthenticated, "That is not the right one.")
		}
	}
	a.logins.reset(s.client.Addr)
	if newPassword != "" && a.cfg.AllowPasswordChange {
		if err := a.changePassword(r.Context(), newPassword); err != nil {
			return err
		}
		httpx.Logger(r.Context()).Info("password changed", "remote", s.client.Addr)
	}
	s.user, s.known = anonymous(), true
	a.logIn(w, r, s)
	httpx.Logger(r.Context()).Info("login", "remote", s.client.Addr)
	return nil
}

// passwordIs takes the token for a password, too. It waits for its turn to hash.
func (a *Auth) passwordIs(ctx context.Context, c *credentials, typed string) (bool, error) {
	if c.tokenIs(typed) {
		return true, nil
	}
	if c.verify == nil {
		return false, nil
	}
	if err := a.takeHashing(ctx); err != nil {
		return false, err
	}
	defer a.giveHashing()
	return c.verify(typed), nil
}

func (a *Auth) takeHashing(ctx context.Context) error {
	select {
	case a.hashing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *Auth) giveHashing() { <-a.hashing }

// changePassword keeps a new password, and by that ends all cookies.
func (a *Auth) changePassword(ctx context.Context, password string) error {
	if err := a.takeHashing(ctx); err != nil {
		return err
	}
	hash := HashPassword(password)
	a.giveHashing()
	a.changing.Lock()
	defer a.changing.Unlock()
	if err := storePassword(&a.cfg, hash); err != nil {
		return fault.OS(err, "the new password")
	}
	c, err := newCredentials(a.secret, a.cfg.Token, hash)
	if err != nil {
		return fault.Wrap(fault.Internal, err, "use the new password")
	}
	a.use(c)
	return nil
}

func (a *Auth) getLogout(w http.ResponseWriter, r *http.Request) error {
	s := sessionOf(r.Context())
	if err := a.crossSite(r, s, ""); err != nil {
		a.WriteError(w, r, err) // another site's <img> logs nobody out
		return nil
	}
	if !a.Enabled() {
		return a.show(w, http.StatusOK, "logout.html", loginPage{Frame: page.Frame{Title: "Logged out?"},
			Message: "Cannot log out: this server runs without authentication."})
	}
	if s.known {
		a.loggedOut.add(s.user.Username)
	}
	a.expire(w, a.cookieNames(s.client.Host).name)
	a.markOut(w, s.client)
	return a.show(w, http.StatusOK, "logout.html", loginPage{Frame: page.Frame{Title: "Logged out"}, Message: "Successfully logged out.", HasLogin: true})
}

// me is what GET /api/me answers.
type me struct {
	Identity    User                `json:"identity"`
	Permissions map[string][]string `json:"permissions"`
}

func (a *Auth) getMe(w http.ResponseWriter, r *http.Request) error {
	s := sessionOf(r.Context())
	granted, err := permissions(queryValue(r.URL.RawQuery, "permissions"))
	if err != nil {
		return err
	}
	granted["updatable_fields"] = a.cfg.UpdatableFields
	s.user.fill()
	return httpx.WriteJSON(w, http.StatusOK, me{s.user, granted})
}

// permissions reads {"resource": ["action"]} and grants all of it: whoever is let in may do everything.
func permissions(query string) (map[string][]string, error) {
	granted := make(map[string][]string)
	if query == "" {
		return granted, nil
	}
	bad := fault.New(fault.Invalid, `permissions should be a JSON dict of {"resource": ["action",]}, got %.200q`, query)
	var asked map[string][]*string
	if json.Unmarshal([]byte(query), &asked) != nil || asked == nil {
		return nil, bad
	}
	for resource, actions := range asked {
		if actions == nil { // null
			return nil, bad
		}
		granted[resource] = make([]string, len(actions))
		for i, action := range actions {
			if action == nil {
				return nil, bad
			}
			granted[resource][i] = *action
		}
	}
	return granted, nil
}

func (a *Auth) patchMe(w http.ResponseWriter, r *http.Request) error {
	s := sessionOf(r.Context())
	var fields map[string]json.RawMessage
	if err := httpx.ReadJSON(w, r, maxIdentityBytes, &fields); err != nil {
		return err
	}
	user, err := s.user.updated(fields, a.cfg.UpdatableFields)
	if err != nil {
		return err
	}
	s.user = user
	if s.via != viaToken || a.mayLogIn(r, s, false) {
		a.setCookie(w, s.client, &s.user)
	}
	return httpx.WriteJSON(w, http.StatusOK, struct {
		Status   string `json:"status"`
		Identity User   `json:"identity"`
	}{"success", s.user})
}
