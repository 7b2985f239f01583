package auth

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"net/url"

	"github.com/nbserv/nbserv/internal/fault"
)

const (
	xsrfCookie = "_xsrf" // Jupyter's pages read it and send it back in X-XSRFToken
	xsrfBytes  = 16

	// Bounds of what is taken for an XSRF token. Cookies are shared by all ports of a host, so it may well be one
	// that a jupyter_server next door has set.
	minXSRF, maxXSRF = 16, 256
)

// crossSite refuses a request that a page of another site made a browser send along with our cookie or, on a server
// without authentication, without any (S2, S3). A bearer of the token has proven itself. form is the XSRF token
// of a form, where the caller has read one.
func (a *Auth) crossSite(r *http.Request, s *session, form string) error {
	if s.via == viaToken || r.URL.Path == csrfExempt {
		return nil
	}
	trusted := false // the page is of an origin that the configuration names
	from := r.Header.Get("Origin")
	if from != "" {
		o, ok := parseOrigin(from)
		trusted = ok && a.originConfigured(o)
		if !trusted && (!ok || !sameOrigin(o, s.client)) {
			return fault.New(fault.Forbidden, "pages of %.100q may not use this server (it is %q to you): allow_origin names others; "+
				"behind a proxy, the proxy has to be a trusted one", from, s.client.Host)
		}
	}
	site := r.Header.Get("Sec-Fetch-Site")
	near := site == "same-origin" || site == "none" // an allow list: "none" is a person's own doing
	if site != "" && !near && !trusted && !isNavigation(r) {
		return fault.New(fault.Forbidden, "pages of other sites may not use this server")
	}
	if isSafe(r.Method) {
		if matches(guarded, r.URL.Path) && !near && !trusted && !a.cfg.DisableCheckXSRF && !xsrfMatches(r, form) && !refererIsOurs(r, s) {
			return fault.New(fault.Forbidden, "this is open to pages of this server only: add its _xsrf to the address, or log in with the token")
		}
		return nil
	}
	if a.cfg.DisableCheckXSRF || xsrfMatches(r, form) {
		return nil
	}
	if from == "" && site == "" && (s.via == viaBasic || s.via == viaNothing && !a.Enabled()) {
		return nil // no browser, but a script: with Basic, or on a server that asks nobody for anything
	}
	return fault.New(fault.Forbidden, "the '_xsrf' argument is missing or not the cookie's: reload the page")
}

// isNavigation tells whether a person follows a link to one of our pages: that shows it to them and to nobody else.
func isNavigation(r *http.Request) bool {
	return isPage(r) && r.Header.Get("Sec-Fetch-Mode") == "navigate" && !matches(guarded, r.URL.Path)
}

// refererIsOurs is the evidence of browsers too old for Sec-Fetch-Site.
func refererIsOurs(r *http.Request, s *session) bool {
	if r.Header.Get("Sec-Fetch-Site") != "" {
		return false
	}
	u, err := url.Parse(r.Header.Get("Referer"))
	if err != nil || u.Host == "" {
		return false
	}
	o, ok := parseOrigin(u.Scheme + "://" + u.Host)
	return ok && sameOrigin(o, s.client)
}

// xsrfMatches tells whether the request proves to know its _xsrf cookie: in the header, the query, or a form.
func xsrfMatches(r *http.Request, form string) bool {
	sent := form
	if v := r.Header.Get("X-Xsrftoken"); v != "" {
		sent = v
	} else if v := queryValue(r.URL.RawQuery, xsrfCookie); v != "" {
		sent = v
	}
	if len(sent) < minXSRF || len(sent) > maxXSRF {
		return false
	}
	for v := range cookies(r.Header["Cookie"], xsrfCookie) {
		if subtle.ConstantTimeCompare([]byte(v), []byte(sent)) == 1 {
			return true
		}
	}
	return false
}

// XSRFToken is the request's XSRF token. A request that has none is given one, in the answer's cookie: every
// handler that writes a page calls XSRFToken before it writes. Outside Wrap there is none: "".
func XSRFToken(w http.ResponseWriter, r *http.Request) string {
	s := sessionOf(r.Context())
	if s == nil {
		return ""
	}
	if s.xsrf != "" {
		return s.xsrf
	}
	for v := range cookies(r.Header["Cookie"], xsrfCookie) {
		if len(v) >= minXSRF && len(v) <= maxXSRF {
			s.xsrf = v
			return v
		}
	}
	var b [xsrfBytes]byte
	_, _ = rand.Read(b[:]) // never fails
	s.xsrf = hex.EncodeToString(b[:])
	http.SetCookie(w, &http.Cookie{Name: xsrfCookie, Value: s.xsrf, Path: s.auth.cfg.BaseURL, MaxAge: int(cookieLife.Seconds()),
		Secure: s.client.TLS, SameSite: http.SameSiteLaxMode})
	return s.xsrf
}
