package lab

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLabPage(t *testing.T) {
	s := newSite(t, func(s *site) { s.server.BaseURL = "/a%40b/" })
	w := s.get("/lab?token=secret")
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "text/html; charset=utf-8", w.Header().Get("Content-Type"))
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	require.Contains(t, w.Header().Get("Set-Cookie"), "_xsrf=", "the page's scripts need it")
	require.Contains(t, w.Body.String(), `<script defer src="/a%40b/static/lab/`+hashedScript+`?v=efd36b46f3b45eb8">`)
	require.Contains(t, w.Body.String(), `href="/a%40b/static/favicons/favicon.ico"`)
	require.Contains(t, w.Body.String(), "<title>JupyterLab</title>")
	require.NotContains(t, w.Body.String(), "custom.css")

	c := s.pageConfig("/lab")
	for key, want := range map[string]any{
		"appName": "JupyterLab", "appVersion": "4.6.6", "appNamespace": "lab", "appUrl": "/lab", "baseUrl": "/a%40b/", "wsUrl": "", "fullStaticUrl": "/a%40b/static/lab",
		"fullAppUrl": "/a%40b/lab", "fullTranslationsApiUrl": "/a%40b/lab/api/translations", "settingsUrl": "/lab/api/settings", "mode": "multiple-document",
		"workspace": "default", "treePath": "", "preferredPath": "/", "notebookVersion": "[2, 21, 1]", "terminalsAvailable": true, "serverRoot": "/srv/nb",
		"rootUri": "file:///srv/nb", "virtualDocumentsUri": "file:///srv/nb/.virtual_documents",
		"buildAvailable": false, "disabledExtensions": []any{"old:plugin", "kept:plugin", "other:plugin"},
	} {
		if list, ok := want.([]any); ok {
			require.ElementsMatch(t, list, c[key], key)
			continue
		}
		require.Equal(t, want, c[key], key)
	}
	require.Equal(t, []any{map[string]any{"name": "@org/git", "load": "static/remoteEntry.0123456789abcdef.js", "extension": "./extension", "style": "./style", "entrypoints": nil}},
		c["federated_extensions"])
	require.Contains(t, s.log.String(), "an extension is left out", "one that is broken")
}

// S6: the page is known to scripts of extensions, and goes through caches and screenshots: no secret is in it.
func TestNoTokenInThePage_S6(t *testing.T) {
	s := newSite(t, func(s *site) { s.server.Env["NBSERV_TOKEN"] = "tell-nobody" })
	for _, path := range []string{"/lab?token=tell-nobody", "/tree?token=tell-nobody"} {
		require.NotContains(t, s.get(path).Body.String(), "tell-nobody")
	}
	require.Equal(t, "", s.pageConfig("/lab")["token"])
}

func TestAddressesOfPages(t *testing.T) {
	s := newSite(t, nil)
	for path, want := range map[string]map[string]any{
		"/lab/tree/a%20b/c.ipynb":         {"treePath": "a b/c.ipynb", "workspace": "default", "mode": "multiple-document"},
		"/lab/workspaces/w-1_x":           {"treePath": "", "workspace": "w-1_x"},
		"/lab/workspaces/w/tree/x.md":     {"treePath": "x.md", "workspace": "w"},
		"/doc/tree/x.md":                  {"treePath": "x.md", "mode": "single-document"},
		"/doc/workspaces/w":               {"workspace": "w", "mode": "single-document"},
		"/lab/nothing%20here":             {"notFoundUrl": "/lab/nothing%20here"},
		"/lab/workspaces/with.dot":        {"notFoundUrl": "/lab/workspaces/with.dot"},
		"/lab/tree/%3C/script%3E%22'.txt": {"treePath": `</script>"'.txt`},
	} {
		c := s.pageConfig(path)
		for key, v := range want {
			require.Equal(t, v, c[key], "%s: %s", path, key)
		}
	}
	for path, want := range map[string]string{
		"/lab/":                           "/lab",
		"/lab/tree/?reset":                "/lab/tree?reset",
		"/lab/%2F%2Fevil.example/":        "/lab/%2F%2Fevil.example",
		"/tree/dir/a%20b.ipynb":           "/notebooks/dir/a%20b.ipynb",
		"/tree/x.txt":                     "/files/x.txt",
		"/notebooks/dir":                  "/tree/dir",
		"/notebooks":                      "/tree/",
		"/notebooks/dir/a%20b.ipynb/?x=1": "/notebooks/dir/a%20b.ipynb?x=1",
		"/lab//":                          "/lab",
	} {
		w := s.get(path)
		require.Equal(t, http.StatusFound, w.Code, path)
		require.Equal(t, want, w.Header().Get("Location"), path)
	}
	for path, want := range map[string]int{"/doc/x": 404, "/lab/api/x": 404, "/tree/hidden": 404, "/tree/..%2Fx": 400} {
		require.Equal(t, want, s.get(path).Code, path)
	}
}

func TestNotebookPages(t *testing.T) {
	s := newSite(t, func(s *site) { s.server.BaseURL = "/b/" })
	for path, want := range map[string]string{"/tree": "tree", "/tree/dir": "tree", "/notebooks/dir/a%20b.ipynb": "notebooks", "/notebooks/new.ipynb": "notebooks",
		"/edit/x.txt": "edit", "/consoles/x": "consoles", "/terminals/1": "terminals"} {
		c := s.pageConfig(path)
		require.Equal(t, want, c["notebookPage"], path)
		require.Equal(t, "/b/static/notebook", c["fullStaticUrl"])
		require.Equal(t, "7.6.5", c["appVersion"])
		require.Equal(t, "/b/", c["frontendUrl"])
		require.Equal(t, "", c["token"])
	}
	require.Equal(t, "dir", s.pageConfig("/tree/dir")["treePath"])
	require.Equal(t, "tree", s.get("/static/notebook/tree.js").Body.String())
	w := s.get("/custom/custom.css")
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "text/css; charset=utf-8", w.Header().Get("Content-Type"))
	write(t, filepath.Join(s.config, "custom", "custom.css"), "i{}")
	require.Equal(t, "i{}", s.get("/custom/custom.css").Body.String())
}

// What packages, administrators and users say of the page is put together as jupyterlab_server does it.
func TestPageConfigOverlay(t *testing.T) {
	s := newSite(t, func(s *site) { s.server.Config.CustomCSS = true })
	settings := filepath.Join(s.prefix, "share/jupyter/lab/settings")
	write(t, filepath.Join(settings, "page_config.json"), `{"disabledExtensions": ["a", "b"], "deferredExtensions": ["c"], "from": "package"}`)
	write(t, filepath.Join(s.prefix, "etc/jupyter/labconfig/page_config.json"), `{"disabledExtensions": {"b": false, "kept:plugin": false}, "lockedExtensions": {"l": true, "m": false}, "from": "admin"}`)
	write(t, filepath.Join(s.config, "labconfig/page_config.json"), `{"disabledExtensions": {"@org/git": true}, "from": "user", "quitButton": false}`)
	c := s.pageConfig("/lab")
	require.ElementsMatch(t, []any{"a", "@org/git", "old:plugin"}, c["disabledExtensions"], "what a disabled extension asks for does not count")
	require.Equal(t, []any{"c"}, c["deferredExtensions"])
	require.Equal(t, []any{"l"}, c["lockedExtensions"])
	require.Equal(t, "user", c["from"])
	require.Equal(t, false, c["quitButton"])
	require.Contains(t, s.get("/lab").Body.String(), "custom/custom.css")

	write(t, filepath.Join(settings, "page_config.json5"), `{disabledExtensions: {x: true}, /* first */}`)
	require.Contains(t, s.pageConfig("/lab")["disabledExtensions"], "x")
	write(t, filepath.Join(settings, "page_config.json5"), `{`)
	require.NotContains(t, s.pageConfig("/lab")["disabledExtensions"], "x")
	require.Contains(t, s.log.String(), "page_config beside JupyterLab cannot be used")
}

// An extension may say what it disables as an object too.
func TestDisabledAsAnObject(t *testing.T) {
	s := newSite(t, nil)
	write(t, filepath.Join(s.prefix, "share/jupyter/labextensions/more/package.json"), `{"name": "more", "jupyterlab": {"disabledExtensions": {"x": true, "y": false, "z": 1}}}`)
	off := s.pageConfig("/lab")["disabledExtensions"]
	require.Contains(t, off, "x")
	require.Contains(t, off, "z")
	require.NotContains(t, off, "y")
}

// Without JupyterLab its addresses say how it is installed; once it is, they show it.
func TestWithoutLab(t *testing.T) {
	s := newSite(t, func(s *site) { s.remove("share"); s.remove("lib/python3.12/site-packages/notebook") })
	require.False(t, s.lab.Installed())
	for _, path := range []string{"/lab", "/lab/tree/x", "/tree", "/edit/x"} {
		w := s.get(path)
		require.Equal(t, http.StatusNotFound, w.Code)
		require.Contains(t, w.Body.String(), "nbserv lab install")
		require.Contains(t, w.Header().Get("Content-Security-Policy"), "default-src 'none'")
	}
	require.Equal(t, http.StatusNotFound, s.get("/static/lab/x.js").Code)
	require.Empty(t, s.json("/lab/api/settings")["settings"])
	require.Empty(t, s.json("/lab/api/licenses")["bundles"])
	write(t, filepath.Join(s.prefix, "share/jupyter/lab/static/index.html"), labTemplate)
	require.True(t, s.lab.Installed())
	require.Equal(t, "JupyterLab Server Application", s.pageConfig("/lab")["appName"])
	w := s.get("/tree")
	require.Contains(t, w.Body.String(), "Jupyter Notebook is not installed")
	require.Contains(t, w.Body.String(), `href="/lab"`)
}

// S12: a page that cannot be made shows no path of the server's.
func TestBrokenTemplate_S12(t *testing.T) {
	s := newSite(t, nil)
	write(t, filepath.Join(s.prefix, "share/jupyter/lab/static/index.html"), `{% for x in y %}`)
	w := s.get("/lab")
	require.Equal(t, http.StatusInternalServerError, w.Code)
	require.NotContains(t, w.Body.String(), s.prefix)
	require.NoError(t, os.Remove(filepath.Join(s.prefix, "lib/python3.12/site-packages/notebook/templates/edit.html")))
	require.Equal(t, http.StatusInternalServerError, s.get("/edit/x").Code)
}

func TestTemplate(t *testing.T) {
	vars := func() map[string]any {
		return map[string]any{"a": map[string]any{"b": `<"x">`}, "yes": true, "base": "/<>/", "empty": "",
			"raw": json.RawMessage(`"<text>"`), "off": json.RawMessage("false")}
	}
	for text, want := range map[string]string{
		"plain {x} % #":                                       "plain {x} % #",
		"{{ base | escape }}{{base}}":                         "/&lt;&gt;//&lt;&gt;/",
		"{{ a.b }}{{ a['b'] | e }}{{a[\"b\"]}}":               strings.Repeat("&lt;&#34;x&#34;&gt;", 3),
		"{{ nothing }}{{ a.nothing.more }}":                   "",
		"{% if yes %}1{% else %}2{% endif %}":                 "1",
		"{% if not yes %}1{% else %}2{% endif %}":             "2",
		"{%- if no -%}1{%- endif -%}3":                        "3",
		"{% if yes %}{% if no %}1{% endif %}2{% endif %}":     "2",
		"{% block x %}{% set c = 'd' %}{{ c }}{% endblock %}": "d",
		"{% set c = a.copy() %}{% set _ = c.update(b='n', z=base) %}{{ c.b }}{{ c.z }}{{ a.b }}":                                    "n/&lt;&gt;/&lt;&#34;x&#34;&gt;",
		"{% if raw %}1{% endif %}{% if off %}2{% endif %}{% if base %}3{% endif %}{% if empty %}4{% endif %}{% if a %}5{% endif %}": "135",
		"{{ raw }}{{ off }}{{ yes }}": "&lt;text&gt;false",
		"{{ a.b | tojson }}":          `"\u003c\"x\"\u003e"`,
	} {
		p, err := parseTemplate(text)
		require.NoError(t, err, text)
		got, err := p.render(vars())
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"{% for a in b %}", "{% if a %}", "{% block b %}", "{% endif %}", "{% else %}", "{{ a | upper }}", "{{ a + b }}", "{{ }}", "{{ a.pop() }}",
		"{{ a.copy(b=1) }}", "{{ a.update(b) }}", "{{ a.update(b='c' }}", "{% set a %}", "{% include 'x' %}", "{% if a %}{% endblock %}"} {
		_, err := parseTemplate(text)
		require.Error(t, err, text)
	}
	p, err := parseTemplate("{% set _ = base.update(a='b') %}")
	require.NoError(t, err)
	_, err = p.render(vars())
	require.ErrorContains(t, err, "no dictionary")
}

func FuzzTemplate(f *testing.F) {
	f.Add(labTemplate)
	f.Add(notebookTemplate)
	f.Add("{%%}{{}}{##}{%set%}{% if not %}{{ a['b'].c.copy().update(d='e') | tojson }}")
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := parseTemplate(text); err == nil {
			_, _ = p.render(map[string]any{"page_config": map[string]any{"a": "b"}, "a": map[string]any{}})
		}
	})
}
