package auth

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/nbserv/nbserv/internal/httpx"
)

// origin is a scheme, a host and a port, compared whole (S2). All lower case; port is "" when it is the scheme's own.
type origin struct{ scheme, host, port string }

func (o origin) String() string {
	if o.port == "" {
		return o.scheme + "://" + o.host
	}
	return o.scheme + "://" + o.host + ":" + o.port
}

// parseOrigin reads an Origin header (RFC 6454): scheme://host[:port] and nothing more. "null" is none.
func parseOrigin(s string) (origin, bool) {
	scheme, rest, ok := strings.Cut(strings.ToLower(s), "://")
	if !ok || scheme == "" || strings.ContainsFunc(scheme, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '+' && r != '-' && r != '.'
	}) {
		return origin{}, false
	}
	host, port, ok := parseHost(rest)
	if !ok {
		return origin{}, false
	}
	return newOrigin(scheme, host, port), true
}

func newOrigin(scheme, host, port string) origin {
	if scheme == "http" && port == "80" || scheme == "https" && port == "443" {
		port = ""
	}
	return origin{scheme, host, port}
}

// parseHost reads a Host header: a name or an address (IPv6 in brackets), and perhaps a port. host comes back in
// lower case, an IPv6 address in its canonical form within brackets.
func parseHost(s string) (host, port string, ok bool) {
	host = strings.ToLower(s)
	if i := strings.LastIndexByte(host, ':'); i >= 0 && i > strings.LastIndexByte(host, ']') {
		host, port = host[:i], host[i+1:]
		if !isPort(port) {
			return "", "", false
		}
	}
	if inner, found := strings.CutPrefix(host, "["); found {
		addr, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		if err != nil || !addr.Is6() || addr.Zone() != "" || !strings.HasSuffix(inner, "]") {
			return "", "", false
		}
		return "[" + addr.String() + "]", port, true
	}
	if host == "" || len(host) > 253 || strings.ContainsFunc(host, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_'
	}) {
		return "", "", false
	}
	return host, port, true
}

// isPort takes 1 to 65535 without leading zeros.
func isPort(s string) bool {
	if s == "" || len(s) > 5 || s[0] == '0' {
		return false
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n <= 65535
}

// ownOrigin is where the client believes this server to be.
func ownOrigin(c httpx.Client) (origin, bool) {
	host, port, ok := parseHost(c.Host)
	scheme := "http"
	if c.TLS {
		scheme = "https"
	}
	return newOrigin(scheme, host, port), ok
}

// hostAllowed guards a server on a loopback address against DNS rebinding: a foreign site whose name was made to
// point here still names itself in Host.
func (a *Auth) hostAllowed(hostHeader string) bool {
	if a.cfg.AllowRemoteAccess {
		return true
	}
	host, _, ok := parseHost(hostHeader)
	if !ok {
		return false
	}
	if slices.Contains(a.localNames, host) {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.Unmap().IsLoopback()
}

// originConfigured tells whether o may use the server by name. "*" names nobody: it is for clients with the token.
func (a *Auth) originConfigured(o origin) bool {
	if a.allowOrigin != nil && *a.allowOrigin == o {
		return true
	}
	return a.cfg.AllowOrigin == "" && a.originPat != nil && a.originPat.MatchString(o.String())
}

// sameOrigin tells whether o is this server as c sees it.
func sameOrigin(o origin, c httpx.Client) bool {
	own, ok := ownOrigin(c)
	return ok && own == o
}
