package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
)

// listen opens c's address, or takes it over from the program that this one has replaced. When the port is taken it tries the next ones, c.PortRetries of them.
func listen(ctx context.Context, c *Config) (net.Listener, error) {
	host := c.IP
	if host == "localhost" {
		host = "127.0.0.1"
	}
	ln, err := c.env.inherited.listener(mainListener)
	if ln != nil || err != nil {
		return ln, err
	}
	var lc net.ListenConfig
	for i := 0; i <= c.PortRetries; i++ {
		port := c.Port + i
		if port > 65535 {
			break
		}
		var ln net.Listener
		if ln, err = lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port))); err == nil {
			return ln, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EACCES) {
			break
		}
	}
	return nil, fmt.Errorf("cannot listen on %s (--ip, --port, --port-retries): %w", net.JoinHostPort(host, strconv.Itoa(c.Port)), err)
}

// urls are the addresses to give to people: as one would type them on this machine.
func urls(c *Config, addr net.Addr) []string {
	scheme := "http"
	if c.CertFile != "" {
		scheme = "https"
	}
	_, port, _ := net.SplitHostPort(addr.String())
	hosts := []string{c.IP}
	switch ip := net.ParseIP(c.IP); {
	case c.loopback():
		hosts = []string{"localhost", "127.0.0.1"}
		if ip != nil && ip.To4() == nil {
			hosts = []string{"localhost", c.IP}
		}
	case ip.IsUnspecified():
		hosts = []string{"127.0.0.1"}
		if name, err := os.Hostname(); err == nil {
			hosts = []string{name, "127.0.0.1"}
		}
	}
	query := ""
	if c.Auth.Token != "" {
		query = "?token=" + c.Auth.Token
	}
	all := make([]string, len(hosts))
	for i, h := range hosts {
		all[i] = scheme + "://" + net.JoinHostPort(h, port) + c.BaseURL + query
	}
	return all
}
