package main

import (
	"net/http"
	"net/url"
	"strings"
)

// underBase serves what lies under base with h, which sees paths without it, and hands the rest to outside.
// base is percent-encoded; paths are compared decoded, since clients encode as they like. One slash follows base
// in what h sees, however many the client sent: jupyter_kernel_client 1.0 puts "/api" behind the address as it was
// printed, with its slash.
func underBase(base string, h, outside http.Handler) http.Handler {
	decoded, _ := url.PathUnescape(base) // normaliseBaseURL has decoded it before
	prefix := strings.TrimSuffix(decoded, "/")
	segments := strings.Count(prefix, "/")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rest, ok := strings.CutPrefix(r.URL.Path, prefix)
		switch {
		case !ok || rest != "" && rest[0] != '/':
			outside.ServeHTTP(w, r)
		case rest == "":
			redirect(w, base, r.URL.RawQuery)
		case prefix == "" && !strings.HasPrefix(rest, "//"):
			h.ServeHTTP(w, r)
		default:
			h.ServeHTTP(w, withPath(r, rest, segments))
		}
	})
}

// withPath is r with another path, and the encoded path without as many segments; both begin with one slash.
func withPath(r *http.Request, path string, segments int) *http.Request {
	r2 := new(http.Request)
	*r2 = *r
	r2.URL = new(url.URL)
	*r2.URL = *r.URL
	r2.URL.Path = "/" + strings.TrimLeft(path, "/")
	raw := r.URL.RawPath
	for range segments {
		if i := strings.IndexByte(strings.TrimPrefix(raw, "/"), '/'); i >= 0 {
			raw = raw[i+1:]
		}
	}
	if raw != "" {
		raw = "/" + strings.TrimLeft(raw, "/")
	}
	r2.URL.RawPath = raw // one that does not fit Path is ignored by net/url
	return r2
}

// redirect sends the client to a path of this server. It writes Location as it is: path must begin with
// exactly one slash and hold no backslash, which base URLs and escaped paths ensure (S4).
func redirect(w http.ResponseWriter, path, query string) {
	if query != "" {
		path += "?" + query
	}
	w.Header().Set("Location", path)
	w.WriteHeader(http.StatusFound)
}

// trimSlashes redirects a path that matched no route and ends in a slash to the one without, as jupyter_server
// does. It tells whether it did.
func trimSlashes(base string, w http.ResponseWriter, r *http.Request) bool {
	p := r.URL.EscapedPath()
	if !strings.HasSuffix(p, "/") || r.Method == http.MethodDelete || r.Method == http.MethodPatch {
		return false
	}
	p = strings.Trim(p, "/")
	if p == "" {
		return false
	}
	redirect(w, base+p, r.URL.RawQuery)
	return true
}
