package contents

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFilesAreSandboxed_S7: whatever its bytes are, a file runs in an origin of its own.
func TestFilesAreSandboxed_S7(t *testing.T) {
	c := serve(t, newDir(t))
	for name, want := range map[string]string{
		"a.html": "text/html", "a.svg": "image/svg+xml", "a.txt": "text/plain; charset=UTF-8", "a.ipynb": "application/x-ipynb+json",
		"a.tar.gz": "application/gzip", "a.csv.bz2": "application/octet-stream", "a.unknown-type": "application/octet-stream",
		"a": "application/octet-stream", "A.PNG": "image/png", "a.py": "text/x-python",
	} {
		c.write(name, "<script>")
		for _, method := range []string{"GET", "HEAD"} {
			resp, body := c.do(method, "/files/"+name, "")
			require.Equal(t, 200, resp.StatusCode)
			require.Equal(t, want, resp.Header.Get("Content-Type"), name)
			require.Equal(t, "nosniff", resp.Header.Get("X-Content-Type-Options"))
			require.Contains(t, resp.Header.Get("Content-Security-Policy"), "; sandbox allow-scripts")
			require.NotContains(t, resp.Header.Get("Content-Security-Policy"), "allow-same-origin")
			require.EqualValues(t, 8, resp.ContentLength)
			require.Len(t, body, map[string]int{"GET": 8, "HEAD": 0}[method])
		}
	}
	resp, body := c.do("GET", "/view/a.html", "")
	require.Equal(t, "text/html; charset=UTF-8", resp.Header.Get("Content-Type"))
	require.Contains(t, body, `<iframe sandbox="allow-scripts" src="/a%40b/files/a.html">`)
	c.write("x\"><script>.html", "")
	_, body = c.do("GET", "/view/x\"><script>.html", "")
	require.NotContains(t, body, "<script>")
	c.refused(404, "GET", "/view/nowhere.html", "")
	c.refused(404, "GET", "/view/", "")
}

func TestFileRanges(t *testing.T) {
	c := serve(t, newDir(t))
	c.write("a.bin", "0123456789")
	first, _ := c.do("GET", "/files/a.bin", "")
	etag := first.Header.Get("ETag")
	for _, x := range []struct {
		status int
		body   string
		header []string
	}{
		{206, "123", []string{"Range", "bytes=1-3"}},
		{206, "89", []string{"Range", "bytes=-2"}},
		{416, "", []string{"Range", "bytes=20-"}},
		{206, "1", []string{"Range", "bytes=1-1", "If-Range", etag}},
		{200, "0123456789", []string{"Range", "bytes=1-1", "If-Range", `"other"`}},
		{206, "1", []string{"Range", "bytes=1-1", "If-Range", first.Header.Get("Last-Modified")}},
		{304, "", []string{"If-None-Match", etag}},
		{304, "", []string{"If-Modified-Since", first.Header.Get("Last-Modified")}},
		{412, "", []string{"If-Match", `"other"`}},
	} {
		resp, body := c.do("GET", "/files/a.bin", "", x.header...)
		require.Equal(t, x.status, resp.StatusCode, x.header)
		if x.body != "" {
			require.Equal(t, x.body, body)
		}
	}
	resp, body := c.do("GET", "/files/a.bin", "", "Range", "bytes=0-1,4-5")
	require.Equal(t, 206, resp.StatusCode)
	require.Contains(t, resp.Header.Get("Content-Type"), "multipart/byteranges")
	require.Contains(t, body, "45")

	// The same size and second, but other bytes: the ETag knows.
	info, err := os.Stat(filepath.Join(c.root, "a.bin"))
	require.NoError(t, err)
	c.write("a.bin", "9876543210")
	require.NoError(t, os.Chtimes(filepath.Join(c.root, "a.bin"), time.Now(), info.ModTime()))
	resp, body = c.do("GET", "/files/a.bin", "", "Range", "bytes=1-1", "If-Range", etag)
	require.Equal(t, 200, resp.StatusCode)
	require.Equal(t, "9876543210", body)
}

func TestDownloadNames_S7(t *testing.T) {
	c := serve(t, newDir(t))
	for name, want := range map[string]string{
		"test.txt":     `attachment; filename="test.txt"; filename*=utf-8''test.txt`,
		"ä b.txt":      `attachment; filename="_ b.txt"; filename*=utf-8''%C3%A4%20b.txt`,
		"a\r\nX: y":    `attachment; filename="a__X: y"; filename*=utf-8''a%0D%0AX%3A%20y`,
		`a";b=\c%41'.`: `attachment; filename="a_;b=_c_41'."; filename*=utf-8''a%22%3Bb%3D%5Cc%2541%27.`,
	} {
		c.write(name, "x")
		resp, _ := c.do("GET", "/files/"+name+"?download=1", "")
		require.Equal(t, want, resp.Header.Get("Content-Disposition"))
		resp, _ = c.do("GET", "/files/"+name, "")
		require.Empty(t, resp.Header.Get("Content-Disposition"))
	}
	c.write("a.ipynb", "{}")
	resp, _ := c.do("GET", "/files/a.ipynb", "")
	require.Contains(t, resp.Header.Get("Content-Disposition"), "attachment")
}

func TestFilesRefuse(t *testing.T) {
	c := serve(t, newDir(t))
	c.write("d/.h", "x")
	for _, p := range []string{"d/.h", "nowhere", ".h/x"} {
		c.refused(404, "GET", "/files/"+p, "")
	}
	c.refused(400, "GET", "/files/d", "")
	c.refused(400, "GET", "/files/", "")
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
		resp, _ := c.do(method, "/files/d/x", "")
		require.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)
	}
}

func TestNamesWithAnything(t *testing.T) {
	c := serve(t, newDir(t))
	for _, name := range []string{"a b", "ä/ö/ü.txt", "a?b", "a#b", "a%b", "a%2Fb", "a+b&c=d", "a\nb", "😀", "a\\b", "a:b", "checkpoints"} {
		c.write(filepath.Join(filepath.Dir(name), ".keep"), "")
		resp, body := c.do("PUT", "/api/contents/"+name+"?", fileModel)
		require.Equal(t, 201, resp.StatusCode, "%q: %s", name, body)
		require.Equal(t, "hallo\n", c.read(name))
		require.Equal(t, name, c.model(200, "GET", "/api/contents/"+name+"?", "")["path"])
		_, body = c.do("GET", "/files/"+name+"?", "")
		require.Equal(t, "hallo\n", body)
	}
}
