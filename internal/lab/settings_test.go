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

// put sends settings as JupyterLab does.
func (s *site) put(id, raw string) (code int, message string) {
	s.t.Helper()
	body, err := json.Marshal(map[string]string{"raw": raw})
	require.NoError(s.t, err)
	w := s.ask(http.MethodPut, "/lab/api/settings/"+id, string(body))
	return w.Code, w.Body.String()
}

func TestSettings(t *testing.T) {
	s := newSite(t, nil)
	var ids []string
	for _, one := range s.json("/lab/api/settings?ids_only=true")["settings"].([]any) {
		require.Len(t, one, 1)
		ids = append(ids, one.(map[string]any)["id"].(string))
	}
	require.Equal(t, []string{gitID, localeID, themesID}, ids, "in descending order")
	list := s.json("/lab/api/settings/")["settings"].([]any)
	require.Len(t, list, 3)
	themes := list[2].(map[string]any)
	require.Equal(t, "4.6.6", themes["version"])
	require.Equal(t, "N/A", list[0].(map[string]any)["version"])
	require.Equal(t, "{}", themes["raw"])
	require.Nil(t, themes["last_modified"])
	require.Contains(t, themes, "warning")
	one := s.get("/lab/api/settings/" + themesID).Body.String()
	require.Contains(t, one, `"default":{"b":1.0,"a":"x"}`, "numbers keep their digits, members their order")
	require.Less(t, strings.Index(one, `"theme"`), strings.Index(one, `"adaptive"`))
	require.NotContains(t, one, "warning")
	for _, id := range []string{"x", "@jupyterlab/apputils-extension:none", "a:b:c", "..%2F..%2Fsettings:x", ":", "@jupyterlab/apputils-extension/..:themes", "%00:x"} {
		require.Equal(t, http.StatusNotFound, s.get("/lab/api/settings/"+id).Code, id)
		code, _ := s.put(id, "{}")
		require.Equal(t, http.StatusNotFound, code, id)
	}
}

// What users write is kept as they wrote it, in jupyterlab_server's place, and survives (P2).
func TestSettingsAreKept_P2(t *testing.T) {
	s := newSite(t, nil)
	const raw = "{\n  // my own\n  theme: 'Dark', 'adaptive': true,\n}"
	code, message := s.put(themesID, raw)
	require.Equal(t, http.StatusNoContent, code, message)
	kept, err := os.ReadFile(filepath.Join(s.config, "lab/user-settings/@jupyterlab/apputils-extension/themes.jupyterlab-settings"))
	require.NoError(t, err)
	require.Equal(t, raw, string(kept))
	m := s.json("/lab/api/settings/" + themesID)
	require.Equal(t, raw, m["raw"])
	require.Equal(t, map[string]any{"theme": "Dark", "adaptive": true}, m["settings"])
	require.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00$`, m["last_modified"])
	require.NotEmpty(t, m["created"])
	code, _ = s.put(gitID, `{depth: 2}`)
	require.Equal(t, http.StatusNoContent, code, "an extension's")
	left, err := filepath.Glob(filepath.Join(s.config, "lab/user-settings/*/*/.nbserv-*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// P13, S12: what does not fit is refused with the reason, and nothing is written.
func TestSettingsThatDoNotFit_P13_S12(t *testing.T) {
	s := newSite(t, nil)
	for raw, want := range map[string]string{
		`{theme: 1}`: "theme", `{more: 1}`: "more", `{`: "line 1", `[]`: "object", ``: "ends too early", `"{}"`: "object", `{theme: NaN}`: "NaN",
	} {
		code, message := s.put(themesID, raw)
		require.Equal(t, http.StatusBadRequest, code, raw)
		require.Contains(t, message, want, raw)
		require.NotContains(t, message, s.prefix)
	}
	for _, body := range []string{`"eh"`, `{}`, `{"raw": 1}`, `{"raw": null}`, `{`, `[]`, ``} {
		require.Equal(t, http.StatusBadRequest, s.ask(http.MethodPut, "/lab/api/settings/"+themesID, body).Code, body)
	}
	code, _ := s.put(themesID, `{theme: "`+strings.Repeat("x", maxSettingsBytes)+`"}`)
	require.Equal(t, http.StatusRequestEntityTooLarge, code)
	require.NoDirExists(t, filepath.Join(s.config, "lab"))
}

// A file that somebody mistyped in does not keep JupyterLab from starting, and is not lost when it is replaced.
func TestBrokenSettingsFile(t *testing.T) {
	s := newSite(t, nil)
	file := filepath.Join(s.config, "lab/user-settings/@jupyterlab/apputils-extension/themes.jupyterlab-settings")
	for _, broken := range []string{"{theme: 'x' adaptive: true}", `{"theme": 1}`, "[]", "\xff"} {
		write(t, file, broken)
		m := s.json("/lab/api/settings/" + themesID)
		require.Equal(t, "{}", m["raw"])
		require.Empty(t, m["settings"])
		require.NotNil(t, m["last_modified"])
		require.Contains(t, s.json("/lab/api/settings")["settings"].([]any)[2].(map[string]any)["warning"], "the settings are not used")
	}
	write(t, file, "// by hand\n{theme: 'x' adaptive: true}")
	code, _ := s.put(themesID, `{"theme": "x"}`)
	require.Equal(t, http.StatusNoContent, code)
	kept, err := os.ReadFile(file + brokenExt)
	require.NoError(t, err)
	require.Contains(t, string(kept), "// by hand")
	write(t, file, "")
	require.Equal(t, "{}", s.json("/lab/api/settings/" + themesID)["raw"])
	require.NoError(t, os.Remove(file))
	require.NoError(t, os.Mkdir(file, 0o755))
	require.Equal(t, "{}", s.json("/lab/api/settings/" + themesID)["raw"])
}

func TestOverrides(t *testing.T) {
	s := newSite(t, nil)
	settings := filepath.Join(s.prefix, "share/jupyter/lab/settings")
	write(t, filepath.Join(settings, "overrides.d/b.json5"), `{"`+themesID+`": {theme: "B", overrides: {a: "b", c: 2.50}}} // later`)
	write(t, filepath.Join(settings, "overrides.d/a.json"), `{"`+themesID+`": {"theme": "A", "adaptive": true}}`)
	write(t, filepath.Join(settings, "overrides.json"), `{"`+themesID+`": {"more": {"x": 1}}, "nobody:knows": {"y": 2}}`)
	write(t, filepath.Join(settings, "overrides.json5"), `{`)
	defaults := func() map[string]any {
		all := map[string]any{}
		for name, p := range s.json("/lab/api/settings/" + themesID)["schema"].(map[string]any)["properties"].(map[string]any) {
			all[name] = p.(map[string]any)["default"]
		}
		return all
	}
	require.Equal(t, map[string]any{"theme": "B", "adaptive": true, "overrides": map[string]any{"a": "b", "b": 1.0, "c": 2.5}, "more": map[string]any{"x": 1.0}}, defaults())
	require.Contains(t, s.log.String(), "a file of overrides cannot be used")
	write(t, filepath.Join(s.config, "labconfig/default_setting_overrides.json"), `{"`+themesID+`": {"theme": "mine"}}`)
	require.Equal(t, "mine", defaults()["theme"])
	code, message := s.put(themesID, `{more: {}}`)
	require.Equal(t, http.StatusNoContent, code, "the schema is the one with the overrides: %s", message)
}

// One extension's broken schema does not take all settings away; one that cannot be checked against checks nothing.
func TestBrokenSchemas(t *testing.T) {
	s := newSite(t, nil)
	dir := filepath.Join(s.prefix, "share/jupyter/labextensions/bad/schemas/bad")
	write(t, filepath.Join(dir, "json.json"), `{`)
	write(t, filepath.Join(dir, "list.json"), `[]`)
	write(t, filepath.Join(dir, "regexp.json"), `{"properties": {"a": {"type": "string", "pattern": "(?=x)"}}}`)
	write(t, filepath.Join(dir, "ref.json"), `{"$ref": "file:///etc/passwd"}`)
	require.Len(t, s.json("/lab/api/settings")["settings"], 5)
	require.Equal(t, http.StatusInternalServerError, s.get("/lab/api/settings/bad:json").Code)
	for _, id := range []string{"bad:regexp", "bad:ref"} {
		code, message := s.put(id, `{a: "y"}`)
		require.Equal(t, http.StatusNoContent, code, message)
		require.Equal(t, map[string]any{"a": "y"}, s.json("/lab/api/settings/" + id)["settings"])
	}
	write(t, filepath.Join(dir, "json.json"), `{"title": "mended"}`)
	require.Equal(t, "mended", s.json("/lab/api/settings/bad:json")["schema"].(map[string]any)["title"], "what changed is read again")
}

func TestExtensionSchemaWins(t *testing.T) {
	s := newSite(t, nil)
	write(t, filepath.Join(s.prefix, "share/jupyter/labextensions/@org/git/schemas/@jupyterlab/apputils-extension/themes.json"), `{"title": "replaced"}`)
	require.Equal(t, "replaced", s.json("/lab/api/settings/" + themesID)["schema"].(map[string]any)["title"])
}

func BenchmarkSettingsList(b *testing.B) {
	s := realSite(b)
	for b.Loop() {
		if w := s.get("/lab/api/settings"); w.Code != http.StatusOK {
			b.Fatal(w.Code)
		}
	}
}

func BenchmarkLabPage(b *testing.B) {
	s := realSite(b)
	for b.Loop() {
		if w := s.get("/lab"); w.Code != http.StatusOK {
			b.Fatal(w.Code)
		}
	}
}
