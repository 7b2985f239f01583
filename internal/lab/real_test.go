package lab

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gorilla/mux"
	"github.com/stretchr/testify/require"
)

// realSite serves the JupyterLab that is installed for the tests.
func realSite(t testing.TB) *site {
	t.Helper()
	python := os.Getenv("NBSERV_TEST_PYTHON")
	prefix := filepath.Dir(filepath.Dir(python))
	if python == "" || !hasLab(filepath.Join(prefix, "share/jupyter/lab")) {
		t.Skip("skipped: JupyterLab itself (NBSERV_TEST_PYTHON has none; scripts/test-setup.sh installs it)")
	}
	s := newSite(t, nil)
	s.prefix = prefix
	s.server.Env["PATH"] = filepath.Join(prefix, "bin")
	s.lab, s.router = New(s.server), mux.NewRouter().SkipClean(true)
	s.lab.Register(s.router)
	return s
}

// The pages of the JupyterLab and Jupyter Notebook that are current are made, and what they load is there.
func TestRealPages(t *testing.T) {
	s := realSite(t)
	script := regexp.MustCompile(`<script defer="defer" src="([^"?]+)`)
	for _, page := range []string{"/lab", "/tree", "/notebooks/x.ipynb", "/edit/x", "/consoles/x", "/terminals/1"} {
		w := s.get(page)
		require.Equal(t, http.StatusOK, w.Code, "%s: %s", page, w.Body)
		require.NotContains(t, w.Body.String(), "{{")
		require.NotContains(t, w.Body.String(), "{%")
		m := script.FindStringSubmatch(w.Body.String())
		require.NotNil(t, m, page)
		main := s.get(m[1], "Accept-Encoding", "zstd")
		require.Equal(t, http.StatusOK, main.Code, m[1])
		require.Equal(t, forever, main.Header().Get("Cache-Control"), m[1])
	}
	c := s.pageConfig("/lab")
	require.Regexp(t, `^4\.`, c["appVersion"])
	extensions := c["federated_extensions"].([]any)
	require.NotEmpty(t, extensions)
	for _, e := range extensions {
		e := e.(map[string]any)
		w := s.get("/lab/extensions/" + e["name"].(string) + "/" + path.Clean(e["load"].(string)))
		require.Equal(t, http.StatusOK, w.Code, "%s", e)
		require.Equal(t, forever, w.Header().Get("Cache-Control"), "%s", e)
	}
}

// Every schema can be checked against, and every setting's default fits it.
func TestRealSettings(t *testing.T) {
	s := realSite(t)
	var list struct {
		Settings []struct {
			ID      string
			Schema  json.RawMessage
			Version string
		}
	}
	require.NoError(t, json.Unmarshal(s.get("/lab/api/settings").Body.Bytes(), &list))
	require.Greater(t, len(list.Settings), 80)
	for _, one := range list.Settings {
		require.NoError(t, validate(one.Schema, []byte("{}")), one.ID)
		original, err := filepath.Glob(filepath.Join(s.prefix, "share/jupyter/lab/schemas", strings.Replace(one.ID, ":", "/", 1)+".json"))
		require.NoError(t, err)
		if len(original) == 1 && !strings.HasSuffix(one.ID, ":notification") { // for which the server has defaults of its own
			raw, err := os.ReadFile(original[0])
			require.NoError(t, err)
			var compact bytes.Buffer
			require.NoError(t, json.Compact(&compact, raw))
			require.Equal(t, compact.String(), string(one.Schema), "byte for byte")
		}
	}
	code, message := s.put(themesID, "{theme: 'JupyterLab Dark', // at night\n}")
	require.Equal(t, http.StatusNoContent, code, message)
	code, message = s.put(themesID, "{theme: 1}")
	require.Equal(t, http.StatusBadRequest, code)
	require.Contains(t, message, "theme: got number, want string")
}

func TestRealLicensesAndThemes(t *testing.T) {
	s := realSite(t)
	bundles := s.json("/lab/api/licenses?bundles=@jupyterlab/")["bundles"].(map[string]any)
	require.NotEmpty(t, bundles["@jupyterlab/application-top"].(map[string]any)["packages"])
	require.Contains(t, s.get("/lab/api/themes/@jupyterlab/theme-light-extension/index.css").Body.String(), "--jp-")
}
