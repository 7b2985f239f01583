package configsection

import (
	"net/http"

	"github.com/gorilla/mux"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

// maxSectionBytes bounds a section. Frontends keep a few KB; guess, measure.
const maxSectionBytes = 4 << 20

// API serves /api/config/{section}.
type API struct{ Store *Store }

// Register adds the routes to r.
func (a *API) Register(r *mux.Router) {
	const section = `/api/config/{section:\w+}`
	r.Handle(section, httpx.Handler(a.get)).Methods(http.MethodGet, http.MethodHead)
	r.Handle(section, httpx.Handler(a.put)).Methods(http.MethodPut)
	r.Handle(section, httpx.Handler(a.patch)).Methods(http.MethodPatch)
}

func (a *API) get(w http.ResponseWriter, r *http.Request) error {
	content, err := a.Store.Get(mux.Vars(r)["section"])
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, content)
}

func (a *API) put(w http.ResponseWriter, r *http.Request) error {
	content, err := read(w, r)
	if err != nil {
		return err
	}
	if err := a.Store.Set(mux.Vars(r)["section"], content); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *API) patch(w http.ResponseWriter, r *http.Request) error {
	changes, err := read(w, r)
	if err != nil {
		return err
	}
	content, err := a.Store.Update(mux.Vars(r)["section"], changes)
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, content)
}

func read(w http.ResponseWriter, r *http.Request) (Section, error) {
	var content Section
	if err := httpx.ReadJSON(w, r, maxSectionBytes, &content); err != nil {
		return nil, err
	}
	if content == nil {
		return nil, fault.New(fault.Invalid, "the body should be a JSON object")
	}
	return content, nil
}
