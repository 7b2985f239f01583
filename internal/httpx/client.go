package httpx

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
)

// Client is who asks, and the address they believe to be asking, seen through trusted proxies only.
type Client struct {
	Addr netip.Addr // invalid when the connection has no network address (a unix socket)
	Host string     // as the Host header: name or address, with a port when it is not the scheme's own
	TLS  bool       // the client speaks https
}

// ClientOf is what AccessLog found out about r's client, or without it what r's connection says.
func ClientOf(r *http.Request) Client {
	if n := noteOf(r.Context()); n != nil && n.log != nil {
		return n.client
	}
	return direct(r)
}

// remote is the client's address as the log shows it.
func remote(ctx context.Context) string {
	if n := noteOf(ctx); n != nil && n.client.Addr.IsValid() {
		return n.client.Addr.String()
	}
	return "local"
}

// direct is the client at the other end of r's own connection.
func direct(r *http.Request) Client {
	c := Client{Host: r.Host, TLS: r.TLS != nil}
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		c.Addr = ap.Addr().Unmap()
	}
	return c
}

// forwarded is r's client as its connection says or, when that is a trusted proxy's, as the proxy says.
func forwarded(r *http.Request, trusted []netip.Prefix) Client {
	c := direct(r)
	if len(trusted) == 0 || !within(c.Addr, trusted) {
		return c
	}
	if addr := forwardedFor(r.Header, trusted); addr.IsValid() {
		c.Addr = addr
	}
	// A proxy adds its own word at the end of a list; what stands before may be the client's invention.
	switch strings.ToLower(last(first(r.Header, "X-Forwarded-Proto", "X-Scheme"))) {
	case "https", "wss":
		c.TLS = true
	case "http", "ws":
		c.TLS = false
	}
	if host := last(r.Header["X-Forwarded-Host"]); host != "" {
		c.Host = host
	}
	return c
}

// forwardedFor walks X-Forwarded-For from its end to the first address that is no trusted proxy's.
func forwardedFor(h http.Header, trusted []netip.Prefix) (client netip.Addr) {
	list := strings.Split(strings.Join(h["X-Forwarded-For"], ","), ",")
	for i := len(list) - 1; i >= 0; i-- {
		addr := parseAddr(list[i])
		if !addr.IsValid() {
			break // garbage: what stands before it is worth nothing
		}
		client = addr
		if !within(addr, trusted) {
			return client
		}
	}
	if !client.IsValid() {
		return parseAddr(last(h["X-Real-Ip"]))
	}
	return client
}

// parseAddr reads an address with or without a port or brackets; invalid when it is none.
func parseAddr(s string) netip.Addr {
	s = strings.TrimSpace(s)
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	addr, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap().WithZone("")
}

func within(addr netip.Addr, nets []netip.Prefix) bool {
	for _, p := range nets {
		if p.Contains(addr.WithZone("")) {
			return true
		}
	}
	return false
}

// first is the lines of the first of the (canonical) names that h has.
func first(h http.Header, names ...string) []string {
	for _, n := range names {
		if v := h[n]; len(v) > 0 {
			return v
		}
	}
	return nil
}

// last is the last element of the comma-separated list that lines make.
func last(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	l := lines[len(lines)-1]
	return strings.TrimSpace(l[strings.LastIndexByte(l, ',')+1:])
}
