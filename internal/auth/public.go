package auth

import (
	"net/http"
	"strings"

	"github.com/nbserv/nbserv/internal/httpx"
)

// public is all that answers without credentials (S1), as jupyter_server's list is; a trailing slash means all
// below. /metrics joins it when configured.
var public = []string{
	"/api", // the version
	"/login",
	"/logout",
	"/healthz",
	"/favicon.ico",
	"/static/",
	"/lab/extensions/",
	"/lab/api/themes/",
}

// guarded is what no other site may read through a browser that has our cookie, not even as an <img> or a
// <script> (S3): a user's files, and files rendered. A trailing slash means all below.
var guarded = []string{"/files/", "/nbconvert/"}

// csrfExempt is what browsers send on their own, without an XSRF token.
const csrfExempt = "/api/security/csp-report"

// isPublic decides by the decoded path, which the route table matches too. A path that another reader could
// understand differently is not public.
func (a *Auth) isPublic(path string) bool {
	if a.cfg.PublicMetrics && path == "/metrics" {
		return true
	}
	if ambiguous(path) {
		return false
	}
	if d := a.dialectOf(path); d != nil && d.Public != nil && d.Public(path) {
		return true
	}
	return matches(public, path)
}

func matches(list []string, path string) bool {
	for _, p := range list {
		if path == p || strings.HasSuffix(p, "/") && strings.HasPrefix(path, p) {
			return true
		}
	}
	return false
}

// ambiguous paths have dot segments, empty segments, backslashes or control characters.
func ambiguous(path string) bool {
	return strings.Contains(path, "/.") || strings.Contains(path, "//") ||
		strings.ContainsFunc(path, func(r rune) bool { return r == '\\' || r < ' ' || r == 0x7f })
}

// isPage tells whether a person's browser asks for something to look at, which is answered with pages and
// redirects; everything else is a program, which is answered with status codes and JSON.
func isPage(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || httpx.IsAPI(r.URL.Path) || isUpgrade(r) {
		return false
	}
	accept := r.Header.Get("Accept")
	return accept == "" || strings.Contains(accept, "text/html") || strings.Contains(accept, "*/*")
}

func isUpgrade(r *http.Request) bool { return strings.EqualFold(r.Header.Get("Upgrade"), "websocket") }

func isSafe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}
