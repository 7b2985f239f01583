package auth

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

// Auth lets requests in, or not. Make one with New.
type Auth struct {
	// immutable
	cfg         Config
	log         *slog.Logger
	secret      []byte
	localNames  []string
	tail        string         // see cookieTail
	tailTLS     string         // the same for https
	allowOrigin *origin        // nil: none, or "*"
	originPat   *regexp.Regexp // nil: none
	tokens      *throttle      // of wrong tokens
	logins      *throttle      // of the login form
	hashing     chan struct{}  // a place for each password being verified: each takes megabytes

	creds      atomic.Pointer[credentials]
	lastCookie atomic.Pointer[hostCookie] // nearly all requests name the same host
	loggedOut  departed

	changing sync.Mutex // held while the password changes
}

// maxHashing is how many passwords are verified at the same time.
const maxHashing = 2

// New makes an Auth. It reads or makes the cookie secret in cfg.StateDir; an unusable setting is an error that
// names it. log must not be nil.
func New(cfg Config, log *slog.Logger) (*Auth, error) {
	if log == nil {
		return nil, errors.New("auth: no logger")
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	a := &Auth{cfg: cfg, log: log, tokens: newThrottle(), logins: newThrottle(), hashing: make(chan struct{}, maxHashing)}
	if a.cfg.UpdatableFields == nil {
		a.cfg.UpdatableFields = identityFields
	}
	a.tail = fmt.Sprintf("; Path=%s; Max-Age=%d; HttpOnly; SameSite=Lax", cfg.BaseURL, int(cookieLife.Seconds()))
	a.tailTLS = a.tail + "; Secure"
	a.localNames = []string{"localhost"}
	for _, name := range cfg.LocalHostnames {
		a.localNames = append(a.localNames, strings.ToLower(name))
	}
	if o, ok := parseOrigin(strings.TrimSuffix(cfg.AllowOrigin, "/")); ok {
		a.allowOrigin = &o
	}
	a.originPat, _ = compilePat(cfg.AllowOriginPat) // Validate has tried
	var err error
	if a.secret, err = loadSecret(cfg.StateDir, log); err != nil {
		return nil, err
	}
	hash, err := currentHash(&cfg, log)
	if err != nil {
		return nil, err
	}
	c, err := newCredentials(a.secret, cfg.Token, hash)
	if err != nil {
		return nil, err
	}
	a.use(c)
	return a, nil
}

// use makes c the credentials that count.
func (a *Auth) use(c *credentials) {
	a.creds.Store(c)
	if a.cfg.Accounts != nil {
		a.cfg.Accounts.setAdmin(c.stamp)
	}
}

// Enabled tells whether anybody is asked for credentials.
func (a *Auth) Enabled() bool {
	c := a.creds.Load()
	return c.hasToken || c.verify != nil
}

// via says by what a request was let in.
type via uint8

const (
	viaNothing via = iota // nothing: a public route, or a server without authentication
	viaToken
	viaCookie
	viaBasic // a browser may send it on its own, once a person has typed it
)

// session is what Wrap found out about one request. The handler's goroutine owns it.
type session struct {
	auth   *Auth
	client httpx.Client
	via    via
	known  bool // user is set
	user   User
	// account is "" for whoever has the server's own token or password.
	account string
	out     bool   // the login cookie was good until its user logged out: the browser did not know yet
	xsrf    string // "" until XSRFToken found or made it
}

// Wrap guards next: a request without right credentials reaches only what is on the public list. Request paths
// have no base URL in front. Requests with a foreign Host reach nothing at all.
//
// An API request is answered 403 with Jupyter's JSON, a page 302 to the login page, and an address with too many
// wrong tokens 429. WebSocket upgrades are asked like all others, Origin included: the upgrader need not look again.
func (a *Auth) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := &session{auth: a, client: httpx.ClientOf(r)}
		r = s.keep(r)
		// Both: what a proxy says can be made up by a page on the proxy's own machine.
		if !a.hostAllowed(s.client.Host) || s.client.Host != r.Host && !a.hostAllowed(r.Host) {
			a.WriteError(w, r, fault.New(fault.Forbidden, "the name %.100q is not one of this server: "+
				"local_hostnames adds names, allow_remote_access takes any", s.client.Host))
			return
		}
		if r.Method == http.MethodOptions {
			a.preflight(w, r)
			return
		}
		if a.isPublic(r.URL.Path) {
			a.recognise(r, s)
			a.setCORS(w.Header(), r, s.via)
			next.ServeHTTP(w, r)
			return
		}
		err := a.identify(w, r, s)
		a.setCORS(w.Header(), r, s.via)
		if err != nil {
			a.refuse(w, r, err)
			return
		}
		if err := a.crossSite(r, s, ""); err != nil {
			a.WriteError(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// refuse answers a request that brought no right credentials.
func (a *Auth) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if d := a.dialectOf(r.URL.Path); d != nil && (fault.KindOf(err) == fault.Forbidden || fault.KindOf(err) == fault.Unauthenticated) {
		w.Header().Set("WWW-Authenticate", d.challenge())
		err = fault.Wrap(fault.Unauthenticated, err, "%s", fault.Message(err))
	}
	if fault.KindOf(err) == fault.Forbidden && isPage(r) {
		httpx.NoteError(r.Context(), err)
		w.Header().Set("Cache-Control", "no-store")
		redirect(w, loginAddress(a.cfg.BaseURL, r.URL))
		return
	}
	a.WriteError(w, r, err)
}

func redirect(w http.ResponseWriter, location string) {
	w.Header().Set("Location", location)
	w.WriteHeader(http.StatusFound)
}

// recognise finds the user of the login cookie. It looks at no token: where nothing is asked for, nobody shall be able to try tokens unthrottled.
func (a *Auth) recognise(r *http.Request, s *session) {
	user, ok, out := a.readCookie(r, a.creds.Load(), a.cookieNames(s.client.Host).name)
	if ok {
		s.user, s.known = user, true
		if a.Enabled() { // else the cookie buys nothing
			s.via = viaCookie
		}
	}
	s.out = out
}

// identify finds the user of a request and sets the login cookie where the answer should carry one. The error
// is Forbidden, Unauthenticated or TooMany.
func (a *Auth) identify(w http.ResponseWriter, r *http.Request, s *session) error {
	a.recognise(r, s)
	token, inQuery := tokenOf(r)
	dialect := a.dialectOf(r.URL.Path)
	if token == "" && dialect != nil {
		token = dialect.tokenOf(r.Header)
	}
	if dialect != nil && dialect.Accounts && a.cfg.Accounts != nil && looksSigned(token) {
		return a.identifyAccount(r, s, token)
	}
	if !a.Enabled() {
		if !s.known {
			s.user, s.known = anonymous(), true
			a.setCookie(w, s.client, &s.user)
		}
		return nil
	}
	c := a.creds.Load()
	proof := viaToken
	if _, password, ok := r.BasicAuth(); ok && dialect != nil && !dialect.Accounts && !dialect.Bearer && token == "" {
		token, proof = password, viaBasic
	}
	if !c.hasToken {
		token = ""
	}
	switch {
	case s.known:
		if c.tokenIs(token) { // a wrong one lets the cookie speak, as in Jupyter; whoever is in need not guess
			s.via = proof
		}
		return nil
	case token == "":
		return fault.New(fault.Forbidden, "credentials are missing: send the header 'Authorization: token …', or log in at %slogin", a.cfg.BaseURL)
	}
	if err := a.checkToken(w, s, c, token); err != nil {
		return err
	}
	s.via, s.user, s.known = proof, anonymous(), true
	if dialect == nil && a.mayLogIn(r, s, inQuery) {
		a.logIn(w, r, s)
	}
	return nil
}

// identifyAccount finds the account that an access token was given to. The error is Unauthenticated, or the database's.
func (a *Auth) identifyAccount(r *http.Request, s *session, token string) error {
	name, err := a.cfg.Accounts.verify(r.Context(), token)
	if err != nil {
		return err
	}
	s.via, s.known, s.account = viaToken, true, name
	s.user = User{Username: name}
	s.user.fill()
	return nil
}

// mayLogIn decides whether the answer to a request with the token but without a login cookie sets one. Not for an
// upgrade, whose client would not keep it, and for a browser that has logged out only when the person opens the
// server's address anew: its open pages still know the token and poll with it.
func (a *Auth) mayLogIn(r *http.Request, s *session, inQuery bool) bool {
	if s.out || isUpgrade(r) {
		return false
	}
	return !hasCookie(r, a.cookieNames(s.client.Host).out) || inQuery && isPage(r)
}

// checkToken compares in constant time. A failure counts against the client's address, and when that has used up
// its tries even a right token is not looked at, unless it is too long to be guessed: then nothing is gained by
// guessing, and a stale page cannot lock its own machine out.
func (a *Auth) checkToken(w http.ResponseWriter, s *session, c *credentials, token string) error {
	addr := s.client.Addr
	if c.longToken && c.tokenIs(token) {
		a.tokens.reset(addr)
		return nil
	}
	if wait, ok := a.tokens.try(addr); !ok {
		return tooMany(w, wait)
	}
	if c.tokenIs(token) {
		a.tokens.reset(addr)
		return nil
	}
	return fault.New(fault.Forbidden, "the token is not right: the server shows the right one where it was started")
}

func tooMany(w http.ResponseWriter, wait time.Duration) error {
	secs := strconv.Itoa(max(1, int(math.Ceil(wait.Seconds()))))
	w.Header().Set("Retry-After", secs)
	return fault.New(fault.TooMany, "too many wrong tries from your address: wait %s seconds", secs)
}

// tokenOf finds a request's token, in the query first as Jupyter does: ?token=T, Authorization: token T or Bearer T.
func tokenOf(r *http.Request) (token string, inQuery bool) {
	if t := queryValue(r.URL.RawQuery, "token"); t != "" {
		return t, true
	}
	for _, h := range r.Header["Authorization"] {
		scheme, rest, _ := strings.Cut(strings.TrimSpace(h), " ")
		if strings.EqualFold(scheme, "token") || strings.EqualFold(scheme, "bearer") {
			return strings.TrimSpace(rest), false
		}
	}
	return "", false
}

// queryValue is the first value of name in a query, without parsing the rest.
func queryValue(query, name string) string {
	if !strings.Contains(query, name) && !strings.Contains(query, "%") {
		return ""
	}
	for pair := range strings.SplitSeq(query, "&") {
		k, v, _ := strings.Cut(pair, "=")
		if k, err := url.QueryUnescape(k); err != nil || k != name {
			continue
		}
		if v, err := url.QueryUnescape(v); err == nil && v != "" {
			return v
		}
	}
	return ""
}
