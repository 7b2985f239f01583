package contents

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/mux"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// verb is one way to touch a path. %s in body is the path as JSON text.
type verb struct{ method, path, body string }

// verbsOn is every route and body field with p in it, and what refuses it when it is hidden.
func verbsOn(p string) map[verb]int {
	return map[verb]int{
		{"GET", "/api/contents/" + p, ""}:                                                                   404,
		{"GET", "/api/contents/" + p + "?content=0", ""}:                                                    404,
		{"PUT", "/api/contents/" + p, fileModel}:                                                            400,
		{"PUT", "/api/contents/" + p, "{}"}:                                                                 400,
		{"PUT", "/api/contents/" + p, `{"type":"directory"}`}:                                               400,
		{"PUT", "/api/contents/" + p, `{"type":"notebook"}`}:                                                400,
		{"PUT", "/api/contents/" + p, `{"type":"file","format":"text","content":"x","chunk":1}`}:            400,
		{"PUT", "/api/contents/ok.txt", `{"type":"file","format":"text","content":"x","path":"` + p + `"}`}: 400,
		{"POST", "/api/contents/" + p, ""}:                                                                  400,
		{"POST", "/api/contents/" + p, `{"copy_from":"plain.txt"}`}:                                         400,
		{"POST", "/api/contents", `{"copy_from":"` + p + `"}`}:                                              400,
		{"PATCH", "/api/contents/" + p, `{"path":"moved"}`}:                                                 400,
		{"PATCH", "/api/contents/plain.txt", `{"path":"` + p + `"}`}:                                        400,
		{"DELETE", "/api/contents/" + p, ""}:                                                                400,
		{"GET", "/api/contents/" + p + "/checkpoints", ""}:                                                  404,
		{"POST", "/api/contents/" + p + "/checkpoints", ""}:                                                 404,
		{"POST", "/api/contents/" + p + "/checkpoints/checkpoint", ""}:                                      404,
		{"DELETE", "/api/contents/" + p + "/checkpoints/checkpoint", ""}:                                    404,
		{"GET", "/files/" + p, ""}:                                                                          404,
		{"HEAD", "/files/" + p, ""}:                                                                         404,
		{"GET", "/view/" + p, ""}:                                                                           404,
	}
}

// TestHiddenIsHiddenOnEveryVerb_S8: also below a hidden folder, and our own files even where hidden is allowed.
func TestHiddenIsHiddenOnEveryVerb_S8(t *testing.T) {
	for _, follow := range []bool{true, false} {
		c := serve(t, newDir(t, func(c *Config) { c.FollowSymlinks = follow }))
		for _, name := range []string{".hidden.txt", ".dir/seen.txt", "d/.dir/seen.txt", "plain.txt"} {
			c.write(name, "secret")
		}
		before := c.tree()
		for _, p := range []string{".hidden.txt", ".dir", ".dir/seen.txt", "d/.dir/seen.txt", ".dir/new.txt", ".new"} {
			for v, status := range verbsOn(p) {
				c.refused(status, v.method, v.path, v.body)
			}
		}
		require.Equal(t, before, c.tree(), "nothing was made, changed or removed")
	}
	c := serve(t, newDir(t, showHidden))
	c.write(reservedPrefix+"x.tmp", "half a file")
	c.write("plain.txt", "x")
	for v, status := range verbsOn(reservedPrefix + "x.tmp") {
		c.refused(status, v.method, v.path, v.body)
	}
}

func TestHiddenCanBeAllowed(t *testing.T) {
	c := serve(t, newDir(t, showHidden))
	c.write(".dir/.a.txt", "x")
	require.Equal(t, "x", c.model(200, "GET", "/api/contents/.dir/.a.txt", "")["content"])
	require.Len(t, c.model(200, "GET", "/api/contents/.dir", "")["content"], 1)
	c.model(201, "PUT", "/api/contents/.dir/.b.txt", fileModel)
	c.model(201, "POST", "/api/contents/.dir", `{"copy_from":".dir/.b.txt"}`)
}

// tree is every path below the root with its bytes.
func (c *client) tree() map[string]string {
	c.t.Helper()
	all := map[string]string{}
	require.NoError(c.t, filepath.WalkDir(c.root, func(path string, e os.DirEntry, err error) error {
		if err != nil || path == c.root {
			return err
		}
		rel, _ := filepath.Rel(c.root, path)
		if !e.Type().IsRegular() {
			all[rel] = e.Type().String()
			return nil
		}
		b, err := os.ReadFile(path)
		all[rel] = string(b)
		return err
	}))
	return all
}

// TestSpecialFilesAreRefusedAtOnce_S8: nothing waits for the other end of a FIFO, on any verb.
func TestSpecialFilesAreRefusedAtOnce_S8(t *testing.T) {
	for _, follow := range []bool{true, false} {
		c := serve(t, newDir(t, func(c *Config) { c.FollowSymlinks = follow }))
		c.http.Timeout = time.Minute
		c.write("plain.txt", "x")
		require.NoError(t, unix.Mkfifo(filepath.Join(c.root, "fifo"), 0o666))
		sock, err := net.ListenUnix("unix", &net.UnixAddr{Name: shortSocket(t, c.root), Net: "unix"})
		require.NoError(t, err)
		t.Cleanup(func() { sock.Close() })
		require.NoError(t, os.Symlink("fifo", filepath.Join(c.root, "link")))
		before := c.tree()
		for _, p := range []string{"fifo", "sock", "link"} {
			for v := range verbsOn(p) {
				resp, body := c.do(v.method, v.path, v.body)
				if strings.Contains(v.body, `"path":"`+p) && v.method == "PUT" {
					require.Equal(t, 201, resp.StatusCode, "the body's path decides nothing")
					require.NoError(t, os.Remove(filepath.Join(c.root, "ok.txt")))
					continue
				}
				require.Contains(t, []int{400, 404, 409}, resp.StatusCode, "%v %s: %s", v, p, body)
				require.NotContains(t, body, c.root)
			}
		}
		require.Equal(t, before, c.tree())
		require.Len(t, c.model(200, "GET", "/api/contents", "")["content"], 1, "they are not listed either")
	}
}

// shortSocket is root/sock, bound through a short name: socket paths are limited to about 100 bytes.
func shortSocket(t *testing.T, root string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Symlink(root, dir+"/r"))
	return dir + "/r/sock"
}

// TestLinksThatLeaveTheRoot_S8: followed as in Jupyter, or not at all.
func TestLinksThatLeaveTheRoot_S8(t *testing.T) {
	outside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "a.txt"), []byte("outside"), 0o644))
	links := func(d *Dir) {
		require.NoError(t, os.Symlink(outside, filepath.Join(d.root, "dir")))
		require.NoError(t, os.Symlink(filepath.Join(outside, "a.txt"), filepath.Join(d.root, "file.txt")))
		rel, err := filepath.Rel(d.root, filepath.Join(outside, "a.txt"))
		require.NoError(t, err)
		require.NoError(t, os.Symlink(rel, filepath.Join(d.root, "rel.txt")))
	}
	d := newDir(t)
	links(d)
	c := serve(t, d)
	for _, p := range []string{"dir/a.txt", "file.txt", "rel.txt"} {
		require.Equal(t, "outside", c.model(200, "GET", "/api/contents/"+p, "")["content"], p)
		c.model(200, "PUT", "/api/contents/"+p, `{"type":"file","format":"text","content":"outside"}`)
		info, err := os.Lstat(filepath.Join(d.root, "file.txt"))
		require.NoError(t, err)
		require.NotZero(t, info.Mode()&os.ModeSymlink, "the link stays, its target is replaced")
	}
	require.Len(t, c.model(200, "GET", "/api/contents", "")["content"], 3)

	d = newDir(t, noFollow)
	links(d)
	c = serve(t, d)
	c.write("plain.txt", "x")
	for _, p := range []string{"dir/a.txt", "file.txt", "rel.txt", "dir"} {
		for v := range verbsOn(p) {
			if v.path == "/api/contents/ok.txt" {
				continue // the body's path decides nothing
			}
			resp, body := c.do(v.method, v.path, v.body)
			require.Contains(t, []int{400, 403, 404, 409}, resp.StatusCode, "%v: %s", v, body)
			require.NotContains(t, body, "outside\"")
		}
	}
	b, err := os.ReadFile(filepath.Join(outside, "a.txt"))
	require.NoError(t, err)
	require.Equal(t, "outside", string(b))
	entries, err := os.ReadDir(outside)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Len(t, c.model(200, "GET", "/api/contents", "")["content"], 1, "what leads outside is not listed")
}

func TestLinksInsideTheRoot(t *testing.T) {
	for _, follow := range []bool{true, false} {
		c := serve(t, newDir(t, func(c *Config) { c.FollowSymlinks = follow }))
		c.write("real/a.txt", "x")
		require.NoError(t, os.Symlink("real", filepath.Join(c.root, "dir")))
		require.NoError(t, os.Symlink("../real/a.txt", filepath.Join(c.root, "real", "up.txt")))
		require.NoError(t, os.Symlink("dir/up.txt", filepath.Join(c.root, "two.txt")))
		require.NoError(t, os.Symlink("dir/new.txt", filepath.Join(c.root, "fresh.txt")))
		for _, p := range []string{"dir/a.txt", "dir/up.txt", "two.txt"} {
			require.Equal(t, "x", c.model(200, "GET", "/api/contents/"+p, "")["content"])
		}
		c.model(200, "PUT", "/api/contents/two.txt", fileModel)
		require.Equal(t, "hallo\n", c.read("real/a.txt"))
		c.do("PUT", "/api/contents/fresh.txt", fileModel)
		require.Equal(t, "hallo\n", c.read("real/new.txt"), "a link to nothing yet")
		require.NoError(t, os.Symlink("loop", filepath.Join(c.root, "loop")))
		c.refused(404, "GET", "/api/contents/loop", "")
		c.refused(404, "PUT", "/api/contents/loop", fileModel)
	}
}

// TestTraversalOverHTTP_S8 sends paths as raw bytes, as no client library would.
func TestTraversalOverHTTP_S8(t *testing.T) {
	base := t.TempDir()
	root := filepath.Join(base, "root")
	require.NoError(t, os.MkdirAll(root, 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(base, "root2"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(base, "root2", "a.txt"), []byte("sibling"), 0o644))
	d := newDir(t, func(c *Config) { c.RootDir = root })
	r := mux.NewRouter().SkipClean(true)
	NewAPI(d, d.Checkpoints(), d.Staging(), d.cfg).Register(r)
	for _, route := range []string{"/api/contents/", "/files/", "/view/"} {
		for _, p := range []string{
			"../root2/a.txt", "%2e%2e/root2/a.txt", "..%2froot2%2fa.txt", "%2e%2e%2froot2/a.txt", "x/../../root2/a.txt", "%5c..%5c..%5croot2",
			"..%5croot2%5ca.txt", "%c0%ae%c0%ae/root2/a.txt", "a.txt%00", "%252e%252e/root2/a.txt", "....//root2/a.txt", "/../root2/a.txt",
		} {
			for _, method := range []string{"GET", "PUT", "POST", "PATCH", "DELETE"} {
				w := httptest.NewRecorder()
				req := httptest.NewRequest(method, route+p, strings.NewReader(`{"type":"file","format":"text","content":"x","path":"../root2/b"}`))
				r.ServeHTTP(w, req)
				require.GreaterOrEqual(t, w.Code, 400, "%s %s%s", method, route, p)
				require.Less(t, w.Code, 500, "%s %s%s", method, route, p)
				require.NotContains(t, w.Body.String(), "sibling")
				require.NotContains(t, w.Body.String(), base)
			}
		}
	}
	for _, body := range []string{`{"copy_from":"../root2/a.txt"}`, `{"copy_from":"x\u0000"}`} {
		w := httptest.NewRecorder()
		r.ServeHTTP(w, httptest.NewRequest("POST", "/api/contents", strings.NewReader(body)))
		require.Equal(t, http.StatusBadRequest, w.Code)
	}
	entries, err := os.ReadDir(root)
	require.NoError(t, err)
	require.Empty(t, entries)
	entries, err = os.ReadDir(filepath.Join(base, "root2"))
	require.NoError(t, err)
	require.Len(t, entries, 1)
}
