package contents

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gorilla/mux"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if child := os.Getenv(childEnv); child != "" {
		os.Exit(runChild(child))
	}
	goleak.VerifyTestMain(m)
}

// newDir opens a fresh root, with change made to the configuration.
func newDir(t testing.TB, change ...func(*Config)) *Dir {
	t.Helper()
	cfg := DefaultConfig()
	cfg.RootDir = t.TempDir()
	cfg.TrashDir = filepath.Join(t.TempDir(), "Trash")
	for _, f := range change {
		f(&cfg)
	}
	d, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

func noFollow(c *Config)   { c.FollowSymlinks = false }
func showHidden(c *Config) { c.AllowHidden = true }
func noTrash(c *Config)    { c.DeleteToTrash = false }

// serve starts a server of d whose base URL is /a%40b/.
func serve(t testing.TB, d *Dir) *client {
	t.Helper()
	cfg := d.cfg
	cfg.BaseURL = "/a%40b/"
	r := mux.NewRouter().SkipClean(true)
	NewAPI(d, d.Checkpoints(), d.Staging(), cfg).Register(r)
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	return &client{t: t, url: s.URL, http: s.Client(), root: d.root}
}

type client struct {
	t    testing.TB
	url  string
	http *http.Client
	root string
}

// do sends one request and reads the answer. The path is escaped; a query may follow its last question mark.
func (c *client) do(method, path, body string, headers ...string) (*http.Response, string) {
	c.t.Helper()
	query := ""
	if i := strings.LastIndexByte(path, '?'); i >= 0 {
		path, query = path[:i], path[i+1:]
	}
	req, err := http.NewRequest(method, c.url+escapePath(path)+"?"+query, strings.NewReader(body))
	require.NoError(c.t, err)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.http.Do(req)
	require.NoError(c.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(c.t, err)
	return resp, string(b)
}

// model sends a request that must be answered with status and a model.
func (c *client) model(status int, method, path, body string) map[string]any {
	c.t.Helper()
	resp, text := c.do(method, path, body)
	require.Equal(c.t, status, resp.StatusCode, text)
	var m map[string]any
	require.NoError(c.t, json.Unmarshal([]byte(text), &m), text)
	return m
}

// refused sends a request that must be answered with status, and a message that shows no server path (S12).
func (c *client) refused(status int, method, path, body string) string {
	c.t.Helper()
	resp, text := c.do(method, path, body)
	require.Equal(c.t, status, resp.StatusCode, "%s %s %s: %s", method, path, body, text)
	require.NotContains(c.t, text, c.root)
	return text
}

func (c *client) write(name, text string) {
	c.t.Helper()
	name = filepath.Join(c.root, name)
	require.NoError(c.t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(c.t, os.WriteFile(name, []byte(text), 0o644))
}

func (c *client) read(name string) string {
	c.t.Helper()
	b, err := os.ReadFile(filepath.Join(c.root, name))
	require.NoError(c.t, err)
	return string(b)
}

// names are the entries of a directory on the disk, hidden ones too.
func (c *client) names(dir string) []string {
	c.t.Helper()
	entries, err := os.ReadDir(filepath.Join(c.root, dir))
	require.NoError(c.t, err)
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
