package auth

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestXSRFIsAskedOfCookieUsersOnly_S3(t *testing.T) {
	s := newSite(t)
	cookie, xsrf := s.login()
	for _, m := range []string{"POST", "PUT", "PATCH", "DELETE"} {
		for name, tt := range map[string]struct {
			query   string
			headers []string
			want    int
		}{
			"token":              {"", []string{auth48}, 200},
			"token and cookie":   {"", []string{auth48, cookie}, 200},
			"cookie":             {"", []string{cookie}, 403},
			"header":             {"", []string{cookie, "X-XSRFToken: " + xsrf}, 200},
			"query":              {"?_xsrf=" + xsrf, []string{cookie}, 200},
			"wrong header":       {"", []string{cookie, "X-XSRFToken: " + strings.Repeat("0", 32)}, 403},
			"part of it":         {"", []string{cookie, "X-XSRFToken: " + xsrf[:31]}, 403},
			"empty everywhere":   {"?_xsrf=", []string{strings.Replace(cookie, xsrf, "", 1), "X-XSRFToken: "}, 403},
			"header, no cookie":  {"", []string{strings.Split(cookie, "; _xsrf")[0], "X-XSRFToken: " + xsrf}, 403},
			"right, from afar":   {"", []string{cookie, "X-XSRFToken: " + xsrf, "Sec-Fetch-Site: cross-site"}, 403},
			"right, next door":   {"", []string{cookie, "X-XSRFToken: " + xsrf, "Sec-Fetch-Site: same-site"}, 403},
			"right, unknown":     {"", []string{cookie, "X-XSRFToken: " + xsrf, "Sec-Fetch-Site: whatever"}, 403},
			"right, same origin": {"", []string{cookie, "X-XSRFToken: " + xsrf, "Sec-Fetch-Site: same-origin"}, 200},
		} {
			require.Equal(t, tt.want, s.ask(m, "/api/contents/x"+tt.query, nil, tt.headers...).StatusCode, "%s %s", m, name)
		}
	}
	require.Contains(t, text(t, s.ask("POST", "/api/x", nil, cookie)), "'_xsrf' argument")
	require.Equal(t, 200, s.ask("POST", "/api/security/csp-report", nil, cookie, "Sec-Fetch-Site: cross-site").StatusCode)
	off := newSite(t, func(c *Config) { c.DisableCheckXSRF = true })
	cookie, _ = off.login()
	require.Equal(t, 200, off.ask("POST", "/api/x", nil, cookie).StatusCode)
	require.Equal(t, 403, off.ask("POST", "/api/x", nil, cookie, "Origin: http://evil.example").StatusCode)
}

func TestFilesCannotBeReadCrossSite_S3(t *testing.T) {
	s := newSite(t)
	cookie, xsrf := s.login()
	for _, p := range []string{"/files/a.txt", "/nbconvert/html/a.ipynb"} {
		for name, tt := range map[string]struct {
			query   string
			headers []string
			want    int
		}{
			"token":                  {"", []string{auth48, "Sec-Fetch-Site: cross-site"}, 200},
			"cookie alone":           {"", []string{cookie}, 403},
			"xsrf":                   {"?_xsrf=" + xsrf, []string{cookie}, 200},
			"xsrf from afar":         {"?_xsrf=" + xsrf, []string{cookie, "Sec-Fetch-Site: cross-site"}, 403},
			"same origin":            {"", []string{cookie, "Sec-Fetch-Site: same-origin"}, 200},
			"address bar":            {"", []string{cookie, "Sec-Fetch-Site: none"}, 200},
			"next door":              {"", []string{cookie, "Sec-Fetch-Site: same-site"}, 403},
			"afar":                   {"", []string{cookie, "Sec-Fetch-Site: cross-site"}, 403},
			"link from afar":         {"", []string{cookie, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"}, 403},
			"own referer":            {"", []string{cookie, "Referer: http://localhost:8888/a%40b/lab"}, 200},
			"foreign referer":        {"", []string{cookie, "Referer: http://evil.example/http://localhost:8888/"}, 403},
			"referer with a user":    {"", []string{cookie, "Referer: http://localhost:8888@evil.example/"}, 403},
			"referer against fetch":  {"", []string{cookie, "Referer: http://localhost:8888/", "Sec-Fetch-Site: cross-site"}, 403},
			"referer that is broken": {"", []string{cookie, "Referer: http://localhost:8888%2f/"}, 403},
		} {
			require.Equal(t, tt.want, s.get(p+tt.query, tt.headers...).StatusCode, "%s %s", p, name)
		}
	}
}

func TestOtherSitesMayOnlyLinkToPages_S3(t *testing.T) {
	s := newSite(t)
	cookie, _ := s.login()
	afar := []string{cookie, "Sec-Fetch-Site: cross-site"}
	require.Equal(t, 200, s.get("/lab/tree/x", append(afar, "Sec-Fetch-Mode: navigate", "Accept: text/html")...).StatusCode)
	require.Equal(t, 403, s.get("/lab/tree/x", append(afar, "Sec-Fetch-Mode: no-cors")...).StatusCode)
	require.Equal(t, 403, s.get("/api/contents", append(afar, "Sec-Fetch-Mode: navigate", "Accept: text/html")...).StatusCode)
	require.Equal(t, 403, s.get("/api/contents", cookie, "Sec-Fetch-Site: same-site").StatusCode)
	require.Equal(t, 200, s.get("/api/contents", cookie, "Sec-Fetch-Site: same-origin").StatusCode)
	require.Equal(t, 200, s.get("/api/contents", cookie).StatusCode, "GET of the API is free of XSRF")
}
