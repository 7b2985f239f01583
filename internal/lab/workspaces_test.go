package lab

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The names are those that jupyterlab_server 2.28 gives: both servers find each other's files.
func TestSlug(t *testing.T) {
	for id, want := range map[string]string{
		"default": "default-37a8", "foo": "foo-2c26", "/foo": "foo-2c26", "f/o/o": "foo-92dd", "f/o/o/": "foo-19e2", "auto-A": "auto-a-3530",
		"Wörk Space": "wrk-space-75a5", "a  b - c": "a-b-c-c324", "a%2Fb%20c": "ab-c-7b9a", "ﬁne": "fine-9042", "日本": "-cf2a", "..": "-5ec1",
		"../../etc/passwd": "etcpasswd-3754", "_-_": "_-_-7776", "100%": "100-32e4", "a\tb": "a-b-8948", "%zz": "zz-6fca",
		strings.Repeat("x", 200): strings.Repeat("x", 102) + "-aa20",
	} {
		require.Equal(t, want, slug(id), "%.40q", id)
	}
}

func FuzzSlug(f *testing.F) {
	f.Add("f/o/o")
	f.Add("../%2e%2e/ﬁ\x00")
	safe := regexp.MustCompile(`^[\w-]+$`)
	f.Fuzz(func(t *testing.T, id string) {
		require.Regexp(t, safe, slug(id))
		require.LessOrEqual(t, len(slug(id)+workspaceExt), 128)
	})
}

func TestWorkspaces_P2(t *testing.T) {
	s := newSite(t, nil)
	require.Equal(t, map[string]any{"ids": []any{}, "values": []any{}}, s.json("/lab/api/workspaces")["workspaces"])
	require.Equal(t, map[string]any{"data": map[string]any{}, "metadata": map[string]any{"id": "/f/o/o"}}, s.json("/lab/api/workspaces/f/o/o"), "one that nobody saved")

	const raw = `{"data": {"layout": {"x": 1.0}}, "metadata": {"id": "f/o/o", "own": true}}`
	require.Equal(t, http.StatusNoContent, s.ask(http.MethodPut, "/lab/api/workspaces/f%2Fo%2Fo", raw).Code)
	kept, err := os.ReadFile(filepath.Join(s.config, "lab/workspaces/foo-92dd.jupyterlab-workspace"))
	require.NoError(t, err)
	require.Equal(t, raw, string(kept))
	w := s.json("/lab/api/workspaces/f/o/o")
	meta := w["metadata"].(map[string]any)
	require.Equal(t, true, meta["own"])
	require.NotEmpty(t, meta["created"])
	require.Regexp(t, `\+00:00$`, meta["last_modified"])
	require.Contains(t, s.get("/lab/api/workspaces/f/o/o").Body.String(), `"x":1.0`)

	require.Equal(t, http.StatusNoContent, s.ask(http.MethodPut, "/lab/api/workspaces/bar", `{"metadata": {"id": "%62ar"}}`).Code, "JupyterLab encodes ids")
	all := s.json("/lab/api/workspaces/")["workspaces"].(map[string]any)
	require.ElementsMatch(t, []any{"f/o/o", "%62ar"}, all["ids"])
	require.Len(t, all["values"], 2)

	require.Equal(t, http.StatusNoContent, s.ask(http.MethodDelete, "/lab/api/workspaces/bar", "").Code)
	require.Equal(t, http.StatusNotFound, s.ask(http.MethodDelete, "/lab/api/workspaces/bar", "").Code)
	require.Len(t, s.json("/lab/api/workspaces")["workspaces"].(map[string]any)["ids"], 1)
}

// Users give workspaces any name: it comes back as it was sent.
func TestNamesOfWorkspaces(t *testing.T) {
	s := newSite(t, nil)
	names := []string{"100%", "50%25", "a b", "a/b c/d", "é 日本", "a\nb", "x?y#z;", "..", "../../up", `back\slash`, "*", strings.Repeat("long", 100)}
	ids := []any{}
	for _, name := range names {
		body, err := json.Marshal(map[string]any{"data": map[string]any{}, "metadata": map[string]any{"id": name}})
		require.NoError(t, err)
		path := "/lab/api/workspaces/" + url.PathEscape(name)
		require.Equal(t, http.StatusNoContent, s.ask(http.MethodPut, path, string(body)).Code, name)
		require.Equal(t, name, s.json(path)["metadata"].(map[string]any)["id"])
		ids = append(ids, name)
	}
	require.ElementsMatch(t, ids, s.json("/lab/api/workspaces")["workspaces"].(map[string]any)["ids"])
	files, err := os.ReadDir(filepath.Join(s.config, "lab/workspaces"))
	require.NoError(t, err)
	require.Len(t, files, len(names), "all are in the one folder")
	require.Equal(t, http.StatusBadRequest, s.get("/lab/api/workspaces/%ff").Code)
}

// Of two pages that save one workspace the later wins, and each file is whole (P7).
func TestWorkspaceIsSavedByManyPages_P7(t *testing.T) {
	s := newSite(t, nil)
	const pages = 8
	saved := make(chan int, pages)
	for i := range pages {
		go func() {
			body := fmt.Sprintf(`{"data": {"page": %d, "more": %q}, "metadata": {"id": "w"}}`, i, strings.Repeat(strconv.Itoa(i), 50_000))
			saved <- s.ask(http.MethodPut, "/lab/api/workspaces/w", body).Code
		}()
	}
	for range pages {
		require.Equal(t, http.StatusNoContent, <-saved)
		data := s.json("/lab/api/workspaces/w")["data"].(map[string]any)
		require.Equal(t, strings.Repeat(fmt.Sprint(data["page"]), 50_000), data["more"])
	}
	files, err := os.ReadDir(filepath.Join(s.config, "lab/workspaces"))
	require.NoError(t, err)
	require.Len(t, files, 1, "nothing is left over")
}

func TestWorkspacesThatAreRefused_P13(t *testing.T) {
	s := newSite(t, nil)
	for body, want := range map[string]int{
		`{"data": {}, "metadata": {"id": "other"}}`: 400, `{"data": {}}`: 400, `{"metadata": {"id": 1}}`: 400, `[]`: 400, `{`: 400, ``: 400, `"x"`: 400, `null`: 400,
		`{"metadata": {"id": "%zz"}}`: 400, `{"metadata": {"id": "w"}, "x": "` + strings.Repeat("x", maxWorkspaceBytes) + `"}`: 413,
	} {
		require.Equal(t, want, s.ask(http.MethodPut, "/lab/api/workspaces/w", body).Code, "%.60s", body)
	}
	for _, method := range []string{http.MethodPut, http.MethodDelete} {
		require.Equal(t, http.StatusBadRequest, s.ask(method, "/lab/api/workspaces", "{}").Code)
	}
	require.NoDirExists(t, filepath.Join(s.config, "lab"))
}

// A broken file keeps neither the list nor the page from working.
func TestBrokenWorkspace(t *testing.T) {
	s := newSite(t, nil)
	dir := filepath.Join(s.config, "lab/workspaces")
	write(t, filepath.Join(dir, "w-50e7.jupyterlab-workspace"), `{"data"`)
	write(t, filepath.Join(dir, "other-0000.jupyterlab-workspace"), `{"data": {}, "metadata": {}}`)
	write(t, filepath.Join(dir, "notes.txt"), ``)
	require.Empty(t, s.json("/lab/api/workspaces")["workspaces"].(map[string]any)["ids"])
	require.Contains(t, s.log.String(), "a workspace is left out")
	require.Equal(t, "/w", s.json("/lab/api/workspaces/w")["metadata"].(map[string]any)["id"])
	require.Contains(t, s.log.String(), "a workspace is not used")
	require.Equal(t, http.StatusNoContent, s.ask(http.MethodPut, "/lab/api/workspaces/w", `{"metadata": {"id": "/w"}}`).Code)
	require.Len(t, s.json("/lab/api/workspaces")["workspaces"].(map[string]any)["ids"], 1)
}
