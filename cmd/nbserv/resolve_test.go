package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
)

func TestResolvePathOnTheServer(t *testing.T) {
	s := testServer(t, io.Discard, nil)
	root := s.cfg.RootDir
	s.cfg.env.vars["HOME"] = filepath.Dir(root)
	for _, name := range []string{filepath.Join(root, "sub", "a.py"), filepath.Join(root, ".hidden"), filepath.Join(filepath.Dir(root), "outside.py")} {
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
		require.NoError(t, os.WriteFile(name, nil, 0o600))
	}
	for path, want := range map[string]string{
		"sub/a.py":                               `{"resolved":[{"scope":"server","path":"sub/a.py"}]}`,
		"~/" + filepath.Base(root) + "/sub/a.py": `{"resolved":[{"scope":"server","path":"sub/a.py"}]}`,
		"~/outside.py":                           `{"resolved":[]}`,
		"../outside.py":                          `{"resolved":[]}`,
		".hidden":                                `{"resolved":[]}`,
		"none.py":                                `{"resolved":[]}`,
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/api/resolvePath?path="+url.QueryEscape(path), nil)
		require.NoError(t, s.getResolvePath(w, r))
		require.JSONEq(t, want, w.Body.String(), path)
	}
	w := httptest.NewRecorder()
	require.NoError(t, s.getResolvePath(w, httptest.NewRequest(http.MethodGet, "/api/resolvePath?path=x&kernel=1-2", nil)))
	require.JSONEq(t, `{"resolved":[],"unresolved":[{"scope":"kernel","reason":"Kernel 1-2 could not be found"}]}`, w.Body.String())
	require.Error(t, s.getResolvePath(w, httptest.NewRequest(http.MethodGet, "/api/resolvePath", nil)))
}

func TestResolvePathInAKernel(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.py")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, c := range []struct{ cwd, root, name string }{
		{dir, "/", "a.py"}, {"", dir, "a.py"}, {"/", "/", file}, {"/", "/", "~/a.py"}, {dir, "/", "./a.py"},
	} {
		got, ok := resolveInKernel(kernel.Status{Cwd: c.cwd}, c.root, c.name, dir)
		require.True(t, ok, c)
		require.Equal(t, file, got)
	}
	_, ok := resolveInKernel(kernel.Status{Cwd: dir}, "/", "b.py", dir)
	require.False(t, ok)
}
