package rserver

import (
	"net/http"
	"os"

	"github.com/gorilla/mux"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

func (a *API) createSnapshot(w http.ResponseWriter, r *http.Request) error {
	x, err := a.session(r)
	if err != nil {
		return err
	}
	var req createSnapshotRequest
	if err := httpx.ReadJSON(w, r, maxLogin, &req); err != nil {
		return err
	}
	id, err := x.createSnapshot(r.Context(), req.Name)
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusCreated, createSnapshotResponse{id})
}

func (a *API) loadSnapshot(w http.ResponseWriter, r *http.Request) error {
	x, err := a.session(r)
	if err != nil {
		return err
	}
	if err := x.load(r.Context(), mux.Vars(r)["snapshotId"]); err != nil {
		return err
	}
	return ok(w)
}

func (a *API) listSnapshots(w http.ResponseWriter, r *http.Request) error {
	found, err := a.Server.rows.snapshots(r.Context(), "owner = ?", owner(r))
	if err != nil {
		return err
	}
	models := make([]snapshotModel, len(found))
	for i, s := range found {
		models[i] = snapshotModel{ID: s.id, Name: s.name, Owner: s.owner, CreationTime: s.created.Format(timeFormat),
			ContentSize: s.size, RuntimeType: s.runtime}
	}
	return answer(w, models)
}

func (a *API) getSnapshot(w http.ResponseWriter, r *http.Request) error {
	snap, err := a.Server.snapshot(r.Context(), owner(r), mux.Vars(r)["id"])
	if err != nil {
		return err
	}
	f, err := os.Open(a.Server.snapshotPath(snap.id))
	if err != nil {
		return fault.OS(err, "the snapshot")
	}
	return sendFile(w, r, f, snap.id+".zip", "application/zip")
}

func (a *API) deleteSnapshot(w http.ResponseWriter, r *http.Request) error {
	id := mux.Vars(r)["id"]
	if err := a.Server.deleteSnapshot(r.Context(), owner(r), id); err != nil {
		return err
	}
	return answer(w, id)
}
