package lab

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

func TestWithoutThemes(t *testing.T) {
	s := newSite(t, nil)
	require.Equal(t, http.StatusNotFound, s.get("/lab/api/themes/@jupyterlab/foo/index.css").Code, "there are others")
	s.remove("share/jupyter/lab/themes")
	s.remove("share/jupyter/labextensions/@org/git/themes")
	w := s.get("/lab/api/themes/@jupyterlab/foo/index.css")
	require.Equal(t, http.StatusOK, w.Code)
	require.Contains(t, w.Header().Get("Content-Type"), "text/css")
	require.Empty(t, w.Body.String())
	require.Equal(t, http.StatusNotFound, s.get("/lab/api/themes/@jupyterlab/foo/a.svg").Code)
}

func TestStaticFiles(t *testing.T) {
	s := newSite(t, nil)
	want := files["share/jupyter/lab/static/"+hashedScript]
	plain := s.get("/static/lab/" + hashedScript + "?v=efd36b46f3b45eb8")
	require.Equal(t, want, plain.Body.String())
	require.Equal(t, forever, plain.Header().Get("Cache-Control"))
	require.Equal(t, "text/javascript; charset=utf-8", plain.Header().Get("Content-Type"))
	require.Equal(t, "Accept-Encoding", plain.Header().Get("Vary"))

	for enc, open := range map[string]func(io.Reader) (io.Reader, error){
		"gzip": func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
		"zstd": func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r, zstd.WithDecoderMaxWindow(zstdWindow)) },
	} {
		for range 2 { // made, and kept
			w := s.get("/static/lab/"+hashedScript, "Accept-Encoding", "br;q=1.0, "+enc+";q=0.5")
			require.Equal(t, enc, w.Header().Get("Content-Encoding"))
			require.Less(t, w.Body.Len(), len(want)/2)
			r, err := open(w.Body)
			require.NoError(t, err)
			got, err := io.ReadAll(r)
			require.NoError(t, err)
			require.Equal(t, want, string(got))
			if z, ok := r.(*zstd.Decoder); ok {
				z.Close()
			}
			again := s.get("/static/lab/"+hashedScript, "Accept-Encoding", enc, "If-None-Match", w.Header().Get("ETag"))
			require.Equal(t, http.StatusNotModified, again.Code)
			require.NotEqual(t, plain.Header().Get("ETag"), w.Header().Get("ETag"))
		}
	}
	require.Equal(t, "zstd", s.get("/static/lab/"+hashedScript, "Accept-Encoding", "gzip, deflate, br, zstd").Header().Get("Content-Encoding"))

	w := s.get("/static/lab/"+hashedScript, "Accept-Encoding", "gzip", "Range", "bytes=1-3")
	require.Equal(t, http.StatusPartialContent, w.Code)
	require.Equal(t, want[1:4], w.Body.String())
	small := s.get("/static/lab/style.css", "Accept-Encoding", "gzip")
	require.Empty(t, small.Header().Get("Content-Encoding"))
	require.Equal(t, revalidate, small.Header().Get("Cache-Control"), "its name says nothing of its contents")
	require.Equal(t, http.StatusNotModified, s.get("/static/lab/style.css", "If-None-Match", small.Header().Get("ETag")).Code)
	require.Equal(t, "entry", s.get("/lab/extensions/@org/git/static/remoteEntry.0123456789abcdef.js").Body.String())
	require.Equal(t, files["share/jupyter/lab/themes/@jupyterlab/theme-light/index.css"], s.get("/lab/api/themes/@jupyterlab/theme-light/index.css").Body.String())
	require.Equal(t, "b{}", s.get("/lab/api/themes/@org/git/index.css").Body.String(), "an extension's")
	head := s.ask(http.MethodHead, "/static/lab/"+hashedScript, "")
	require.Equal(t, http.StatusOK, head.Code)
	require.Empty(t, head.Body.String())
}

// A file that is replaced, as by an upgrade while the server runs, is served as it is now.
func TestStaticFileReplaced(t *testing.T) {
	s := newSite(t, nil)
	before := s.get("/static/lab/"+hashedScript, "Accept-Encoding", "gzip").Header().Get("ETag")
	write(t, filepath.Join(s.prefix, "share/jupyter/lab/static", hashedScript), strings.Repeat("new ", 1000))
	w := s.get("/static/lab/"+hashedScript, "Accept-Encoding", "gzip")
	require.NotEqual(t, before, w.Header().Get("ETag"))
	z, err := gzip.NewReader(w.Body)
	require.NoError(t, err)
	got, err := io.ReadAll(z)
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("new ", 1000), string(got))
}

// S8: nothing outside the folders, nothing hidden, no special file.
func TestStaticStaysInside_S8(t *testing.T) {
	s := newSite(t, nil)
	static := filepath.Join(s.prefix, "share/jupyter/lab/static")
	write(t, filepath.Join(s.prefix, "share/jupyter/lab/secret"), "secret")
	write(t, filepath.Join(static, ".hidden"), "secret")
	write(t, filepath.Join(static, ".dir/x"), "secret")
	require.NoError(t, syscall.Mkfifo(filepath.Join(static, "fifo"), 0o644))
	for _, route := range []string{"/static/lab/", "/lab/extensions/", "/lab/api/themes/"} {
		for _, name := range []string{"../secret", "..%2Fsecret", "%2e%2e/secret", "a/../../secret", "/etc/passwd", "%2Fetc%2Fpasswd", ".hidden", ".dir/x", "fifo", "", ".",
			"x%00.js", `..\secret`, "dir//x", strings.Repeat("a", 5000)} {
			require.Equal(t, http.StatusNotFound, s.get(route+name).Code, route+name)
		}
	}
}

// `jupyter labextension develop` links an extension in from its sources, and package managers link files.
func TestLinkedExtension(t *testing.T) {
	s := newSite(t, nil)
	src := t.TempDir()
	write(t, filepath.Join(src, "package.json"), `{"name": "dev", "version": "1", "jupyterlab": {"_build": {"load": "static/remoteEntry.js"}}}`)
	write(t, filepath.Join(src, "static/remoteEntry.js"), "dev")
	write(t, filepath.Join(src, "schemas/dev/p.json"), `{"type": "object"}`)
	require.NoError(t, os.Symlink(src, filepath.Join(s.prefix, "share/jupyter/labextensions/dev")))
	require.Equal(t, "dev", s.get("/lab/extensions/dev/static/remoteEntry.js").Body.String())
	require.Len(t, s.pageConfig("/lab")["federated_extensions"], 2)
	require.Equal(t, "dev:p", s.json("/lab/api/settings/dev:p")["id"])
}

func TestIsHashed(t *testing.T) {
	for name, want := range map[string]bool{
		"main.efd36b46f3b45eb8.js": true, "0031b1860ea4ad75.woff": true, "remoteEntry.698dcaf7.js": true, "568.1e2faa2ba0bbe59c4780.js": true, "a.0123456789abcdef.js.map": true,
		"1234567890123456.svg": true, "style.js": false, "data.20240101.json": false, "package.json": false, "deadbeef": false, "x.dead.js": false, "xdeadbeefdeadbeef.js": false,
	} {
		require.Equal(t, want, isHashed(name), name)
	}
}

func TestAccepts(t *testing.T) {
	for header, want := range map[string]bool{
		"gzip": true, "GZIP": true, "br, gzip": true, "gzip;q=0.1": true, "gzip; q=0": false, "gzip;Q=0": false, "gzip;q=0.000": false, "gzip;q=x": false,
		"": false, "*": false, "xgzip": false, "identity": false, "gzip;x=1": true,
	} {
		require.Equal(t, want, accepts(header, "gzip"), header)
	}
}

// P9: what is kept of compressed files is bounded, those used last stay, and many who want one make it once.
func TestPackedIsBounded_P9(t *testing.T) {
	p := newPacked(100)
	body := func(n int) func() ([]byte, error) { return func() ([]byte, error) { return make([]byte, n), nil } }
	for _, name := range []string{"a", "b", "a", "c"} { // b is the one that goes
		_, err := p.get(packedKey{path: name}, body(40))
		require.NoError(t, err)
	}
	_, ok := p.lookUp(packedKey{path: "b"})
	require.False(t, ok)
	_, ok = p.lookUp(packedKey{path: "a"})
	require.True(t, ok)
	require.Equal(t, int64(80), p.bytes)
	_, err := p.get(packedKey{path: "huge"}, body(1000))
	require.NoError(t, err)
	require.Zero(t, p.bytes)
	require.Empty(t, p.byKey)

	_, err = p.get(packedKey{path: "bad"}, func() ([]byte, error) { return nil, errors.New("no") })
	require.Error(t, err)
	var made atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			got, err := p.get(packedKey{path: "once"}, func() ([]byte, error) {
				made.Add(1)
				return []byte("x"), nil
			})
			if err != nil || string(got) != "x" {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, int32(1), made.Load())
}
