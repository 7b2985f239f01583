package httpx

import (
	"net/url"
	"strings"
)

// secretWords mark a query's name or value as one that no log may show. A "next" that carries a token is one too.
var secretWords = []string{"token", "xsrf", "password", "passwd", "secret", "apikey", "api_key", "authorization"}

const redacted = "[redacted]"

// secretSegment is before a token in a path: the R Server API has one there.
const secretSegment = "/refreshToken/"

// loggable is u's path and query with the value of every pair blanked that names or contains a secret (S6).
func loggable(u *url.URL) string {
	path := u.Path
	if before, _, found := strings.Cut(path, secretSegment); found {
		path = before + secretSegment + redacted
	}
	if u.RawQuery == "" {
		return path
	}
	var b strings.Builder
	b.WriteString(path)
	sep := byte('?')
	for pair := range strings.SplitSeq(u.RawQuery, "&") {
		b.WriteByte(sep)
		sep = '&'
		if name, _, ok := strings.Cut(pair, "="); !secretive(pair) {
			b.WriteString(pair)
		} else if ok && !secretive(name) || plainWord(name) {
			b.WriteString(name + "=" + redacted)
		} else {
			b.WriteString(redacted)
		}
	}
	return b.String()
}

// secretive looks through two layers of percent-encoding: a query, and an address inside a query.
func secretive(pair string) bool {
	for range 3 {
		low := strings.ToLower(pair)
		for _, word := range secretWords {
			if strings.Contains(low, word) {
				return true
			}
		}
		next, err := url.QueryUnescape(pair)
		if err != nil || next == pair {
			return err != nil // an address that nobody can read may hold anything
		}
		pair = next
	}
	return false
}
