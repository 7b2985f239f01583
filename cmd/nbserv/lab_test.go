package main

import (
	"bytes"
	"encoding/binary"
	"image/png"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// fakeLab is an application folder that is taken for a JupyterLab.
func fakeLab(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "lab")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "static"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "static", "index.html"), []byte("<title>{{ page_config.appName }}</title>"), 0o644))
	return dir
}

// / leads where people want to be. S4: inside.
func TestWhereTheRootLeads_S4(t *testing.T) {
	lab := fakeLab(t)
	header := http.Header{"Authorization": {"token secret-token"}}
	for _, c := range []struct{ base, lab, to, query, want string }{
		{"/", lab, "/lab", "", "/lab"},
		{"/", lab, "/lab/tree/a?reset", "?x=1", "/lab/tree/a?reset"},
		{"/a%40b/", lab, "/tree", "", "/a%40b/tree"},
		{"/", "", "/files/index.html", "", "/files/index.html"},
		{"/", "", "/lab", "", ""},
		{"/", lab, "/", "", ""},
	} {
		s := testServer(t, io.Discard, func(cfg *Config) { cfg.BaseURL, cfg.Lab.Dir, cfg.Lab.DefaultURL = c.base, c.lab, c.to })
		w := route{"GET", "/" + c.query}.ask(s, header)
		if c.want == "" {
			require.Equal(t, http.StatusOK, w.Code)
			require.Contains(t, w.Body.String(), "Running since")
			continue
		}
		require.Equal(t, http.StatusFound, w.Code)
		require.Equal(t, c.want, w.Header().Get("Location"))
	}
}

// Whoever opens the printed address in a browser comes to JupyterLab, logged in.
func TestLabByTheToken(t *testing.T) {
	s := testServer(t, io.Discard, func(c *Config) { c.Lab.Dir = fakeLab(t) })
	w := route{"GET", "/?token=secret-token"}.ask(s, http.Header{"Accept": {"text/html"}})
	require.Equal(t, "/lab", w.Header().Get("Location"))
	require.Contains(t, w.Header().Get("Set-Cookie"), "HttpOnly")
	w = route{"GET", "/lab"}.ask(s, http.Header{"Accept": {"text/html"}, "Cookie": {w.Header().Get("Set-Cookie")}})
	require.Equal(t, http.StatusOK, w.Code)
	require.Contains(t, w.Body.String(), "<title>JupyterLab Server Application</title>")
	require.Contains(t, w.Header().Values("Set-Cookie")[0], "_xsrf=")
	w = route{"GET", "/lab"}.ask(s, http.Header{"Accept": {"text/html"}})
	require.Equal(t, "/login?next=%2Flab", w.Header().Get("Location"), "a stranger")
	w = route{"GET", "/tree/nothing"}.ask(s, http.Header{"Accept": {"text/html"}, "Authorization": {"token secret-token"}})
	require.Equal(t, http.StatusNotFound, w.Code)
	require.Contains(t, w.Body.String(), "<h1>Not Found</h1>")
}

func TestLabCommand(t *testing.T) {
	dir := fakeLab(t)
	env := readEnvironment([]string{"HOME=" + t.TempDir(), "PATH=/nonexistent", "JUPYTER_PLATFORM_DIRS=1", "XDG_DATA_DIRS=/nonexistent"})
	var out, errs bytes.Buffer
	require.Equal(t, exitStopped, run([]string{"lab", "path", "--lab-dir=" + dir}, env, &out, &errs), errs.String())
	require.Equal(t, dir+"\n", out.String())
	require.Equal(t, exitFailed, run([]string{"lab", "path"}, env, &out, &errs))
	require.Contains(t, errs.String(), "nbserv lab install")
	require.Equal(t, exitFailed, run([]string{"lab", "install", "--state-dir=" + t.TempDir()}, env, &out, &errs))
	require.Contains(t, errs.String(), "no python3")
	require.Equal(t, exitUsage, run([]string{"lab", "path", "--default-url=//evil.example"}, env, &out, &errs))
	require.Contains(t, errs.String(), "--default-url")
}

func TestFavicons(t *testing.T) {
	s := testServer(t, io.Discard, nil)
	idle, busy := route{"GET", "/static/favicons/favicon.ico"}.ask(s, nil), route{"GET", "/static/favicons/favicon-busy-1.ico"}.ask(s, nil)
	require.Equal(t, "image/vnd.microsoft.icon", busy.Header().Get("Content-Type"))
	require.Contains(t, busy.Header().Get("Cache-Control"), "max-age")
	require.NotEqual(t, idle.Body.String(), busy.Body.String())
	for _, icon := range [][]byte{favicon, busyFavicon} {
		images := int(binary.LittleEndian.Uint16(icon[4:]))
		for entry := range slices.Chunk(icon[6:6+16*images], 16) {
			size, offset := binary.LittleEndian.Uint32(entry[8:]), binary.LittleEndian.Uint32(entry[12:])
			drawn, err := png.DecodeConfig(bytes.NewReader(icon[offset : offset+size]))
			require.NoError(t, err)
			require.Equal(t, int(entry[0]), drawn.Width)
		}
	}
	require.Equal(t, idle.Body.String(), route{"GET", "/favicon.ico"}.ask(s, nil).Body.String())
}
