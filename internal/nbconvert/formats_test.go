package nbconvert

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFormatsAreAskedOnce: pages do not wait for a Python each, which would also take the processor from the kernel that
// starts at the same moment; and a package that was installed meanwhile is seen.
func TestFormatsAreAskedOnce(t *testing.T) {
	packages, dir := t.TempDir(), t.TempDir()
	says := func(format string) {
		info, err := os.Stat(packages)
		require.NoError(t, err)
		answer := fmt.Sprintf(`{"formats": {%q: {"output_mimetype": null}}, "folders": {%q: %d}}`+"\n", format, packages, info.ModTime().UnixNano())
		require.NoError(t, os.WriteFile(filepath.Join(dir, "answer"), []byte(answer), 0o600))
	}
	asked := func() int {
		raw, err := os.ReadFile(filepath.Join(dir, "asked"))
		require.NoError(t, err)
		return strings.Count(string(raw), "\n")
	}
	says("html")
	// It answers only once it is the idle one that nobody is kept waiting by.
	url := serve(t, fake(t, `echo >>`+dir+`/asked; until [ "$(nice)" -ge 5 ]; do sleep 0.01; done; cat `+dir+`/answer`))

	const pages = 5
	answers := make(chan string, pages)
	for range pages {
		go func() {
			res, err := http.Get(url + "/api/nbconvert")
			if err != nil {
				answers <- err.Error()
				return
			}
			defer res.Body.Close()
			raw, _ := io.ReadAll(res.Body)
			answers <- string(raw)
		}()
	}
	for range pages {
		require.JSONEq(t, `{"html": {"output_mimetype": null}}`, <-answers)
	}
	require.Equal(t, 1, asked())

	require.NoError(t, os.Chtimes(packages, time.Time{}, time.Unix(1e9, 0))) // as an installation does
	says("odt")
	_, text := ask(t, "GET", url+"/api/nbconvert", "", 200)
	require.Contains(t, text, `"odt"`)
	require.Equal(t, 2, asked())
	ask(t, "GET", url+"/api/nbconvert", "", 200)
	require.Equal(t, 2, asked())
}

// TestFormatsAreAskedAgainAfterAFailure: what is said to be missing may be installed while the server runs.
func TestFormatsAreAskedAgainAfterAFailure(t *testing.T) {
	dir := t.TempDir()
	url := serve(t, fake(t, "cat "+dir+"/answer || exit 1"))
	ask(t, "GET", url+"/api/nbconvert", "", 501)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "answer"), []byte(`{"formats": {"html": {"output_mimetype": "text/html"}}}`+"\n"), 0o600))
	ask(t, "GET", url+"/api/nbconvert", "", 200)
}

// TestFilesBesideTheNotebooksAreNoModules: the server's folder, which is where notebooks are, may have a json.py.
func TestFilesBesideTheNotebooksAreNoModules(t *testing.T) {
	python(t)
	root := t.TempDir()
	for _, name := range []string{"json.py", "zipfile.py", "nbconvert.py", "bleach.py"} {
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte("raise SystemExit('a user file was run')"), 0o600))
	}
	t.Chdir(root)
	url := serve(t, nil)
	_, text := ask(t, "GET", url+"/api/nbconvert", "", 200)
	require.Contains(t, text, `"script"`)
	_, text = ask(t, "GET", url+"/nbconvert/script/dir/book.ipynb", "", 200)
	require.Contains(t, text, "print(6*7)")
}
