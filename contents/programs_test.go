package contents

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nbserv/nbserv/internal/fault"
)

func forPrograms(c *Config) {
	c.ForPrograms, c.FollowSymlinks, c.DeleteToTrash, c.AlwaysDeleteDir = true, false, false, true
}

func put(t *testing.T, d *Dir, path, text string) {
	t.Helper()
	_, err := d.WriteFile(context.Background(), mustPath(path), strings.NewReader(text))
	require.NoError(t, err)
}

// TestFoldersAppearWithTheirFile_P8: not before the commit, and not at all when it does not come.
func TestFoldersAppearWithTheirFile_P8(t *testing.T) {
	d := newDir(t, forPrograms)
	c := serve(t, d)
	ctx := context.Background()
	put(t, d, "plain", "x")
	u, err := d.Staging().Begin("1", mustPath("a/b/c.bin"), 3)
	require.NoError(t, err)
	require.NoError(t, u.WriteAt(ctx, part(0, "abc")))
	require.NotContains(t, c.names("."), "a")
	d2 := newDir(t, forPrograms, func(c *Config) { c.RootDir = d.root }) // after a restart
	u, err = d2.Staging().Upload("1")
	require.NoError(t, err)
	require.Empty(t, u.Missing())
	other, err := d2.Staging().Begin("2", mustPath("a/b/d/e.bin"), 3)
	require.NoError(t, err)
	_, err = u.Commit(ctx)
	require.NoError(t, err)
	require.NoError(t, other.Cancel())
	require.Equal(t, []string{"a", "plain"}, c.names("."))
	require.Equal(t, "abc", c.read("a/b/c.bin"))
	require.Equal(t, []string{"c.bin"}, c.names("a/b"))
	put(t, d, "a/n/m/f", "deep")
	require.Equal(t, "deep", c.read("a/n/m/f"))
	_, err = d.WriteFile(ctx, mustPath("plain/x/y"), strings.NewReader(""))
	kindOf(t, fault.Conflict, err)
	_, err = d.Staging().Begin("3", mustPath("a/b/c.bin/x"), 3)
	kindOf(t, fault.Conflict, err)

	// A folder's place may be taken while an upload waits.
	u, err = d.Staging().Begin("4", mustPath("late/x"), 0)
	require.NoError(t, err)
	put(t, d, "late", "a file now")
	_, err = u.Commit(ctx)
	kindOf(t, fault.Conflict, err)
	require.NoError(t, d.Delete(ctx, mustPath("late")))
	_, err = u.Commit(ctx)
	require.NoError(t, err, "the bytes were kept for another try")
}

func TestEveryCommitHasALaterTime(t *testing.T) {
	d := newDir(t, forPrograms)
	ctx := context.Background()
	var last time.Time
	later := func() {
		t.Helper()
		files, _, err := d.Inventory(ctx, mustPath("a"))
		require.NoError(t, err)
		require.Greater(t, files[0].Modified, last)
		last = files[0].Modified
	}
	for i := range 50 {
		if i == 25 { // the clock was put back
			future := time.Now().Add(time.Hour)
			require.NoError(t, os.Chtimes(filepath.Join(d.root, "a"), future, future))
		}
		put(t, d, "a", "same")
		later()
		u, err := d.Staging().Begin("1", mustPath("a"), 1)
		require.NoError(t, err)
		require.NoError(t, u.WriteAt(ctx, part(0, "x")))
		_, err = u.Commit(ctx)
		require.NoError(t, err)
		later()
	}
}

func TestInventory(t *testing.T) {
	d := newDir(t, forPrograms)
	c := serve(t, d)
	ctx := context.Background()
	for name, text := range map[string]string{"b": "12", "a": "1", "d/x": "123", "d/e/y": "1234", "d/.hidden": "x", ".git/z": "x",
		reservedPrefix + "0.tmp": "x", "e/.ipynb_checkpoints/q": "x"} {
		c.write(name, text)
	}
	out := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(out, "secret"), []byte("xx"), 0o600))
	require.NoError(t, os.Symlink(out, filepath.Join(d.root, "out")))
	require.NoError(t, os.Symlink(filepath.Join(out, "secret"), filepath.Join(d.root, "d", "link")))
	require.NoError(t, unix.Mkfifo(filepath.Join(d.root, "pipe"), 0o600))

	files, folders, err := d.Inventory(ctx, Path{})
	require.NoError(t, err)
	require.Len(t, files, 2)
	require.Equal(t, "a", files[0].Path.String())
	require.EqualValues(t, 2, files[1].Size)
	require.Equal(t, []FolderInfo{{mustPath("d"), 2, 7}, {mustPath("e"), 0, 0}}, folders)
	sum, err := d.Usage(ctx, Path{})
	require.NoError(t, err)
	require.Equal(t, FolderInfo{Path{}, 4, 10}, sum)
	sum, err = d.Usage(ctx, mustPath("d/x"))
	require.NoError(t, err)
	require.Equal(t, FolderInfo{mustPath("d/x"), 1, 3}, sum)
	for _, p := range []string{"nothing", "out/secret", "d/link", ".git", ".git/z", "out"} {
		_, _, err := d.Inventory(ctx, mustPath(p))
		kindOf(t, fault.NotFound, err)
	}
	_, err = d.Usage(ctx, mustPath("pipe"))
	kindOf(t, fault.Invalid, err)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	_, err = d.Usage(gone, Path{})
	kindOf(t, fault.Canceled, err)
	total, free, err := d.DiskSpace()
	require.NoError(t, err)
	require.Greater(t, total, free)
}

func TestWalk(t *testing.T) {
	d := newDir(t, forPrograms)
	c := serve(t, d)
	ctx := context.Background()
	for name, text := range map[string]string{"b.csv": "12", "a": "1", "d/x": "123", "d/e/y": "1234", "d/.hidden": "x", ".git/z": "x"} {
		c.write(name, text)
	}
	out := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(out, "secret"), []byte("xx"), 0o600))
	require.NoError(t, os.Symlink(out, filepath.Join(d.root, "out")))
	require.NoError(t, os.Symlink(filepath.Join(out, "secret"), filepath.Join(d.root, "d", "link")))
	require.NoError(t, unix.Mkfifo(filepath.Join(d.root, "d", "pipe"), 0o600))
	names := func(found []Entry) (list []string) {
		for _, e := range found {
			list = append(list, e.Path.String())
		}
		return list
	}

	found, more, err := d.Walk(ctx, Path{}, false, 10)
	require.NoError(t, err)
	require.False(t, more)
	require.Equal(t, []string{"a", "b.csv", "d"}, names(found))
	require.Equal(t, []bool{false, false, true}, []bool{found[0].Folder, found[1].Folder, found[2].Folder})
	require.EqualValues(t, 2, found[1].Size)
	require.Equal(t, "text/csv", found[1].Mimetype)
	require.WithinDuration(t, time.Now(), found[1].Modified, time.Minute)

	found, more, err = d.Walk(ctx, mustPath("d"), true, 10)
	require.NoError(t, err)
	require.False(t, more)
	require.Equal(t, []string{"d/e", "d/e/y", "d/x"}, names(found))

	found, more, err = d.Walk(ctx, Path{}, true, 3)
	require.NoError(t, err)
	require.True(t, more)
	require.Len(t, found, 3)

	found, _, err = d.Walk(ctx, mustPath("d/x"), true, 10)
	require.NoError(t, err)
	require.Equal(t, []string{"d/x"}, names(found))
	for _, p := range []string{"nothing", "out", "out/secret", "d/link", ".git", ".git/z"} {
		_, _, err := d.Walk(ctx, mustPath(p), true, 10)
		kindOf(t, fault.NotFound, err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	_, _, err = d.Walk(gone, Path{}, true, 10)
	kindOf(t, fault.Canceled, err)
}

func TestCopyTree(t *testing.T) {
	d := newDir(t, forPrograms, func(c *Config) { c.MaxCopy = 1000 })
	c := serve(t, d)
	ctx := context.Background()
	for _, name := range []string{"app/_.dir", "app/m.xml", "app/code/_.dir", "app/code/run", "app/data/big", "app/.git/x", "app/code/skip"} {
		c.write(name, name)
	}
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(d.root, "app/link")))
	copyTree := func(from, to string, o TreeCopy) error { return d.CopyTree(ctx, mustPath(from), mustPath(to), o) }

	require.NoError(t, copyTree("app", "new/deep/copy", TreeCopy{Mark: "_.dir", Skip: []string{"code/skip"}}))
	require.Equal(t, []string{"_.dir", "code", "m.xml"}, c.names("new/deep/copy"), "data has no mark, links and hidden names stay")
	require.Equal(t, []string{"_.dir", "run"}, c.names("new/deep/copy/code"))
	require.NoError(t, copyTree("app/data", "unmarked", TreeCopy{Mark: "_.dir"}))
	require.NoFileExists(t, filepath.Join(d.root, "unmarked"))

	c.write("have/m.xml", "old")
	c.write("have/own", "own")
	require.NoError(t, copyTree("app", "have", TreeCopy{Skip: []string{"skip"}}))
	require.Equal(t, "app/m.xml", c.read("have/m.xml"))
	require.Equal(t, []string{"_.dir", "code", "data", "m.xml", "own"}, c.names("have"))
	require.NoError(t, copyTree("app/m.xml", "one/file", TreeCopy{}))
	require.Equal(t, "app/m.xml", c.read("one/file"))
	require.NoError(t, copyTree("app/m.xml", "skipped", TreeCopy{Skip: []string{"m.xml"}}))

	c.write("clash/code", "a file where a folder goes")
	c.write("clash/m.xml", "old")
	before := c.tree()
	kindOf(t, fault.Conflict, copyTree("app", "clash", TreeCopy{}))
	kindOf(t, fault.Conflict, copyTree("app", "clash/m.xml", TreeCopy{}))
	kindOf(t, fault.Conflict, copyTree("app", "clash/m.xml/x", TreeCopy{}))
	kindOf(t, fault.Invalid, copyTree("app", "app/x", TreeCopy{}))
	kindOf(t, fault.Invalid, copyTree("app/code", "app", TreeCopy{}))
	kindOf(t, fault.NotFound, copyTree("nothing", "x", TreeCopy{}))
	kindOf(t, fault.NotFound, copyTree("app/link", "x", TreeCopy{}))
	require.Equal(t, before, c.tree())
	c.write("big/x", strings.Repeat("x", 2000))
	before = c.tree()
	kindOf(t, fault.TooLarge, copyTree("big", "x", TreeCopy{}))
	gone, cancel := context.WithCancel(ctx)
	cancel()
	kindOf(t, fault.Canceled, d.CopyTree(gone, mustPath("app"), mustPath("x"), TreeCopy{}))
	require.Equal(t, before, c.tree())
}

// TestPrivateFoldersExistForNobody_S8: by their own path, through a link, or with the folder around them.
func TestPrivateFoldersExistForNobody_S8(t *testing.T) {
	root := t.TempDir()
	state := filepath.Join(root, "app", "state")
	require.NoError(t, os.MkdirAll(state, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(state, "secret"), []byte("secret"), 0o600))
	require.NoError(t, os.Symlink("app/state", filepath.Join(root, "link")))
	d := newDir(t, forPrograms, func(c *Config) { c.RootDir, c.Private = root, []string{state, "/does/not/exist"} })
	ctx := context.Background()
	for _, p := range []string{"app/state", "app/state/secret", "link/secret", "link"} {
		_, err := d.Open(ctx, mustPath(p))
		kindOf(t, fault.NotFound, err)
		_, err = d.Usage(ctx, mustPath(p))
		kindOf(t, fault.NotFound, err)
		_, err = d.WriteFile(ctx, mustPath(p+"/new"), strings.NewReader("x"))
		kindOf(t, fault.Invalid, err)
		kindOf(t, fault.Invalid, d.Delete(ctx, mustPath(p)))
		kindOf(t, fault.Invalid, d.CopyTree(ctx, mustPath(p), mustPath("x"), TreeCopy{}))
	}
	kindOf(t, fault.Forbidden, d.Delete(ctx, mustPath("app")))
	sum, err := d.Usage(ctx, Path{})
	require.NoError(t, err)
	require.Zero(t, sum.Files)
	require.NoError(t, d.CopyTree(ctx, mustPath("app"), mustPath("x"), TreeCopy{}))
	require.NoDirExists(t, filepath.Join(root, "x", "state"))
}

// TestUploadsAreBoundedInBytes: one by its size, all by what they hold.
func TestUploadsAreBoundedInBytes(t *testing.T) {
	d := newDir(t, func(c *Config) { c.MaxUpload, c.MaxStaging = 10, 12 })
	ctx := context.Background()
	s := d.Staging()
	_, err := s.Begin("0", mustPath("a"), 11)
	kindOf(t, fault.TooLarge, err)
	a, err := s.Begin("a", mustPath("a"), 10)
	require.NoError(t, err)
	require.NoError(t, a.WriteAt(ctx, part(0, "0123456789")))
	b, err := s.Begin("b", mustPath("b"), UnknownSize)
	require.NoError(t, err)
	kindOf(t, fault.TooLarge, b.WriteAt(ctx, part(10, "x")))
	require.NoError(t, b.WriteAt(ctx, part(0, "01")))
	kindOf(t, fault.NoSpace, b.WriteAt(ctx, part(2, "2")))
	require.NoError(t, a.WriteAt(ctx, part(3, "345")), "a repeat takes no room")
	require.EqualValues(t, 12, s.Held())
	d = newDir(t, func(c *Config) { c.RootDir, c.MaxUpload, c.MaxStaging = d.root, 10, 12 })
	s = d.Staging()
	require.EqualValues(t, 12, s.Held(), "after a restart, too")
	a, err = s.Upload("a")
	require.NoError(t, err)
	b, err = s.Upload("b")
	require.NoError(t, err)
	require.NoError(t, a.Cancel())
	require.NoError(t, b.WriteAt(ctx, part(2, "2")), "a cancel gives its room back")
	kindOf(t, fault.Invalid, b.WriteAt(ctx, Part{Range: Range{3, 6}, Body: strings.NewReader("3")}))
	require.EqualValues(t, 3, s.Held())
	_, err = b.Commit(ctx)
	require.NoError(t, err)
	require.Zero(t, s.Held())
}

// TestADeletedFolderTakesItsUploads: nothing is left of them in memory or in sidecars.
func TestADeletedFolderTakesItsUploads(t *testing.T) {
	d := newDir(t, forPrograms)
	put(t, d, "a/b/c", "x")
	u, err := d.Staging().Begin("1", mustPath("a/b/new"), 3)
	require.NoError(t, err)
	_, err = d.Staging().Begin("2", mustPath("a2/new"), 3)
	require.NoError(t, err)
	require.NoError(t, d.Delete(context.Background(), mustPath("a")))
	require.NoFileExists(t, u.sidecarPath())
	require.Len(t, d.Staging().Uploads(Path{}), 1)
}

// TestRangesOfAnotherBootAreNotBelieved: a crash of the machine may have lost bytes that the sidecar speaks of.
func TestRangesOfAnotherBootAreNotBelieved(t *testing.T) {
	d := newDir(t)
	ctx := context.Background()
	d.staging.boot = "another"
	u, err := d.Staging().Begin("1", mustPath("a"), 4)
	require.NoError(t, err)
	require.NoError(t, u.WriteAt(ctx, part(0, "0123")))
	d = newDir(t, func(c *Config) { c.RootDir = d.root })
	u, err = d.Staging().Upload("1")
	require.NoError(t, err)
	require.Equal(t, []Range{{0, 4}}, u.Missing())
	require.NoError(t, u.WriteAt(ctx, part(0, "01")))
	d = newDir(t, func(c *Config) { c.RootDir = d.root })
	u, err = d.Staging().Upload("1")
	require.NoError(t, err)
	require.Equal(t, []Range{{2, 4}}, u.Missing(), "what this run has recorded counts")
}

// TestATornLineSpoilsNoOther: a crash or a full disk may cut one anywhere.
func TestATornLineSpoilsNoOther(t *testing.T) {
	line := "\n+ 0 2 0 .\n"
	for cut := range len(line) {
		d := newDir(t)
		u, err := d.Staging().Begin("1", mustPath("a"), 9)
		require.NoError(t, err)
		f, err := os.OpenFile(u.sidecarPath(), os.O_WRONLY|os.O_APPEND, 0)
		require.NoError(t, err)
		_, err = f.WriteString(line[:cut])
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.NoError(t, u.WriteAt(context.Background(), part(5, "56")))
		d = newDir(t, func(c *Config) { c.RootDir = d.root })
		u, err = d.Staging().Upload("1")
		require.NoError(t, err)
		require.Contains(t, u.Missing(), Range{7, 9})
		require.NotContains(t, u.Missing(), Range{5, 9}, "the line after the torn one counts")
	}
}
