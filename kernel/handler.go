package kernel

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"github.com/gorilla/mux"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

// maxBody bounds the bodies of the kernels API, in bytes: a name, a path and some environment variables.
const maxBody = 1 << 20

// API is /api/kernels as Jupyter has it.
type API struct {
	Host    Host
	BaseURL string                      // percent-encoded, with a slash at both ends
	Dir     func(apiPath string) string // the absolute folder in which a kernel for an API path starts
}

// Register adds the routes to r, whose paths are relative to the base URL.
func (a *API) Register(r *mux.Router) {
	r.Handle("/api/kernels", httpx.Handler(a.list)).Methods(http.MethodGet)
	r.Handle("/api/kernels", httpx.Handler(a.start)).Methods(http.MethodPost)
	r.Handle("/api/kernels/{id}", httpx.Handler(a.get)).Methods(http.MethodGet)
	r.Handle("/api/kernels/{id}", httpx.Handler(a.shutdown)).Methods(http.MethodDelete)
	r.Handle("/api/kernels/{id}/interrupt", httpx.Handler(a.interrupt)).Methods(http.MethodPost)
	r.Handle("/api/kernels/{id}/restart", httpx.Handler(a.restart)).Methods(http.MethodPost)
}

func (a *API) list(w http.ResponseWriter, _ *http.Request) error {
	all := a.Host.List()
	models := make([]Model, 0, len(all))
	for _, s := range all {
		if !s.Lost { // clients would join a kernel that ended before this server began
			models = append(models, s.Model())
		}
	}
	return httpx.WriteJSON(w, http.StatusOK, models)
}

func (a *API) start(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Name     string            `json:"name"`
		Path     string            `json:"path"`
		KernelID string            `json:"kernel_id"`
		Env      map[string]string `json:"env"`
	}
	if err := httpx.ReadJSON(w, r, maxBody, &body); err != nil {
		return err
	}
	o := StartOptions{ID: body.KernelID, Spec: body.Name, Env: body.Env}
	if body.Path != "" {
		o.Cwd = a.Dir(body.Path)
	} else if dir := body.Env["KERNEL_WORKING_DIR"]; filepath.IsAbs(dir) && isDir(dir) {
		o.Cwd = dir // a gateway client on this machine names the notebook's folder so
	}
	s, err := a.Host.Start(r.Context(), o)
	if err != nil {
		return err
	}
	w.Header().Set("Location", a.BaseURL+"api/kernels/"+url.PathEscape(s.ID))
	return httpx.WriteJSON(w, http.StatusCreated, s.Model())
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func (a *API) get(w http.ResponseWriter, r *http.Request) error {
	s, err := a.Host.Get(mux.Vars(r)["id"])
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, s.Model())
}

func (a *API) shutdown(w http.ResponseWriter, r *http.Request) error {
	if err := a.Host.Shutdown(r.Context(), mux.Vars(r)["id"]); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *API) interrupt(w http.ResponseWriter, r *http.Request) error {
	if err := a.Host.Interrupt(r.Context(), mux.Vars(r)["id"]); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *API) restart(w http.ResponseWriter, r *http.Request) error {
	id := mux.Vars(r)["id"]
	if err := a.Host.Restart(r.Context(), id); err != nil {
		return fault.Wrap(fault.KindOf(err), err, "Exception restarting kernel: %s", fault.Message(err))
	}
	s, err := a.Host.Get(id)
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, s.Model())
}
