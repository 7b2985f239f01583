package auth

import (
	"net/http"
)

// setCORS says which pages of other origins may read this answer. An origin that is not configured is let in only
// to an answer that was bought with the token: whoever has it needs no browser. It is never let in with cookies.
func (a *Auth) setCORS(h http.Header, r *http.Request, via via) {
	if a.cfg.AllowOrigin == "*" {
		h.Set("Access-Control-Allow-Origin", "*")
		return
	}
	from := r.Header.Get("Origin")
	if a.allowOrigin != nil || a.originPat != nil || from != "" {
		h.Add("Vary", "Origin")
	}
	if from == "" {
		return
	}
	o, ok := parseOrigin(from)
	switch {
	case ok && a.originConfigured(o):
		h.Set("Access-Control-Allow-Origin", from)
		if a.cfg.AllowCredentials {
			h.Set("Access-Control-Allow-Credentials", "true")
		}
	case via == viaToken && a.allowOrigin == nil && a.originPat == nil:
		h.Set("Access-Control-Allow-Origin", from)
	}
}

// preflight answers OPTIONS, which browsers send before a cross-origin request and always without credentials.
func (a *Auth) preflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	a.setCORS(h, r, viaNothing)
	h.Set("Access-Control-Allow-Headers", "accept, content-type, authorization, x-xsrftoken")
	h.Set("Access-Control-Allow-Methods", "GET, PUT, POST, PATCH, DELETE, OPTIONS")
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
}
