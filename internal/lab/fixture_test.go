package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gorilla/mux"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site is a Python installation with a small JupyterLab, and a server for it.
type site struct {
	t      testing.TB
	prefix string // of the installation
	config string // Jupyter's folder of the user's configuration
	server Server
	log    bytes.Buffer
	lab    *Lab
	router *mux.Router
}

const (
	hashedScript = "main.efd36b46f3b45eb8.js"
	labTemplate  = `<!doctype html><title>{{page_config['appName'] | e}}</title>{# Copy. #} {% set page_config_full = page_config.copy() %}
{% set _ = page_config_full.update(baseUrl=base_url, wsUrl=ws_url) %}<script id="jupyter-config-data" type="application/json">{{ page_config_full | tojson }}</script>
{% block favicon %}<link rel="icon" href="{{ base_url | escape }}static/favicons/favicon.ico">{% endblock %}{% if custom_css %}<link href="{{ base_url | escape }}custom/custom.css">{% endif %}
<script defer src="{{page_config.fullStaticUrl}}/` + hashedScript + `?v=efd36b46f3b45eb8"></script>`
	notebookTemplate = `{% set page_config_full = page_config.copy() %}{% set _ = page_config_full.update(baseUrl=base_url, wsUrl=ws_url, notebookPage='NAME') %}<script type="application/json">{{ page_config_full | tojson }}</script>`

	themesID = "@jupyterlab/apputils-extension:themes"
	localeID = "@jupyterlab/translation-extension:plugin"
	gitID    = "@org/git:panel" // of an extension
)

// files of the installation, below its prefix.
var files = map[string]string{
	"bin/python3":                              "\x7fELF",
	"lib/python3.12/os.py":                     "",
	"share/jupyter/lab/static/index.html":      labTemplate,
	"share/jupyter/lab/static/" + hashedScript: strings.Repeat("console.log('lab');\n", 200),
	"share/jupyter/lab/static/style.css":       "body{}",
	"share/jupyter/lab/static/package.json": `{"name": "@jupyterlab/application-top", "version": "4.6.6", "jupyterlab": {"name": "JupyterLab", "version": "4.6.6",
		"extensionMetadata": {"built-in": {"disabledExtensions": ["old:plugin"]}}}}`,
	"share/jupyter/lab/static/third-party-licenses.json":         `{"packages": [{"name": "react", "versionInfo": "18.0.0", "licenseId": "MIT", "extractedText": "a \"text\""}, {"name": "bare"}]}`,
	"share/jupyter/lab/themes/@jupyterlab/theme-light/index.css": "a{background:url('images/a.svg')}",
	"share/jupyter/lab/schemas/@jupyterlab/apputils-extension/themes.json": `{"title": "Theme", "jupyter.lab.menus": {"main": [{"id": "m", "items": [{"label": "Look"}]}]},
		"properties": {"theme": {"type": "string", "title": "Selected", "default": "JupyterLab Light"}, "adaptive": {"type": "boolean", "default": false},
		"overrides": {"type": "object", "default": {"b": 1.0, "a": "x"}}}, "additionalProperties": false, "type": "object"}`,
	"share/jupyter/lab/schemas/@jupyterlab/apputils-extension/package.json.orig": `{"version": "4.6.6"}`,
	"share/jupyter/lab/schemas/@jupyterlab/translation-extension/plugin.json":    `{"properties": {"locale": {"type": "string", "default": "default"}}, "type": "object"}`,
	"share/jupyter/labextensions/@org/git/package.json": `{"name": "@org/git", "version": "0.1.0rc1", "description": "Git", "author": {"name": "Org"}, "license": "BSD-3-Clause",
		"repository": {"url": "https://example.org/git"}, "bugs": "https://example.org/bugs",
		"jupyterlab": {"_build": {"load": "static/remoteEntry.0123456789abcdef.js", "extension": "./extension", "style": "./style"}, "disabledExtensions": ["other:plugin", "kept:plugin"],
		"discovery": {"server": {}}}}`,
	"share/jupyter/labextensions/@org/git/install.json":                                          `{"packageManager": "python"}`,
	"share/jupyter/labextensions/@org/git/static/remoteEntry.0123456789abcdef.js":                "entry",
	"share/jupyter/labextensions/@org/git/themes/@org/git/index.css":                             "b{}",
	"share/jupyter/labextensions/@org/git/schemas/@org/git/panel.json":                           `{"properties": {"depth": {"type": "integer", "minimum": 1, "default": 1}}, "type": "object"}`,
	"share/jupyter/labextensions/unbuilt/package.json":                                           `{"name": "unbuilt", "version": "1.0.0"}`,
	"share/jupyter/labextensions/broken/package.json":                                            `{"name": `,
	"lib/python3.12/site-packages/notebook/templates/tree.html":                                  strings.ReplaceAll(notebookTemplate, "NAME", "tree"),
	"lib/python3.12/site-packages/notebook/templates/notebooks.html":                             strings.ReplaceAll(notebookTemplate, "NAME", "notebooks"),
	"lib/python3.12/site-packages/notebook/templates/edit.html":                                  strings.ReplaceAll(notebookTemplate, "NAME", "edit"),
	"lib/python3.12/site-packages/notebook/templates/consoles.html":                              strings.ReplaceAll(notebookTemplate, "NAME", "consoles"),
	"lib/python3.12/site-packages/notebook/templates/terminals.html":                             strings.ReplaceAll(notebookTemplate, "NAME", "terminals"),
	"lib/python3.12/site-packages/notebook/static/tree.js":                                       "tree",
	"lib/python3.12/site-packages/notebook-7.6.5.dist-info/METADATA":                             "",
	"lib/python3.12/site-packages/jupyterlab_language_pack_fr_fr-4.5.dist-info/entry_points.txt": "[jupyterlab.languagepack]\nfr_FR = jupyterlab_language_pack_fr_FR\nach_UG = pseudo\nzz_bad_name_ = pseudo\n",
	"lib/python3.12/site-packages/jupyterlab_language_pack_fr_FR/locale/fr_FR/LC_MESSAGES/jupyterlab.json": `{"": {"domain": "jupyterlab", "language": "fr-FR", "version": "4.5.0"},
		"schema\u0004Theme": ["Thème"], "settings\u0004Selected": ["Choisi"], "menu\u0004Look": ["Aspect"], "File": ["Fichier"]}`,
	"lib/python3.12/site-packages/pseudo/__init__.py":                                 "",
	"lib/python3.12/site-packages/git-0.1.dist-info/entry_points.txt":                 "[console_scripts]\ngit = git:main\n\n[jupyterlab.locale]\ngit_panel = git_panel\njupyterlab = git_panel:texts [extra]\n",
	"lib/python3.12/site-packages/git_panel/locale/fr_fr/LC_MESSAGES/git_panel.json":  `{"": {"version": "1"}, "Push": ["Pousser"]}`,
	"lib/python3.12/site-packages/git_panel/locale/fr_fr/LC_MESSAGES/jupyterlab.json": `{"": {"domain": "jupyterlab", "version": "4.10.0"}, "File": ["Dossier"]}`,
}

func write(t testing.TB, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o755))
}

// newSite installs the files and makes a server for them; change may change it before.
func newSite(t testing.TB, change func(*site)) *site {
	t.Helper()
	home := t.TempDir()
	s := &site{t: t, prefix: filepath.Join(home, "env"), config: filepath.Join(home, "config")}
	for name, text := range files {
		write(t, filepath.Join(s.prefix, name), text)
	}
	s.server = Server{
		BaseURL: "/",
		Env: map[string]string{"HOME": home, "JUPYTER_CONFIG_DIR": s.config, "PATH": filepath.Join(s.prefix, "bin"), "PYTHONNOUSERSITE": "1", "LANG": "C.UTF-8",
			"JUPYTER_PLATFORM_DIRS": "1", "XDG_DATA_DIRS": home, "XDG_CONFIG_DIRS": home}, // nothing of this machine's
		Page: PageFacts{RootDir: "/srv/nb", ServerVersion: "2.21.1", Terminals: true},
		XSRF: func(w http.ResponseWriter, _ *http.Request) {
			http.SetCookie(w, &http.Cookie{Name: "_xsrf", Value: "x"})
		},
		Fail: httpx.WriteError,
		Look: func(_ context.Context, path string) (Kind, error) {
			switch path {
			case "", "dir":
				return Directory, nil
			case "dir/a b.ipynb":
				return Notebook, nil
			case "x.txt":
				return File, nil
			case "../x":
				return Missing, fault.New(fault.Invalid, "not a path")
			}
			return Missing, nil
		},
	}
	s.server.Log = slog.New(slog.NewTextHandler(&s.log, nil))
	if change != nil {
		change(s)
	}
	s.lab, s.router = New(s.server), mux.NewRouter().SkipClean(true)
	s.lab.Register(s.router)
	return s
}

// remove takes a part of the installation away again.
func (s *site) remove(name string) {
	s.t.Helper()
	require.NoError(s.t, os.RemoveAll(filepath.Join(s.prefix, name)))
}

func (s *site) ask(method, path, body string, header ...string) *httptest.ResponseRecorder {
	s.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.router.ServeHTTP(w, r)
	return w
}

func (s *site) get(path string, header ...string) *httptest.ResponseRecorder {
	s.t.Helper()
	return s.ask(http.MethodGet, path, "", header...)
}

// json asks for an object.
func (s *site) json(path string) map[string]any {
	s.t.Helper()
	w := s.get(path)
	require.Equal(s.t, http.StatusOK, w.Code, "%s: %s", path, w.Body)
	require.Equal(s.t, "application/json", w.Header().Get("Content-Type"))
	var v map[string]any
	require.NoError(s.t, json.Unmarshal(w.Body.Bytes(), &v))
	return v
}

// config asks for a page and reads its configuration.
func (s *site) pageConfig(path string) map[string]any {
	s.t.Helper()
	w := s.get(path)
	require.Equal(s.t, http.StatusOK, w.Code, "%s: %s", path, w.Body)
	_, rest, ok := strings.Cut(w.Body.String(), `application/json">`)
	require.True(s.t, ok)
	raw, _, ok := strings.Cut(rest, "</script>")
	require.True(s.t, ok)
	var v map[string]any
	require.NoError(s.t, json.Unmarshal([]byte(raw), &v), raw)
	return v
}
