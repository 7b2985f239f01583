package contents

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

const fileModel = `{"type":"file","format":"text","content":"hallo\n"}`

func TestSaveAndGet(t *testing.T) {
	c := serve(t, newDir(t))
	resp, body := c.do("PUT", "/api/contents/å b.txt", fileModel)
	require.Equal(t, http.StatusCreated, resp.StatusCode, body)
	require.Equal(t, "/a%40b/api/contents/%C3%A5%20b.txt", resp.Header.Get("Location"))
	require.NotEmpty(t, resp.Header.Get("Last-Modified"))
	require.Equal(t, "hallo\n", c.read("å b.txt"))

	m := c.model(200, "PUT", "/api/contents/å b.txt", `{"content":"aGFsbG8=\n","format":"base64","type":"file"}`)
	require.Nil(t, m["content"])
	require.Nil(t, m["format"])
	require.Equal(t, "hallo", c.read("å b.txt"), "base64 that came before its format")

	m = c.model(200, "GET", "/api/contents/å b.txt?hash=1", "")
	require.Equal(t, "hallo", m["content"])
	require.Equal(t, "text", m["format"])
	require.Equal(t, "text/plain", m["mimetype"])
	require.Equal(t, "sha256", m["hash_algorithm"])
	require.Equal(t, "d3751d33f9cd5049c4af2b462735457e4d3baf130bcbb87f389e349fbaeb20b9", m["hash"])
	require.EqualValues(t, 5, m["size"])
	require.Equal(t, true, m["writable"])

	m = c.model(200, "GET", "/api/contents/å b.txt?format=base64", "")
	require.Equal(t, "aGFsbG8=", m["content"])
	m = c.model(200, "GET", "/api/contents/å b.txt?content=0", "")
	require.Nil(t, m["content"])
}

func TestGetKnowsTextFromBytes(t *testing.T) {
	c := serve(t, newDir(t))
	c.write("a.bin", "a\xff")
	m := c.model(200, "GET", "/api/contents/a.bin", "")
	require.Equal(t, "base64", m["format"])
	require.Equal(t, "Yf8=", m["content"])
	c.write("noext", "x")
	require.Equal(t, "text/plain", c.model(200, "GET", "/api/contents/noext", "")["mimetype"])
	require.Contains(t, c.refused(400, "GET", "/api/contents/a.bin?format=text", ""), "UTF-8")
}

func TestGetRefusesBadQueries(t *testing.T) {
	c := serve(t, newDir(t))
	c.write("d/a.txt", "x")
	for _, q := range []string{"format=json", "content=2", "hash=yes"} {
		c.refused(400, "GET", "/api/contents/d/a.txt?"+q, "")
	}
	require.Contains(t, c.refused(400, "GET", "/api/contents/d?type=file", ""), "d is a directory, not a file")
	require.Contains(t, c.refused(400, "GET", "/api/contents/d/a.txt?type=directory", ""), "d/a.txt is not a directory")
	c.refused(404, "GET", "/api/contents/d/b.txt", "")
	require.Equal(t, "file", c.model(200, "GET", "/api/contents/d/a.txt?type=thing", "")["type"])
}

func TestConditionalGet(t *testing.T) {
	c := serve(t, newDir(t))
	c.write("a.txt", "x")
	for _, path := range []string{"/api/contents/a.txt", "/api/contents", "/api/contents/", "/files/a.txt"} {
		first, _ := c.do("GET", path, "")
		require.Equal(t, 200, first.StatusCode, path)
		etag := first.Header.Get("ETag")
		require.NotEmpty(t, etag, path)
		again, body := c.do("GET", path, "", "If-None-Match", etag)
		require.Equal(t, 304, again.StatusCode, path)
		require.Empty(t, body)
	}
}

func TestListing(t *testing.T) {
	d := newDir(t)
	c := serve(t, d)
	require.Equal(t, []any{}, c.model(200, "GET", "/api/contents", "")["content"])
	for _, name := range []string{"b.ipynb", "a\"\\\n.txt", "sub/x", ".hidden", "x.pyc", "y~", "__pycache__/z", reservedPrefix + "1.tmp"} {
		c.write(name, "{}")
	}
	require.NoError(t, os.WriteFile(filepath.Join(d.root, "bad\xff.txt"), nil, 0o600))
	require.NoError(t, os.Symlink("nowhere", filepath.Join(d.root, "broken")))
	require.NoError(t, os.Symlink("sub", filepath.Join(d.root, "link")))
	require.NoError(t, os.Symlink("loop", filepath.Join(d.root, "loop")))
	got := map[string]any{}
	for _, e := range c.model(200, "GET", "/api/contents", "")["content"].([]any) {
		m := e.(map[string]any)
		require.Nil(t, m["content"])
		require.Contains(t, m, "hash_algorithm")
		got[m["path"].(string)] = m["type"]
	}
	require.Equal(t, map[string]any{"b.ipynb": "notebook", "a\"\\\n.txt": "file", "sub": "directory", "link": "directory", "broken": "file"}, got)
}

func TestUntitledNamesAreDistinct(t *testing.T) {
	c := serve(t, newDir(t))
	var mu sync.Mutex
	paths := map[any]bool{}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			m := c.model(201, "POST", "/api/contents", `{"type":"notebook"}`)
			mu.Lock()
			defer mu.Unlock()
			paths[m["path"]] = true
		})
	}
	wg.Wait()
	require.Len(t, paths, 20)
	require.Contains(t, paths, "Untitled.ipynb")
	require.Contains(t, paths, "Untitled19.ipynb")
	require.Equal(t, "untitled", c.model(201, "POST", "/api/contents", "")["path"])
	require.Equal(t, "untitled.tar.gz", c.model(201, "POST", "/api/contents", `{"ext":".tar.gz"}`)["path"])
	require.Equal(t, "Untitled Folder", c.model(201, "POST", "/api/contents", `{"type":"directory"}`)["path"])
	require.Equal(t, "Untitled Folder 1", c.model(201, "POST", "/api/contents", `{"type":"directory"}`)["path"])
	c.refused(404, "POST", "/api/contents/nowhere", "")
	c.refused(400, "POST", "/api/contents/untitled", "")
	c.refused(400, "POST", "/api/contents", `{"ext":"/../x"}`)
}

// TestLongListing: every entry once, whoever of the two goroutines made it, and memory for a few chunks.
func TestLongListing(t *testing.T) {
	d := newDir(t)
	const n = 5*listChunk + 7
	for i := range n {
		require.NoError(t, os.WriteFile(filepath.Join(d.root, strconv.Itoa(i)), nil, 0o600))
	}
	seen := map[any]bool{}
	for _, e := range serve(t, d).model(200, "GET", "/api/contents", "")["content"].([]any) {
		seen[e.(map[string]any)["name"]] = true
	}
	require.Len(t, seen, n)

	for limit := range int64(20) { // a client that goes away ends both
		m, err := d.Get(t.Context(), Path{}, GetOptions{Content: true})
		require.NoError(t, err)
		require.ErrorIs(t, m.WriteJSON(&failingWriter{left: limit * 100_000}), io.ErrClosedPipe)
		require.NoError(t, m.Close())
	}
}

// failingWriter fails when its bytes are used up.
type failingWriter struct{ left int64 }

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.left -= int64(len(p)); w.left < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}
