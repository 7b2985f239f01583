package lab

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gorilla/mux"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

// Register adds the routes to r, whose paths are relative to the base URL.
func (l *Lab) Register(r *mux.Router) {
	get := []string{http.MethodGet, http.MethodHead}
	handle := func(path string, h httpx.Handler) { r.Handle(path, h).Methods(get...) }

	handle("/static/lab/{file:.*}", l.getStatic)
	handle("/static/notebook/{file:.*}", l.getNotebookStatic)
	handle("/lab/extensions/{file:.*}", l.getExtensionFile)
	handle("/lab/api/themes/{file:.*}", l.getTheme)

	for path, h := range l.lists {
		handle(path, h)
	}
	handle("/lab/api/settings/{id:.+}", l.getSettings)
	r.Handle("/lab/api/settings/{id:.+}", httpx.Handler(l.putSettings)).Methods(http.MethodPut)
	const workspace = "/lab/api/workspaces/{id:(?s:.+)}"
	r.Handle("/lab/api/workspaces", httpx.Handler(nameless)).Methods(http.MethodPut, http.MethodDelete)
	handle(workspace, l.getWorkspace)
	r.Handle(workspace, httpx.Handler(l.putWorkspace)).Methods(http.MethodPut)
	r.Handle(workspace, httpx.Handler(l.deleteWorkspace)).Methods(http.MethodDelete)
	handle("/lab/api/translations/{locale}", l.getTranslations)
	handle("/lab/api/listings/{file:.*}", l.getListings)
	handle("/lab/api/extensions", l.getExtensions)
	handle("/lab/api/plugins", l.getPlugins)
	handle("/lab/api/build", fixed(`{"status":"stable","message":""}`))
	handle("/lab/api/update", fixed(`{"notification":null}`))
	handle("/lab/api/news", fixed(`{"news":[]}`))

	l.registerPages(func(path string, h httpx.Handler) {
		r.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if err := h(w, r); err != nil {
				l.fail(w, r, err)
			}
		}).Methods(get...)
	})
}

// nameless refuses what JupyterLab's address for a workspace becomes when the name is empty.
func nameless(http.ResponseWriter, *http.Request) error {
	return fault.New(fault.Invalid, "the name of the workspace is missing")
}

// fixed answers what never changes here: the server builds nothing and asks nobody for news.
func fixed(body string) httpx.Handler {
	return func(w http.ResponseWriter, _ *http.Request) error {
		return httpx.WriteJSON(w, http.StatusOK, json.RawMessage(body))
	}
}

func (l *Lab) getStatic(w http.ResponseWriter, r *http.Request) error {
	return l.serveStatic(w, r, l.finder.known().Lab)
}

func (l *Lab) getNotebookStatic(w http.ResponseWriter, r *http.Request) error {
	return l.serveStatic(w, r, l.finder.known().Notebook)
}

func (l *Lab) serveStatic(w http.ResponseWriter, r *http.Request, app *application) error {
	if app == nil {
		return fault.New(fault.NotFound, "there is nothing at this address")
	}
	return l.assets.serve(w, r, []string{app.Static}, mux.Vars(r)["file"])
}

func (l *Lab) getExtensionFile(w http.ResponseWriter, r *http.Request) error {
	file := mux.Vars(r)["file"]
	if l.cfg.Live && strings.HasPrefix(file, liveName+"/") {
		return serveLive(w, r, file)
	}
	return l.assets.serve(w, r, l.finder.known().Extensions, file)
}

// getTheme serves a theme's files: of an extension, which has them in its folder themes, or of JupyterLab. Addresses in
// style sheets are relative to the sheet, so they need no rewriting. Where no themes are installed at all every style
// sheet is empty: the page, which cannot do without one, is plain then and has no error.
func (l *Lab) getTheme(w http.ResponseWriter, r *http.Request) error {
	in := l.finder.known()
	var dirs []string
	for _, dir := range extensionFolders(in.Extensions) {
		dirs = append(dirs, filepath.Join(dir, "themes"))
	}
	dirs = append(dirs, in.Themes)
	file := mux.Vars(r)["file"]
	if strings.HasSuffix(file, ".css") && !slices.ContainsFunc(dirs, isDir) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		w.Header().Set("Cache-Control", revalidate)
		return nil
	}
	return l.assets.serve(w, r, dirs, file)
}

func (l *Lab) getSettingsList(w http.ResponseWriter, r *http.Request) error {
	if r.URL.Query().Get("ids_only") == "true" {
		type id struct {
			ID string `json:"id"`
		}
		ids := []id{}
		for _, sc := range l.schemas.all(l.finder.find()) {
			ids = append(ids, id{sc.ID})
		}
		return httpx.WriteJSON(w, http.StatusOK, map[string]any{"settings": ids})
	}
	v := l.view()
	list := []listedSettings{}
	for _, sc := range l.schemas.all(v.in) {
		m, err := l.model(v, sc)
		if err != nil {
			return err
		}
		list = append(list, m)
	}
	return httpx.WriteJSON(w, http.StatusOK, map[string]any{"settings": list})
}

func (l *Lab) getSettings(w http.ResponseWriter, r *http.Request) error {
	v := l.view()
	sc, err := l.schemas.find(v.in, mux.Vars(r)["id"])
	if err != nil {
		return err
	}
	m, err := l.model(v, sc)
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, m.settingsModel)
}

func (l *Lab) putSettings(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Raw *string `json:"raw"`
	}
	if err := httpx.ReadJSON(w, r, 2*maxSettingsBytes, &body); err != nil { // a text in JSON is longer than itself
		return err
	}
	if body.Raw == nil {
		return fault.New(fault.Invalid, `the body should be {"raw": "…"}`)
	}
	if len(*body.Raw) > maxSettingsBytes {
		return fault.New(fault.TooLarge, "raw has %d bytes, at most %d are taken", len(*body.Raw), maxSettingsBytes)
	}
	id := mux.Vars(r)["id"]
	v := settingsView{in: l.finder.known()}
	sc, err := l.schemas.find(v.in, id)
	if err != nil {
		return err
	}
	v.overrides = l.overrides(v.in)
	raw, err := v.schemaOf(sc)
	if err == nil {
		err = l.settings.put(id, raw, *body.Raw)
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (l *Lab) getWorkspaces(w http.ResponseWriter, _ *http.Request) error {
	all, err := l.workspaces.list()
	if err != nil {
		return err
	}
	ids := []string{}
	for _, ws := range all {
		ids = append(ids, ws.object("metadata").text("id"))
	}
	return httpx.WriteJSON(w, http.StatusOK, map[string]any{"workspaces": map[string]any{"ids": ids, "values": all}})
}

func (l *Lab) getWorkspace(w http.ResponseWriter, r *http.Request) error {
	id := mux.Vars(r)["id"]
	if !utf8.ValidString(id) {
		return fault.New(fault.Invalid, "the name of the workspace is not UTF-8")
	}
	return httpx.WriteJSON(w, http.StatusOK, l.workspaces.get(id))
}

func (l *Lab) putWorkspace(w http.ResponseWriter, r *http.Request) error {
	var body json.RawMessage
	if err := httpx.ReadJSON(w, r, maxWorkspaceBytes, &body); err != nil {
		return err
	}
	if err := l.workspaces.put(mux.Vars(r)["id"], body); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (l *Lab) deleteWorkspace(w http.ResponseWriter, r *http.Request) error {
	if err := l.workspaces.delete(mux.Vars(r)["id"]); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (l *Lab) getLicenses(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	format := q.Get("format")
	if format == "" {
		format = "json"
	}
	report, ok := licenseReports[format]
	if !ok {
		return fault.New(fault.Invalid, "format: json, csv and markdown are known, not %.100q", format)
	}
	pattern := q.Get("bundles")
	if !q.Has("bundles") {
		pattern = ".*"
	}
	bundles, err := l.licenses(l.finder.find(), pattern)
	if err != nil {
		return err
	}
	body, err := report.write(bundles, q.Get("full_text") != "false")
	if err != nil {
		return fault.Wrap(fault.Internal, err, "write the report")
	}
	h := w.Header()
	h.Set("Content-Type", report.contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if d := q.Get("download"); d != "" && d != "0" && d != "false" {
		h.Set("Content-Disposition", `attachment; filename="jupyterlab-licenses`+report.ext+`"`)
	}
	_, _ = w.Write(body) // a client that has gone is the access log's business
	return nil
}

func (l *Lab) getListings(w http.ResponseWriter, r *http.Request) error {
	if mux.Vars(r)["file"] != listingsPath {
		return fault.New(fault.Invalid, "the only listing is %s", listingsPath)
	}
	return httpx.WriteJSON(w, http.StatusOK, l.listings.get(r.Context()))
}

func (l *Lab) getPlugins(w http.ResponseWriter, _ *http.Request) error {
	return httpx.WriteJSON(w, http.StatusOK, map[string]any{"lockRules": []string{}, "allLocked": true})
}
