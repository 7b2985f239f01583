package lsp

import (
	"context"
	"net/http"
	"time"

	"github.com/gorilla/mux"

	"github.com/nbserv/nbserv/internal/httpx"
	"github.com/nbserv/nbserv/internal/socket"
)

// maxFromPage bounds a message of a page, in bytes. The largest have the whole text of a document.
const maxFromPage = 16 << 20

// API serves language servers over REST and WebSockets.
type API struct {
	Servers *Servers // nil: there are none
	Sockets socket.Config
}

// Register adds the routes to r, whose paths are relative to the base URL.
func (a *API) Register(r *mux.Router) {
	r.Handle("/lsp/status", httpx.Handler(a.status)).Methods(http.MethodGet, http.MethodHead)
	if a.Servers != nil {
		r.Handle("/lsp/ws/{name:.+}", httpx.Handler(a.channel)).Methods(http.MethodGet)
	}
}

// session is a language server that can be used.
type session struct {
	HandlerCount        int     `json:"handler_count"`
	Status              string  `json:"status"`
	LastServerMessageAt *string `json:"last_server_message_at"`
	LastHandlerMessage  *string `json:"last_handler_message_at"`
	Spec                Spec    `json:"spec"`
}

// status tells what is installed, used and known, by version 2 of jupyter_lsp's schema.
func (a *API) status(w http.ResponseWriter, _ *http.Request) error {
	sessions, specs := map[string]session{}, map[string]Spec{}
	if a.Servers != nil {
		for name, spec := range a.Servers.specs() {
			specs[name] = spec.shown()
			if len(spec.Argv) > 0 {
				sessions[name] = a.Servers.session(name, specs[name])
			}
		}
	}
	return httpx.WriteJSON(w, http.StatusOK, struct {
		Version  int                `json:"version"`
		Sessions map[string]session `json:"sessions"`
		Specs    map[string]Spec    `json:"specs"`
	}{specVersion, sessions, specs})
}

// session tells of one that is installed.
func (s *Servers) session(name string, spec Spec) session {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.uses[name]
	switch {
	case u == nil:
		return session{Status: "not_started", Spec: spec}
	case u.running == 0:
		return session{Status: "stopped", LastServerMessageAt: shownTime(u.fromServer), LastHandlerMessage: shownTime(u.fromClient), Spec: spec}
	}
	return session{
		HandlerCount: u.running, Status: "started",
		LastServerMessageAt: shownTime(u.fromServer), LastHandlerMessage: shownTime(u.fromClient), Spec: spec,
	}
}

// shownTime is Python's form of a time; nil is never.
func shownTime(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	text := t.UTC().Format("2006-01-02T15:04:05.000000+00:00")
	return &text
}

// channel joins a page to a language server of its own.
func (a *API) channel(w http.ResponseWriter, r *http.Request) error {
	if err := socket.Asked(r); err != nil {
		return err
	}
	c, err := a.Servers.connect(mux.Vars(r)["name"])
	if err != nil {
		return err
	}
	defer c.close()
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	defer context.AfterFunc(a.Servers.ctx, cancel)()
	cfg := a.Sockets
	cfg.MaxMessageBytes = maxFromPage
	return socket.Serve(ctx, w, r, cfg, socket.Stream{In: c.take, Out: c.give})
}
