package auth

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// maxNext is the longest address that a login leads back to; browsers are safe up to about here.
const maxNext = 2048

// safeNext is where a login leads to: next when that is certainly below base on this very server, else base (S4).
// Browsers read a backslash as a slash, drop tabs and line ends, and resolve dot segments, %2e included.
func safeNext(next, base string) string {
	if next == "" || len(next) > maxNext || !utf8.ValidString(next) || !insideBase(next, base) {
		return base
	}
	return escapeNext(next)
}

func insideBase(next, base string) bool {
	path, _, _ := strings.Cut(next, "#")
	path, _, _ = strings.Cut(path, "?")
	if !strings.HasPrefix(path, "/") || !strings.HasPrefix(path+"/", base) || hasControl(next) || strings.Contains(next, `\`) {
		return false
	}
	for range 4 { // whoever decodes once more than they should must not get outside either
		if strings.HasPrefix(path, "//") || hasControl(path) || strings.Contains(path, `\`) || hasDots(path) {
			return false
		}
		decoded, err := url.PathUnescape(path)
		if err != nil || decoded == path {
			return true
		}
		path = decoded
	}
	return false
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 })
}

func hasDots(path string) bool {
	for seg := range strings.SplitSeq(path, "/") {
		if seg == "." || seg == ".." {
			return true
		}
	}
	return false
}

// escapeNext makes the address fit for a header: what RFC 3986 has no place for is percent-encoded.
func escapeNext(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>^`{|}", c) >= 0 {
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// loginAddress is the login page that leads back to u, a request's address without the base, and keeps no token.
func loginAddress(base string, u *url.URL) string {
	next := base + strings.TrimLeft(u.EscapedPath(), "/")
	if q := withoutToken(u.RawQuery); q != "" {
		next += "?" + q
	}
	return base + "login?next=" + url.QueryEscape(next)
}

func withoutToken(query string) string {
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if name, err := url.QueryUnescape(name); err == nil && name != "token" && pair != "" {
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "&")
}
