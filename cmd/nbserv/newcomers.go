package main

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// newcomers are the connections that were accepted and whose first request has not begun. net/http drops them when it
// is shut down, even one whose request it has read; a server that is only replaced answers them first.
type newcomers struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{} // guarded by mu
	none  chan struct{}         // guarded by mu; closed when the last has gone, nil while nobody waits
}

func newNewcomers() *newcomers { return &newcomers{conns: make(map[net.Conn]struct{})} }

type connKey struct{}

// watch notes h's connections. It is to be called before h serves.
func (n *newcomers) watch(h *http.Server) {
	h.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) }
	h.ConnState = func(c net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			n.mu.Lock()
			defer n.mu.Unlock()
			n.conns[c] = struct{}{}
		case http.StateClosed, http.StateHijacked:
			n.gone(c)
		}
	}
	next := h.Handler
	h.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connKey{}).(net.Conn); ok {
			n.gone(c)
		}
		next.ServeHTTP(w, r)
	})
}

func (n *newcomers) gone(c net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
	if len(n.conns) == 0 && n.none != nil {
		close(n.none)
		n.none = nil
	}
}

// wait returns when there are none, or ctx ends.
func (n *newcomers) wait(ctx context.Context) {
	n.mu.Lock()
	if len(n.conns) == 0 {
		n.mu.Unlock()
		return
	}
	if n.none == nil {
		n.none = make(chan struct{})
	}
	none := n.none
	n.mu.Unlock()
	select {
	case <-none:
	case <-ctx.Done():
	}
}
