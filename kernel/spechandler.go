package kernel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/gorilla/mux"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

const (
	// resourcePolicy lets a logo show, and a script that somebody opens as a page do nothing (S7).
	resourcePolicy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'; sandbox"
	// pictureCache is how long browsers may keep pictures, as the reference server says: 30 days.
	pictureCache = "private, max-age=2592000"
)

// SpecAPI is /api/kernelspecs and /kernelspecs as Jupyter has them.
// https://jupyter-server.readthedocs.io/en/latest/developers/rest-api.html
type SpecAPI struct {
	Specs   *Specs
	BaseURL string // percent-encoded, with a slash at both ends
}

// Register adds the routes to r, whose paths are relative to the base URL.
func (a *SpecAPI) Register(r *mux.Router) {
	r.Handle("/api/kernelspecs", httpx.Handler(a.list)).Methods(http.MethodGet)
	r.Handle("/api/kernelspecs/{name}", httpx.Handler(a.get)).Methods(http.MethodGet)
	r.Handle("/kernelspecs/{name}/{file:.*}", httpx.Handler(a.file)).Methods(http.MethodGet, http.MethodHead)
}

// specModel is a kernelspec as clients see it.
type specModel struct {
	Name      string            `json:"name"`
	Spec      specFields        `json:"spec"`
	Resources map[string]string `json:"resources"`
}

type specFields struct {
	Argv            []string          `json:"argv"`
	Env             map[string]string `json:"env"`
	DisplayName     string            `json:"display_name"`
	Language        string            `json:"language"`
	InterruptMode   string            `json:"interrupt_mode"`
	Metadata        json.RawMessage   `json:"metadata"`
	ProtocolVersion string            `json:"kernel_protocol_version"`
}

func (a *SpecAPI) model(s Spec) specModel {
	m := specModel{Name: s.Name, Resources: make(map[string]string, len(s.Resources)), Spec: specFields{
		Argv: s.Argv, Env: s.Env, DisplayName: s.DisplayName, Language: s.Language, InterruptMode: s.InterruptMode,
		Metadata: s.Metadata, ProtocolVersion: s.ProtocolVersion,
	}}
	if m.Spec.Argv == nil {
		m.Spec.Argv = []string{}
	}
	if m.Spec.Env == nil {
		m.Spec.Env = map[string]string{}
	}
	for _, file := range s.Resources {
		key := file
		if strings.HasPrefix(file, "logo-") { // a logo goes by its name without extension, such as logo-64x64
			key = strings.TrimSuffix(file, path.Ext(file))
		}
		m.Resources[key] = a.BaseURL + "kernelspecs/" + url.PathEscape(s.Name) + "/" + url.PathEscape(file)
	}
	return m
}

func (a *SpecAPI) list(w http.ResponseWriter, _ *http.Request) error {
	all := a.Specs.All()
	body := struct {
		Default string               `json:"default"`
		Specs   map[string]specModel `json:"kernelspecs"`
	}{a.Specs.Default(), make(map[string]specModel, len(all))}
	for name, s := range all {
		body.Specs[name] = a.model(s)
	}
	return httpx.WriteJSON(w, http.StatusOK, body)
}

func (a *SpecAPI) get(w http.ResponseWriter, r *http.Request) error {
	s, err := a.Specs.Find(mux.Vars(r)["name"])
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, a.model(s))
}

func (a *SpecAPI) file(w http.ResponseWriter, r *http.Request) error {
	v := mux.Vars(r)
	s, err := a.Specs.Find(v["name"])
	if err != nil {
		return err
	}
	f, info, err := s.openResource(v["file"])
	if err != nil {
		return err
	}
	defer f.Close()
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", resourcePolicy)
	h.Set("ETag", fmt.Sprintf(`"%x-%x"`, info.ModTime().UnixNano(), info.Size()))
	h.Set("Cache-Control", "no-cache")
	if strings.EqualFold(path.Ext(v["file"]), ".png") {
		h.Set("Cache-Control", pictureCache)
	}
	h.Set("Content-Type", "application/octet-stream")
	if t := mime.TypeByExtension(path.Ext(v["file"])); t != "" {
		h.Set("Content-Type", t)
	}
	http.ServeContent(w, r, "", info.ModTime(), f)
	return nil
}

// openResource opens a regular file of the kernelspec's folder; everything else is NotFound, also what lies
// outside of it.
func (s Spec) openResource(name string) (*os.File, fs.FileInfo, error) {
	missing := func(err error) error {
		if fault.OutOfDescriptors(err) {
			return fault.OS(err, "the file")
		}
		return fault.Wrap(fault.NotFound, err, "kernelspec %s has no file %.128q", s.Name, name)
	}
	root, err := os.OpenRoot(s.Dir)
	if err != nil {
		return nil, nil, missing(err)
	}
	defer root.Close()
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		return nil, nil, missing(errors.New("the path leaves the folder"))
	}
	f, err := root.OpenFile(filepath.FromSlash(name), os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not block
	if err != nil {
		return nil, nil, missing(err)
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		_ = f.Close()
		return nil, nil, missing(err)
	}
	return f, info, nil
}
