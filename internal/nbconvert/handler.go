package nbconvert

import (
	"context"
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

// maxBody bounds a notebook that is sent to be converted, in bytes.
const maxBody = 512 << 20

// Notebook is one to be converted, as clients get it.
type Notebook struct {
	Name     string
	Folder   string // absolute, on this machine
	Modified time.Time
	Content  json.RawMessage // nil for a file that is no notebook
}

// API serves conversions over REST.
type API struct {
	Converter *Converter
	// Read gives the notebook at an API path, or what says that there is none.
	Read    func(ctx context.Context, apiPath string) (Notebook, error)
	BaseURL string // percent-encoded, with a slash at both ends
}

// Register adds the routes to r, whose paths are relative to the base URL.
func (a *API) Register(r *mux.Router) {
	r.Handle("/api/nbconvert", httpx.Handler(a.list)).Methods(http.MethodGet)
	r.Handle(`/nbconvert/{format:\w+}`, httpx.Handler(a.post)).Methods(http.MethodPost)
	r.Handle(`/nbconvert/{format:\w+}/{path:(?s:.+)}`, httpx.Handler(a.get)).Methods(http.MethodGet)
}

func (a *API) list(w http.ResponseWriter, r *http.Request) error {
	formats, err := a.Converter.formats(r.Context())
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, formats)
}

func (a *API) get(w http.ResponseWriter, r *http.Request) error {
	vars := mux.Vars(r)
	nb, err := a.Read(r.Context(), vars["path"])
	if err != nil {
		return err
	}
	if nb.Content == nil {
		w.Header().Set("Location", a.BaseURL+"files"+(&url.URL{Path: "/" + vars["path"]}).EscapedPath())
		w.WriteHeader(http.StatusFound)
		return nil
	}
	q := request{Do: "convert", Format: vars["format"], Notebook: nb.Content, Metadata: metadata{
		Name: stem(nb.Name), Path: nb.Folder, Date: nb.Modified.Format("January 2, 2006"),
	}}
	if s := r.URL.Query().Get("sanitize_html"); s != "" {
		sanitize := strings.EqualFold(s, "true")
		q.Sanitize = &sanitize
	}
	res, err := a.Converter.run(r.Context(), q)
	if err != nil {
		return err
	}
	w.Header().Set("Last-Modified", nb.Modified.UTC().Format(http.TimeFormat))
	download, _ := strconv.ParseBool(r.URL.Query().Get("download")) // what is no boolean asks for none
	a.send(w, nb.Name, res, download)
	return nil
}

func (a *API) post(w http.ResponseWriter, r *http.Request) error {
	var model struct {
		Name    string          `json:"name"`
		Content json.RawMessage `json:"content"`
	}
	if err := httpx.ReadJSON(w, r, maxBody, &model); err != nil {
		return err
	}
	if !isNotebook(model.Content) {
		return fault.New(fault.Invalid, `field "content" should be a notebook, with its cells, metadata and nbformat`)
	}
	if model.Name == "" {
		model.Name = "notebook.ipynb"
	}
	model.Name = path.Base(model.Name)
	res, err := a.Converter.run(r.Context(), request{
		Do: "convert", Format: mux.Vars(r)["format"], Notebook: model.Content, Metadata: metadata{Name: stem(model.Name)},
	})
	if err != nil {
		return err
	}
	a.send(w, model.Name, res, false)
	return nil
}

// isNotebook tells whether raw has what every notebook has. Those of version 3 have worksheets instead of cells.
func isNotebook(raw json.RawMessage) bool {
	var nb struct {
		Metadata          map[string]json.RawMessage
		Cells, Worksheets []json.RawMessage
		NBFormat          int
	}
	return json.Unmarshal(raw, &nb) == nil && nb.Metadata != nil && nb.NBFormat > 0 && (nb.Cells != nil || nb.Worksheets != nil)
}

// send answers with what a conversion gave. It was made from user's bytes, so a page of it must not act as its user
// (S7).
func (a *API) send(w http.ResponseWriter, name string, res *answer, download bool) {
	h := w.Header()
	if !a.Converter.cfg.NoSandbox {
		httpx.AddCSP(w, "sandbox allow-scripts")
	}
	switch {
	case res.Mimetype == "":
		h.Set("Content-Type", "application/octet-stream")
	case res.Zip, !isText(res.Mimetype):
		h.Set("Content-Type", res.Mimetype)
	default:
		h.Set("Content-Type", res.Mimetype+"; charset=utf-8")
	}
	h.Set("Cache-Control", "no-store, no-cache, must-revalidate, max-age=0")
	h.Set("Content-Length", strconv.Itoa(len(res.body)))
	if download || res.Zip {
		h.Set("Content-Disposition", disposition(stem(name)+res.Extension))
	}
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(res.body) // a client that has gone is the access log's business
}

func isText(mimetype string) bool {
	return strings.HasPrefix(mimetype, "text/") || strings.HasSuffix(mimetype, "json") || strings.HasSuffix(mimetype, "xml")
}

// disposition names a download. FormatMediaType encodes what is no ASCII (RFC 2231), and gives "" for what cannot be.
func disposition(name string) string {
	if v := mime.FormatMediaType("attachment", map[string]string{"filename": name}); v != "" {
		return v
	}
	return "attachment"
}

func stem(name string) string { return strings.TrimSuffix(name, path.Ext(name)) }
