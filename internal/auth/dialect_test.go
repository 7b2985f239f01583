package auth

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

func withStore(c *Config) {
	c.Dialects = []Dialect{{
		Has: func(path string) bool { return strings.HasPrefix(path, "/Store") },
		WriteError: func(w http.ResponseWriter, r *http.Request, err error) {
			w.WriteHeader(httpx.Status(fault.KindOf(err)))
			_, _ = w.Write([]byte("store: " + fault.Message(err)))
		},
	}}
}

func basic(user, password string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// Basic with the token as the password counts in the dialect and nowhere else; who is refused there is challenged.
func TestBasicInADialect_S1(t *testing.T) {
	s := newSite(t, withStore)
	resp := s.get("/Store/x", basic("anybody", token))
	require.Equal(t, 200, resp.StatusCode)
	require.Empty(t, resp.Cookies(), "its clients keep none")
	require.Equal(t, 200, s.get("/Store/x", "Authorization: Bearer "+token).StatusCode)
	require.Equal(t, 403, s.get("/api/contents", basic("anybody", token)).StatusCode)
	for _, header := range []string{"X-A: b", basic("anybody", "wrong"), basic(token, ""), "Authorization: Basic !", "Authorization: token wrong"} {
		resp := s.get("/Store/x", header)
		require.Equal(t, 401, resp.StatusCode, header)
		require.Contains(t, resp.Header.Get("WWW-Authenticate"), "Basic realm=")
		require.Contains(t, text(t, resp), "store: ")
	}
	require.Empty(t, s.get("/api/contents", basic("anybody", "wrong")).Header.Get("WWW-Authenticate"))
}

// Wrong passwords are throttled as wrong tokens are (S5).
func TestBasicIsThrottled_S5(t *testing.T) {
	s := newSite(t, withStore)
	for range failureBurst {
		require.Equal(t, 401, s.get("/Store/x", basic("a", "wrong")).StatusCode)
	}
	resp := s.get("/Store/x", basic("a", "wrong"))
	require.Equal(t, 429, resp.StatusCode)
	require.NotEmpty(t, resp.Header.Get("Retry-After"))
}

// A browser repeats what a person has typed once: another site's page must not use it (S3).
func TestBasicOfABrowserIsNoProof_S3(t *testing.T) {
	s := newSite(t, withStore)
	for _, header := range []string{"Origin: https://evil.example", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-origin"} {
		require.Equal(t, 403, s.ask("PUT", "/Store/x", nil, basic("a", token), header).StatusCode, header)
	}
	require.Equal(t, 403, s.get("/Store/x", basic("a", token), "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: cors").StatusCode)
	require.Equal(t, 200, s.ask("PUT", "/Store/x", nil, basic("a", token)).StatusCode)
}

// A dialect whose clients send bearer tokens takes no Basic; its own headers count in it and nowhere else.
func TestTokenHeadersOfADialect_S1(t *testing.T) {
	s := newSite(t, withStore, func(c *Config) { c.Dialects[0].Bearer, c.Dialects[0].TokenHeaders = true, []string{"X-Ms-Apikey"} })
	require.Equal(t, 200, s.get("/Store/x", "x-ms-apikey: "+token).StatusCode)
	require.Equal(t, 200, s.get("/Store/x", "Authorization: Bearer "+token).StatusCode)
	require.Equal(t, 200, s.ask("PUT", "/Store/x", nil, "x-ms-apikey: "+token).StatusCode)
	require.Equal(t, 403, s.get("/api/contents", "x-ms-apikey: "+token).StatusCode)
	for _, header := range []string{"X-A: b", "x-ms-apikey: wrong", basic("a", token), "Authorization: Bearer wrong"} {
		resp := s.get("/Store/x", header)
		require.Equal(t, 401, resp.StatusCode, header)
		require.Contains(t, resp.Header.Get("WWW-Authenticate"), "Bearer realm=")
		require.Contains(t, text(t, resp), "store: ")
	}
}
