package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// echoPath answers with the path that a handler below the base URL sees, decoded and encoded.
var echoPath = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Path", url.QueryEscape(r.URL.Path))
	w.Header().Set("X-Escaped", r.URL.EscapedPath())
})

func TestBaseURLIsComparedDecoded(t *testing.T) {
	h := underBase("/a%40b/c/", echoPath, http.NotFoundHandler())
	for _, c := range []struct{ target, path, escaped string }{
		{"/a%40b/c/api", "/api", "/api"},
		{"/a@b/c/api", "/api", "/api"},
		{"/%61%40%62/c/api/x%2Fy", "/api/x/y", "/api/x%2Fy"},
		{"/a@b/c/", "/", "/"},
		{"/a@b/c//two", "/two", "/two"},
		{"/a%40b/c///api/x%2Fy//z", "/api/x/y//z", "/api/x%2Fy//z"},
		{"/a@b/c/ä", "/ä", "/%C3%A4"},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", c.target, nil))
		require.Equal(t, 200, w.Code, c.target)
		require.Equal(t, url.QueryEscape(c.path), w.Header().Get("X-Path"), c.target)
		require.Equal(t, c.escaped, w.Header().Get("X-Escaped"), c.target)
	}
	atRoot := underBase("/", echoPath, http.NotFoundHandler())
	for in, want := range map[string]string{"//api/kernels": "/api/kernels", "/": "/", "//": "/", "/a//b": "/a//b"} {
		w := httptest.NewRecorder()
		atRoot.ServeHTTP(w, httptest.NewRequest("GET", "http://host"+in, nil))
		require.Equal(t, want, w.Header().Get("X-Escaped"), in)
	}
	for _, outside := range []string{"/", "/api", "/a@b/cx", "/a@b", "/A@B/c/api", "/a%2540b/c/api", "/x/a@b/c/"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", outside, nil))
		require.Equal(t, 404, w.Code, outside)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/a@b/c?x=1", nil))
	require.Equal(t, "/a%40b/c/?x=1", w.Header().Get("Location"))
}

// S4: whatever a client puts into a path, a redirect stays on this server and below the base URL.
func TestRedirectsLandInside_S4(t *testing.T) {
	for _, base := range []string{"/", "/a%40b/"} {
		for in, want := range map[string]string{
			"/notebooks/mynotebook/":      "notebooks/mynotebook",
			"////foo///":                  "foo",
			"//example.com/":              "example.com",
			"/has/param/?hasparam=true":   "has/param?hasparam=true",
			`/\example.com/`:              "%5Cexample.com",
			`//\/example.com/`:            "%5C/example.com",
			"/%5Cexample.com/":            "%5Cexample.com",
			"/%2F%2Fexample.com/":         "%2F%2Fexample.com",
			"/%09//example.com/":          "%09//example.com",
			"/https:example.com/":         "https:example.com",
			"/a%0D%0ASet-Cookie:%20b=c/":  "a%0D%0ASet-Cookie:%20b=c",
			"/x/?next=//example.com/%0d/": "x?next=//example.com/%0d/",
		} {
			w := httptest.NewRecorder()
			r := httptest.NewRequest("GET", "http://host"+in, nil)
			require.True(t, trimSlashes(base, w, r), in)
			require.Equal(t, http.StatusFound, w.Code)
			loc := w.Header().Get("Location")
			require.Equal(t, base+want, loc, in)
			u, err := url.Parse("http://host/page")
			require.NoError(t, err)
			target, err := u.Parse(loc)
			require.NoError(t, err)
			require.Equal(t, "host", target.Host)
			require.False(t, strings.HasPrefix(loc, "//"))
		}
	}
	for _, in := range []string{"/", "///", "/x", "/x/y"} {
		require.False(t, trimSlashes("/", httptest.NewRecorder(), httptest.NewRequest("GET", "http://host"+in, nil)), in)
	}
	require.False(t, trimSlashes("/", httptest.NewRecorder(), httptest.NewRequest("DELETE", "http://host/x/", nil)))
}

func FuzzBaseURL(f *testing.F) {
	for _, s := range []string{"/api", "/a%40b/api", "//", "/a@b", "/a%40b//evil/", `/a@b/\evil/`, "/%2f/", "/a%40b/%zz"} {
		f.Add(s)
	}
	base := "/a%40b/"
	h := underBase(base, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/") {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		if !trimSlashes(base, w, r) {
			w.WriteHeader(http.StatusNotFound)
		}
	}), http.NotFoundHandler())
	f.Fuzz(func(t *testing.T, path string) {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			return
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, &http.Request{Method: "GET", URL: u, Header: http.Header{}})
		switch w.Code {
		case http.StatusFound:
			loc := w.Header().Get("Location")
			if !strings.HasPrefix(loc, base) || strings.HasPrefix(loc, base+"/") || strings.ContainsAny(loc, "\\\r\n\t") {
				t.Fatalf("%q redirects to %q", path, loc)
			}
		case http.StatusNotFound:
		default:
			t.Fatalf("%q gives %d", path, w.Code)
		}
	})
}
