package httpx

import (
	"net/http"
	"strings"
)

const cspHeader = "Content-Security-Policy"

// SecurityHeaders sets what every answer carries: nosniff, and a Content-Security-Policy that keeps other sites
// from framing us and, for the API, forbids a browser to load anything for it. baseURL is where browsers find the
// server; request paths below this middleware have it stripped already. Handlers tighten the policy with AddCSP or
// replace it with SetCSP.
func SecurityHeaders(baseURL string) Middleware {
	policy := "frame-ancestors 'self'; report-uri " + baseURL + "api/security/csp-report"
	// Shared by all answers: capacity 1, so that a Header.Add copies.
	page := []string{policy}
	api := []string{policy + "; default-src 'none'"}
	nosniff := []string{"nosniff"}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h["X-Content-Type-Options"] = nosniff
			h[cspHeader] = page
			if IsAPI(r.URL.Path) {
				h[cspHeader] = api
			}
			next.ServeHTTP(w, r)
		})
	}
}

// IsAPI tells whether path (without the base URL) is for programs, which read JSON, and not a page for people.
func IsAPI(path string) bool {
	return path == "/api" || strings.HasPrefix(path, "/api/") || strings.HasPrefix(path, "/lab/api/") ||
		strings.HasPrefix(path, "/terminals/websocket/")
}

// SetCSP replaces the answer's Content-Security-Policy.
func SetCSP(w http.ResponseWriter, policy string) { w.Header().Set(cspHeader, policy) }

// AddCSP adds directives to the answer's Content-Security-Policy, such as "sandbox allow-scripts" for a user's file (S7).
func AddCSP(w http.ResponseWriter, directives string) {
	if have := w.Header().Get(cspHeader); have != "" {
		directives = have + "; " + directives
	}
	w.Header().Set(cspHeader, directives)
}
