package terminals

import (
	"context"
	"net/http"
	"sync"

	"github.com/gorilla/mux"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
	"github.com/nbserv/nbserv/internal/socket"
)

// maxBody bounds the body of a create: a name and a folder.
const maxBody = 64 << 10

// modelTime is Jupyter's form of a time.
const modelTime = "2006-01-02T15:04:05.000000Z"

// API serves terminals over REST and WebSockets. It must not be copied.
type API struct {
	Terminals *Manager
	BaseURL   string // percent-encoded, with a slash at both ends
	Sockets   socket.Config

	open sync.WaitGroup // WebSockets
}

// Wait returns when no WebSocket is open; it is to be called after Manager.Close, which ends them.
func (a *API) Wait() { a.open.Wait() }

// Register adds the routes to r, whose paths are relative to the base URL.
func (a *API) Register(r *mux.Router) {
	const one = `/api/terminals/{name:\w+}`
	r.Handle("/api/terminals", httpx.Handler(a.list)).Methods(http.MethodGet)
	r.Handle("/api/terminals", httpx.Handler(a.create)).Methods(http.MethodPost)
	r.Handle(one, httpx.Handler(a.get)).Methods(http.MethodGet)
	r.Handle(one, httpx.Handler(a.delete)).Methods(http.MethodDelete)
	r.Handle(`/terminals/websocket/{name:\w+}`, httpx.Handler(a.channel)).Methods(http.MethodGet)
}

type model struct {
	Name         string `json:"name"`
	LastActivity string `json:"last_activity"`
}

func (i Info) model() model {
	return model{Name: i.Name, LastActivity: i.LastActivity.UTC().Format(modelTime)}
}

func (a *API) list(w http.ResponseWriter, _ *http.Request) error {
	models := []model{}
	for _, i := range a.Terminals.List() {
		models = append(models, i.model())
	}
	return httpx.WriteJSON(w, http.StatusOK, models)
}

func (a *API) create(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Name string `json:"name"`
		Cwd  string `json:"cwd"`
	}
	raw, err := httpx.ReadBody(w, r, maxBody)
	if err != nil {
		return err
	}
	if len(raw) > 0 {
		if err := httpx.DecodeJSON(raw, &body); err != nil {
			return err
		}
	}
	i, err := a.Terminals.Create(body.Name, body.Cwd)
	if err != nil {
		return err
	}
	w.Header().Set("Location", a.BaseURL+"api/terminals/"+i.Name)
	return httpx.WriteJSON(w, http.StatusOK, i.model())
}

func (a *API) get(w http.ResponseWriter, r *http.Request) error {
	i, err := a.Terminals.Get(mux.Vars(r)["name"])
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, i.model())
}

func (a *API) delete(w http.ResponseWriter, r *http.Request) error {
	if err := a.Terminals.Delete(mux.Vars(r)["name"]); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// channel joins a page to a terminal. It may outlive the server's last request: see Wait.
func (a *API) channel(w http.ResponseWriter, r *http.Request) error {
	t, err := a.Terminals.find(mux.Vars(r)["name"])
	if err != nil {
		return err
	}
	if !a.Terminals.enter(&a.open) {
		return fault.New(fault.Busy, "the server is stopping")
	}
	defer a.open.Done()
	v := t.join()
	defer t.leave(v)
	return socket.Serve(context.WithoutCancel(r.Context()), w, r, a.Sockets, t.stream(v))
}

// enter counts one more into open, unless the terminals are being closed.
func (m *Manager) enter(open *sync.WaitGroup) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		open.Add(1)
	}
	return !m.closed
}
