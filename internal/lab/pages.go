package lab

import (
	"cmp"
	"embed"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/gorilla/mux"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
	"github.com/nbserv/nbserv/internal/page"
)

//go:embed pages/*.html
var pageFiles embed.FS

var ownPages = page.Parse(pageFiles, "pages/*.html")

// maxTemplateBytes bounds a page template; real ones have 2 KB.
const maxTemplateBytes = 1 << 20

// labPath is an address below lab or doc that names a workspace, a file, both or neither.
var labPath = regexp.MustCompile(`^(lab|doc)(?:/workspaces/([a-zA-Z0-9\-_]+))?(?:/tree/((?s:.*)))?$`)

// Has tells whether a path is one of the pages of JupyterLab or Jupyter Notebook.
func Has(path string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return slices.Contains([]string{"lab", "doc", "tree", "notebooks", "edit", "consoles", "terminals"}, first)
}

func (l *Lab) registerPages(handle func(string, httpx.Handler)) {
	for _, p := range []string{"/lab", "/lab/{path:(?s:.*)}", "/doc", "/doc/{path:(?s:.*)}"} {
		handle(p, l.getLab)
	}
	handle("/tree", l.getTree)
	handle("/tree/{path:(?s:.*)}", l.getTree)
	handle("/notebooks", l.getNotebook)
	handle("/notebooks/{path:(?s:.*)}", l.getNotebook)
	for _, name := range []string{"edit", "consoles"} {
		handle("/"+name+"/{path:(?s:.*)}", l.notebookPage(name))
	}
	handle("/terminals/{name:[^/]+}", l.notebookPage("terminals"))
	handle("/custom/custom.css", l.getCustomCSS)
}

// getLab shows JupyterLab. Below lab every address is a page of it: the page itself says when there is nothing.
func (l *Lab) getLab(w http.ResponseWriter, r *http.Request) error {
	path := strings.TrimPrefix(r.URL.Path, "/")
	if list, ok := l.lists[strings.TrimSuffix(r.URL.Path, "/")]; ok {
		return list(w, r)
	}
	if strings.HasSuffix(path, "/") {
		trimmed := strings.TrimRight(strings.TrimLeft(r.URL.EscapedPath(), "/"), "/")
		return l.redirect(w, trimmed, r.URL.RawQuery)
	}
	if strings.HasPrefix(path, "lab/api/") {
		return fault.New(fault.NotFound, "there is nothing at this address")
	}
	m := labPath.FindStringSubmatch(path)
	if m == nil && !strings.HasPrefix(path, "lab") {
		return fault.New(fault.NotFound, "there is nothing at this address")
	}
	in := l.finder.find()
	if in.Lab == nil {
		return l.showMissing(w, in)
	}
	more := map[string]any{}
	if m == nil {
		more["notFoundUrl"] = l.base + strings.TrimPrefix(r.URL.EscapedPath(), "/")
	} else {
		more["workspace"] = cmp.Or(m[2], "default")
		more["treePath"] = m[3]
		if m[1] == "doc" {
			more["mode"] = "single-document"
		}
	}
	return l.show(w, r, in, in.Lab, "lab", "index", more)
}

// getTree shows Jupyter Notebook's list of a folder. A notebook leads to its page, another file to itself.
func (l *Lab) getTree(w http.ResponseWriter, r *http.Request) error {
	path := strings.Trim(mux.Vars(r)["path"], "/")
	kind, err := l.look(r.Context(), path)
	if err != nil {
		return err
	}
	switch kind {
	case Directory:
		return l.showNotebook(w, r, "tree", map[string]any{"treePath": path})
	case Notebook:
		return l.redirect(w, "notebooks/"+escapePath(path), "")
	case File:
		return l.redirect(w, "files/"+escapePath(path), "")
	}
	return fault.New(fault.NotFound, "there is no file or folder %.200q", path)
}

// getNotebook shows a notebook in a page of its own. A folder leads to its list.
func (l *Lab) getNotebook(w http.ResponseWriter, r *http.Request) error {
	path := strings.Trim(mux.Vars(r)["path"], "/")
	kind, err := l.look(r.Context(), path)
	if err != nil {
		return err
	}
	switch {
	case kind == Directory:
		return l.redirect(w, "tree/"+escapePath(path), "")
	case strings.HasSuffix(r.URL.Path, "/"):
		return l.redirect(w, "notebooks/"+escapePath(path), r.URL.RawQuery)
	}
	return l.showNotebook(w, r, "notebooks", nil) // of one that is not there the page says so
}

func (l *Lab) notebookPage(name string) httpx.Handler {
	return func(w http.ResponseWriter, r *http.Request) error { return l.showNotebook(w, r, name, nil) }
}

func (l *Lab) showNotebook(w http.ResponseWriter, r *http.Request, name string, more map[string]any) error {
	in := l.finder.find()
	if in.Notebook == nil {
		return l.showMissing(w, in)
	}
	all := map[string]any{"frontendUrl": l.base}
	maps.Copy(all, more)
	return l.show(w, r, in, in.Notebook, "notebook", name, all)
}

// show writes a page of app from its template. What is on it is one user's, and names scripts of one release: it is not
// kept.
func (l *Lab) show(w http.ResponseWriter, r *http.Request, in *installation, app *application, namespace, name string, more map[string]any) error {
	config, err := l.pageConfig(in, app, namespace)
	if err != nil {
		return err
	}
	maps.Copy(config, more)
	t, err := readTemplate(filepath.Join(app.Templates, name+".html"))
	if err != nil {
		return fault.Wrap(fault.Internal, err, "the page of %s cannot be used", app.Name)
	}
	text, err := t.render(map[string]any{
		"page_config": config, "base_url": l.base, "ws_url": "",
		"custom_css": namespace == "notebook" || l.cfg.CustomCSS,
	})
	if err != nil {
		return fault.Wrap(fault.Internal, err, "the page of %s cannot be made", app.Name)
	}
	l.xsrf(w, r)
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write([]byte(text)) // a client that has gone is the access log's business
	return nil
}

func readTemplate(file string) (*pageTemplate, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	raw, err := readAtMost(f, info, maxTemplateBytes)
	if err != nil {
		return nil, err
	}
	return parseTemplate(string(raw))
}

// showMissing says how what was asked for is installed.
func (l *Lab) showMissing(w http.ResponseWriter, in *installation) error {
	p := struct {
		page.Frame
		HasLab bool
	}{page.Frame{Title: "JupyterLab is not installed", Base: l.base, Wide: true}, in.Lab != nil}
	if p.HasLab {
		p.Title = "Jupyter Notebook is not installed"
	}
	return page.Write(w, http.StatusNotFound, ownPages, "missing.html", p)
}

// redirect leads to a path below the base URL, which must be escaped.
func (l *Lab) redirect(w http.ResponseWriter, path, query string) error {
	if query != "" {
		path += "?" + query
	}
	w.Header().Set("Location", l.base+strings.TrimLeft(path, "/"))
	w.WriteHeader(http.StatusFound)
	return nil
}

// escapePath is an API path as it stands in an address.
func escapePath(path string) string {
	return strings.TrimPrefix((&url.URL{Path: "/" + path}).EscapedPath(), "/")
}

// getCustomCSS serves the style sheet of the user's configuration, which is empty unless somebody wrote one.
func (l *Lab) getCustomCSS(w http.ResponseWriter, r *http.Request) error {
	h := w.Header()
	h.Set("Content-Type", "text/css; charset=utf-8")
	h.Set("Cache-Control", revalidate)
	f, info, err := openIn([]string{filepath.Join(l.userConfig, "custom")}, "custom.css")
	if err != nil {
		return nil // an empty style sheet
	}
	defer f.Close()
	http.ServeContent(w, r, "", info.ModTime(), f)
	return nil
}
