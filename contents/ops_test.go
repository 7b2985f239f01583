package contents

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRename(t *testing.T) {
	c := serve(t, newDir(t))
	c.write("a.txt", "a")
	c.write("b.txt", "b")
	c.write("d/x.txt", "x")
	resp, body := c.do("PATCH", "/api/contents/a.txt", `{"path":"/d/ä.txt"}`)
	require.Equal(t, 200, resp.StatusCode, body)
	require.Equal(t, "/a%40b/api/contents/d/%C3%A4.txt", resp.Header.Get("Location"))
	require.Equal(t, "a", c.read("d/ä.txt"))
	require.Equal(t, "b.txt", c.model(200, "PATCH", "/api/contents/b.txt", `{}`)["path"])
	require.Equal(t, "b.txt", c.model(200, "PATCH", "/api/contents/b.txt", `{"path":"b.txt"}`)["path"])
	c.refused(409, "PATCH", "/api/contents/b.txt", `{"path":"d/x.txt"}`)
	c.refused(409, "PATCH", "/api/contents/b.txt", `{"path":"d"}`)
	c.refused(409, "PATCH", "/api/contents/b.txt", `{"path":""}`)
	c.refused(404, "PATCH", "/api/contents/nowhere", `{"path":"c"}`)
	c.refused(404, "PATCH", "/api/contents/b.txt", `{"path":"nowhere/b.txt"}`)
	c.refused(400, "PATCH", "/api/contents/d", `{"path":"d/e"}`)
	c.refused(400, "PATCH", "/api/contents", `{"path":"e"}`)
	require.Equal(t, "e", c.model(200, "PATCH", "/api/contents/d", `{"path":"e"}`)["path"])
	require.Equal(t, map[string]string{"b.txt": "b", "e": "d---------", "e/x.txt": "x", "e/ä.txt": "a"}, c.tree())
}

// TestConcurrentRenamesLoseNothing: of many that want one name, one gets it.
func TestConcurrentRenamesLoseNothing(t *testing.T) {
	c := serve(t, newDir(t))
	var wg sync.WaitGroup
	for i := range 10 {
		c.write(fmt.Sprint(i), "x")
	}
	won := make(chan int, 10)
	for i := range 10 {
		wg.Go(func() {
			if resp, _ := c.do("PATCH", fmt.Sprintf("/api/contents/%d", i), `{"path":"one"}`); resp.StatusCode == 200 {
				won <- i
			}
		})
	}
	wg.Wait()
	require.Len(t, won, 1)
	require.Len(t, c.tree(), 10)
}

func TestDeleteToTheTrash(t *testing.T) {
	d := newDir(t)
	c := serve(t, d)
	for _, name := range []string{"ä b.txt", "d/x/y.txt", "e/ä b.txt"} {
		c.write(name, name)
	}
	require.NoError(t, os.Symlink("d", filepath.Join(d.root, "link")))
	for _, p := range []string{"ä b.txt", "e/ä b.txt", "d", "link"} {
		resp, body := c.do("DELETE", "/api/contents/"+p, "")
		require.Equal(t, http.StatusNoContent, resp.StatusCode, body)
		require.Empty(t, body)
	}
	require.Equal(t, map[string]string{"e": "d---------"}, c.tree())
	can := &client{t: t, root: d.cfg.TrashDir}
	require.Equal(t, "ä b.txt", can.read("files/ä b.txt"))
	require.Equal(t, "e/ä b.txt", can.read("files/ä b 2.txt"))
	require.Equal(t, "d/x/y.txt", can.read("files/d/x/y.txt"))
	note := can.read("info/ä b 2.txt.trashinfo")
	require.Regexp(t, `^\[Trash Info\]\nPath=/.*/e/%C3%A4%20b.txt\nDeletionDate=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\n$`, note)
	c.refused(404, "DELETE", "/api/contents/ä b.txt", "")
	c.refused(400, "DELETE", "/api/contents", "")
	c.refused(400, "DELETE", "/api/contents/", "")
}

// TestTrashOfAnotherFileSystem: it is at the top of the file system that the file is on.
func TestTrashOfAnotherFileSystem(t *testing.T) {
	small := t.TempDir()
	if err := mountSmall(small, 1<<20); err != nil {
		t.Skipf("no small file system could be mounted: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, unmount(small)) })
	root := filepath.Join(small, "root")
	require.NoError(t, os.Mkdir(root, 0o755))
	d := newDir(t, func(c *Config) { c.RootDir = root })
	c := serve(t, d)
	c.write("a.txt", "x")
	c.do("DELETE", "/api/contents/a.txt", "")
	require.Empty(t, c.tree())
	can := &client{t: t, root: filepath.Join(small, fmt.Sprintf(".Trash-%d", os.Getuid()))}
	require.Equal(t, "x", can.read("files/a.txt"))
	require.Contains(t, can.read("info/a.txt.trashinfo"), "Path=root/a.txt\n")
	require.NoError(t, d.Close())
}

func TestDeleteWithoutTrash(t *testing.T) {
	c := serve(t, newDir(t, noTrash))
	for _, name := range []string{"a.txt", "full/x", "left/.ipynb_checkpoints/x-checkpoint.txt"} {
		c.write(name, "")
	}
	require.NoError(t, os.Symlink("full", filepath.Join(c.root, "link")))
	require.Contains(t, c.refused(400, "DELETE", "/api/contents/full", ""), "not empty")
	for _, p := range []string{"a.txt", "left", "link"} {
		c.do("DELETE", "/api/contents/"+p, "")
	}
	require.Equal(t, map[string]string{"full": "d---------", "full/x": ""}, c.tree())
	c = serve(t, newDir(t, noTrash, func(c *Config) { c.AlwaysDeleteDir = true }))
	c.write("full/x/y", "")
	c.do("DELETE", "/api/contents/full", "")
	require.Empty(t, c.tree())
}

func TestCopy(t *testing.T) {
	d := newDir(t)
	c := serve(t, d)
	c.write("a.tar.gz", "a")
	c.write("n.x.ipynb", "no notebook, but copied")
	c.write("d/x", "")
	copies := func(from, to string) string {
		return c.model(201, "POST", "/api/contents/"+to, `{"copy_from":"`+from+`"}`)["path"].(string)
	}
	require.Equal(t, "a-Copy1.tar.gz", copies("a.tar.gz", ""))
	require.Equal(t, "a-Copy2.tar.gz", copies("a-Copy1.tar.gz", ""))
	require.Equal(t, "d/a.tar.gz", copies("/a.tar.gz", "d"))
	require.Equal(t, "n.x-Copy1.ipynb", copies("n.x.ipynb", ""))
	require.Equal(t, "new.txt", copies("a.tar.gz", "new.txt"))
	require.Equal(t, "a", c.read("new.txt"))
	c.refused(400, "POST", "/api/contents/new.txt", `{"copy_from":"a.tar.gz"}`)
	c.refused(404, "POST", "/api/contents", `{"copy_from":"nowhere"}`)
	c.refused(404, "POST", "/api/contents/nowhere/x", `{"copy_from":"a.tar.gz"}`)
}

func TestCopyDirectory(t *testing.T) {
	d := newDir(t, func(c *Config) { c.MaxCopy = 100 })
	c := serve(t, d)
	c.write("d/sub/x.txt", "x")
	c.write("d/.h", "h")
	require.NoError(t, os.Symlink("x.txt", filepath.Join(d.root, "d/sub/file")))
	require.NoError(t, os.Symlink("..", filepath.Join(d.root, "d/sub/up")))
	require.Equal(t, "d-Copy1", c.model(201, "POST", "/api/contents", `{"copy_from":"d"}`)["path"])
	require.Equal(t, "made/it/d", c.model(201, "POST", "/api/contents/made/it", `{"copy_from":"d"}`)["path"])
	for _, dir := range []string{"d-Copy1", "made/it/d"} {
		require.Equal(t, "x", c.read(dir+"/sub/x.txt"))
		require.Equal(t, "x", c.read(dir+"/sub/file"))
		require.Equal(t, "h", c.read(dir+"/.h"))
		to, err := os.Readlink(filepath.Join(d.root, dir, "sub/up"))
		require.NoError(t, err)
		require.Equal(t, "..", to)
	}
	c.refused(400, "POST", "/api/contents/d/sub", `{"copy_from":"d"}`)
	c.write("d/big", strings.Repeat("x", 101))
	before := c.tree()
	require.Contains(t, c.refused(400, "POST", "/api/contents", `{"copy_from":"d"}`), "larger")
	require.Equal(t, before, c.tree())
}

func TestCheckpointsFollowTheFile(t *testing.T) {
	c := serve(t, newDir(t))
	c.write("a.b.txt", "one")
	past := time.Now().Add(-time.Hour).Truncate(time.Microsecond)
	require.NoError(t, os.Chtimes(filepath.Join(c.root, "a.b.txt"), past, past))
	list := func(p string) string {
		_, body := c.do("GET", "/api/contents/"+p+"/checkpoints", "")
		return strings.TrimSpace(body)
	}
	require.Equal(t, "[]", list("a.b.txt"))
	resp, body := c.do("POST", "/api/contents/a.b.txt/checkpoints", "")
	require.Equal(t, 201, resp.StatusCode)
	require.Equal(t, "/a%40b/api/contents/a.b.txt/checkpoints/checkpoint", resp.Header.Get("Location"))
	require.JSONEq(t, fmt.Sprintf(`{"id":"checkpoint","last_modified":%s}`, appendTime(nil, past)), body)
	require.Equal(t, "["+strings.TrimSpace(body)+"]", list("a.b.txt"))
	require.Equal(t, "one", c.read(".ipynb_checkpoints/a.b-checkpoint.txt"))

	c.model(200, "PUT", "/api/contents/a.b.txt", fileModel)
	c.model(201, "PUT", "/api/contents/d", `{"type":"directory"}`)
	c.model(200, "PATCH", "/api/contents/a.b.txt", `{"path":"d/c"}`)
	require.Equal(t, "one", c.read("d/.ipynb_checkpoints/c-checkpoint"))
	require.Empty(t, c.names(".ipynb_checkpoints"))
	resp, _ = c.do("POST", "/api/contents/d/c/checkpoints/checkpoint", "")
	require.Equal(t, 204, resp.StatusCode)
	require.Equal(t, "one", c.read("d/c"))
	c.do("DELETE", "/api/contents/d/c", "")
	require.Empty(t, c.names("d/.ipynb_checkpoints"))

	c.write("e", "x")
	c.refused(404, "POST", "/api/contents/e/checkpoints/checkpoint", "")
	c.refused(404, "POST", "/api/contents/e/checkpoints/other", "")
	c.refused(404, "DELETE", "/api/contents/e/checkpoints/checkpoint", "")
	c.refused(404, "POST", "/api/contents/nowhere/checkpoints", "")
	c.refused(400, "POST", "/api/contents/d/checkpoints", "")
	c.do("POST", "/api/contents/e/checkpoints", "")
	resp, _ = c.do("DELETE", "/api/contents/e/checkpoints/checkpoint", "")
	require.Equal(t, 204, resp.StatusCode)
	require.Equal(t, "[]", list("e"))
}

func TestKernelDir(t *testing.T) {
	for _, follow := range []bool{true, false} {
		d := newDir(t, func(c *Config) { c.FollowSymlinks = follow })
		c := &client{t: t, root: d.root}
		c.write("d/e/a.ipynb", "{}")
		require.NoError(t, os.Symlink("d/e", filepath.Join(d.root, "link")))
		real, err := filepath.EvalSymlinks(d.root)
		require.NoError(t, err)
		for in, want := range map[string]string{
			"d/e/a.ipynb": "d/e", "d/e": "d/e", "d/nowhere/x/new.ipynb": "d", "new.ipynb": "", "": "", "link/a.ipynb": "d/e",
			"../../etc/passwd": "", "d/../../x": "", "\x00": "",
		} {
			require.Equal(t, filepath.Join(real, want), must(filepath.EvalSymlinks(d.KernelDir(in))), "%q", in)
		}
	}
}

func must(s string, err error) string {
	if err != nil {
		panic(err)
	}
	return s
}

func TestConfigNamesTheFlag(t *testing.T) {
	dir := t.TempDir()
	for flag, change := range map[string]func(*Config){
		"--root-dir":             func(c *Config) { c.RootDir = filepath.Join(dir, "nowhere") },
		"--base-url":             func(c *Config) { c.BaseURL = "/x" },
		"--untitled-file":        func(c *Config) { c.UntitledFile = "a/b" },
		"--max-body-size":        func(c *Config) { c.MaxBody = 0 },
		"--max-copy-folder-size": func(c *Config) { c.MaxCopy = -1 },
		"--staging-ttl":          func(c *Config) { c.StagingTTL = 0 },
		"--max-uploads":          func(c *Config) { c.MaxUploads = 0 },
		"--trash-dir":            func(c *Config) { c.TrashDir = "trash" },
		"--preferred-dir":        func(c *Config) { c.PreferredDir = "../x" },
	} {
		c := DefaultConfig()
		c.RootDir = dir
		require.NoError(t, c.Validate())
		change(&c)
		require.ErrorContains(t, c.Validate(), flag)
		_, err := New(c)
		require.Error(t, err)
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "sub"), 0o755))
	for in, want := range map[string]string{"": "", ".": "", "/sub": "sub", "sub/": "sub", filepath.Join(dir, "sub"): "sub", dir: ""} {
		d := newDir(t, func(c *Config) { c.RootDir, c.PreferredDir = dir, in })
		require.Equal(t, want, d.PreferredDir().String(), in)
	}
}

func TestWriteFileAndOpen(t *testing.T) {
	d := newDir(t)
	ctx := context.Background()
	m, err := d.WriteFile(ctx, mustPath("a.bin"), strings.NewReader("bytes"))
	require.NoError(t, err)
	require.EqualValues(t, 5, m.Size)
	f, err := d.Open(ctx, mustPath("a.bin"))
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = d.WriteFile(ctx, mustPath(".a"), strings.NewReader("x"))
	require.Error(t, err)
	_, err = d.Open(ctx, Path{})
	require.Error(t, err)
}
