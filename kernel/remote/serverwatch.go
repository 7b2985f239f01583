package remote

import (
	"context"
	"net/http"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

// watch tells a server of all kernels, for as long as it stays connected.
func (s *Server) watch(h kernel.Host, w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		failed(w, fault.New(fault.Busy, "the kernel host is stopping"))
		return
	}
	defer s.streams.Done()
	p, err := hijack(w, r)
	if err != nil {
		failed(w, err)
		return
	}
	defer p.close()
	s.servers.Add(1)
	defer s.servers.Add(-1)
	ctx, cancel := context.WithCancel(s.end)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = p.conn.Close() })
	defer stop()
	changes := h.Watch(ctx) // before the List: what it does not have any more is told
	s.streams.Add(1)
	go func() { // the server says nothing here; its end is the end of the connection
		defer s.streams.Done()
		defer cancel()
		_, _ = p.read(nil)
	}()
	if writeStatuses(p, frameAll, h.List()) != nil {
		return
	}
	for st := range changes {
		if writeStatuses(p, frameStatuses, []kernel.Status{st}) != nil {
			return
		}
	}
}

// writeStatuses waits for the server to take them: it is behind then, and gets the newest next.
func writeStatuses(p *pipe, kind frameKind, list []kernel.Status) error {
	if list == nil {
		list = []kernel.Status{}
	}
	o := newOutbox()
	defer o.free()
	o.json(kind, list)
	return p.write(o)
}
