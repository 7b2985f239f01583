package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
)

// endpoint is a further address of the server, on which one dialect stands at the root.
type endpoint struct {
	name string // of the dialect, for people
	flag string
	addr string // host:port
	http *http.Server
	ln   net.Listener // nil until listen
}

// checkAddress says whether text, the value of flag, is an address to listen on.
func (c *Config) checkAddress(flag, text string) error {
	host, _, err := net.SplitHostPort(text)
	if err != nil {
		return fmt.Errorf("%s: %q is not host:port", flag, text)
	}
	ip := net.ParseIP(host)
	if loopback := host == "localhost" || ip != nil && ip.IsLoopback(); c.noAuth() && !loopback && !c.NoAuth {
		return fmt.Errorf("%s=%s without a token or a password would let anybody on the network in; "+
			"set --token or --password, or say --insecure-no-auth", flag, text)
	}
	return nil
}

func (e *endpoint) listen(ctx context.Context, i *inheritance) error {
	var err error
	if e.ln, err = i.listener(e.name); e.ln != nil || err != nil {
		return err
	}
	var lc net.ListenConfig
	if e.ln, err = lc.Listen(ctx, "tcp", e.addr); err != nil {
		return fmt.Errorf("cannot listen on %s (%s): %w", e.addr, e.flag, err)
	}
	return nil
}

// url is the address to give to people.
func (e *endpoint) url() string {
	scheme := "http"
	if e.http.TLSConfig != nil {
		scheme = "https"
	}
	return scheme + "://" + e.ln.Addr().String()
}

// serveOn serves until the server is shut down.
func serveOn(s *http.Server, ln net.Listener) error {
	var err error
	if s.TLSConfig != nil {
		err = s.ServeTLS(ln, "", "")
	} else {
		err = s.Serve(ln)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
