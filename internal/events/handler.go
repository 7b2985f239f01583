package events

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
	"github.com/nbserv/nbserv/internal/socket"
)

// maxBody bounds an event, in bytes. Guess; events name what happened, they do not carry it.
const maxBody = 1 << 20

// API serves a Bus over REST and WebSockets.
type API struct {
	Bus     *Bus
	Sockets socket.Config
}

// Register adds the routes to r, whose paths are relative to the base URL.
func (a *API) Register(r *mux.Router) {
	r.Handle("/api/events", httpx.Handler(a.emit)).Methods(http.MethodPost)
	r.Handle("/api/events/subscribe", httpx.Handler(a.subscribe)).Methods(http.MethodGet)
}

func (a *API) emit(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		SchemaID  string          `json:"schema_id"`
		Version   json.RawMessage `json:"version"`
		Data      json.RawMessage `json:"data"`
		Timestamp *string         `json:"timestamp"`
	}
	if err := httpx.ReadJSON(w, r, maxBody, &body); err != nil {
		return err
	}
	switch {
	case body.SchemaID == "":
		return fault.New(fault.Invalid, "schema_id is missing")
	case body.Version == nil:
		return fault.New(fault.Invalid, "version is missing")
	case body.Data == nil:
		return fault.New(fault.Invalid, "data is missing")
	case body.Timestamp != nil && !isTime(*body.Timestamp):
		return fault.New(fault.Invalid, "timestamp should be a time with an offset, such as 2022-05-26T13:50:00+05:00Z")
	}
	s, ok := a.Bus.schemas[body.SchemaID]
	if !ok {
		return fault.New(fault.Invalid, "schema_id: no such schema is registered")
	}
	if v := strings.Trim(string(body.Version), `"`); v != s.version { // Jupyter takes numbers, too
		return fault.New(fault.Invalid, "version: the schema has version %s", s.version)
	}
	if err := a.Bus.Emit(body.SchemaID, body.Data); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// isTime takes what jupyter_events writes, an ISO 8601 time with an offset and a Z, and the same without one of them.
func isTime(s string) bool {
	for _, layout := range []string{"2006-01-02T15:04:05Z07:00Z", "2006-01-02T15:04:05-0700Z", time.RFC3339Nano} {
		if _, err := time.Parse(layout, s); err == nil {
			return true
		}
	}
	return false
}

func (a *API) subscribe(w http.ResponseWriter, r *http.Request) error {
	s, err := a.Bus.subscribe()
	if err != nil {
		return err
	}
	defer a.Bus.leave(s)
	return socket.Serve(context.WithoutCancel(r.Context()), w, r, a.Sockets, socket.Stream{
		Out: func(ctx context.Context, send func([]byte) error) error {
			for {
				select {
				case event, ok := <-s.events:
					if !ok {
						return a.Bus.end(s)
					}
					if err := send(event); err != nil {
						return err
					}
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		},
	})
}
