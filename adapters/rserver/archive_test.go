package rserver

import (
	"archive/zip"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
)

var small = archiveLimits{Files: 10, Bytes: 1000}

// entry is a file of a zip made by hand.
type entry struct {
	name, body string
	mode       os.FileMode
}

func makeZip(t testing.TB, entries ...entry) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		h.SetMode(e.mode | 0o600)
		w, err := z.CreateHeader(h)
		require.NoError(t, err)
		_, err = w.Write([]byte(e.body))
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	path := filepath.Join(t.TempDir(), "x.zip")
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o600))
	return path
}

func TestPackAndUnpack(t *testing.T) {
	from, to, dir := t.TempDir(), t.TempDir(), t.TempDir()
	for name, body := range map[string]string{"a.txt": "a", "d/b.txt": "b", ".hidden": "h", ".RData": "a file of the user's"} {
		require.NoError(t, writeFile(from, name, strings.NewReader(body)))
	}
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(from, "link")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ws"), []byte("workspace"), 0o600))
	size, err := pack(t.Context(), filepath.Join(dir, "x.zip"), from, filepath.Join(dir, "ws"), ".RData", small)
	require.NoError(t, err)
	info, err := os.Stat(filepath.Join(dir, "x.zip"))
	require.NoError(t, err)
	require.Equal(t, info.Size(), size)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	require.NoError(t, writeFile(to, "a.txt", strings.NewReader("old")))
	require.NoError(t, writeFile(to, "mine.txt", strings.NewReader("mine")))
	require.NoError(t, unpack(t.Context(), filepath.Join(dir, "x.zip"), to, filepath.Join(dir, "out"), ".RData", small))
	all, err := list(to)
	require.NoError(t, err)
	require.Equal(t, []string{".hidden", "a.txt", "d/b.txt", "mine.txt"}, all.names())
	for name, want := range map[string]string{filepath.Join(to, "a.txt"): "a", filepath.Join(dir, "out"): "workspace"} {
		got, err := os.ReadFile(name)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
}

func TestPackIsBounded(t *testing.T) {
	from, dir := t.TempDir(), t.TempDir()
	workspace, target := filepath.Join(dir, "ws"), filepath.Join(dir, "snapshots", "x.zip")
	require.NoError(t, os.Mkdir(filepath.Dir(target), 0o700))
	require.NoError(t, os.WriteFile(workspace, make([]byte, small.Bytes-10), 0o600))
	require.NoError(t, writeFile(from, "f", bytes.NewReader(make([]byte, 11))))
	_, err := pack(t.Context(), target, from, workspace, ".RData", small)
	require.Equal(t, fault.TooLarge, fault.KindOf(err))
	for i := range small.Files {
		require.NoError(t, writeFile(from, strings.Repeat("x", i+1), strings.NewReader("")))
	}
	_, err = pack(t.Context(), target, from, workspace, ".RData", small)
	require.Equal(t, fault.TooLarge, fault.KindOf(err))
	left, err := os.ReadDir(filepath.Dir(target))
	require.NoError(t, err)
	require.Empty(t, left, "whole or not at all (P7)")
}

// S8: no entry leads out of the folder, whatever its name and whatever is in the folder; no zip fills the disk.
func TestUnpackRefusesWhatIsHostile_S8(t *testing.T) {
	outside := t.TempDir()
	for name, entries := range map[string][]entry{
		"up":         {{"../evil", "x", 0}},
		"deep up":    {{"a/../../evil", "x", 0}},
		"absolute":   {{"/tmp/evil", "x", 0}},
		"backslash":  {{`..\evil`, "x", 0}},
		"empty":      {{"", "x", 0}},
		"dot":        {{".", "x", 0}},
		"folder":     {{"d/", "", 0}},
		"symlink":    {{"link", outside, os.ModeSymlink}},
		"pipe":       {{"pipe", "", os.ModeNamedPipe}},
		"twice":      {{"good", "x", 0}, {"../evil", "x", 0}},
		"NUL":        {{"a\x00b", "x", 0}},
		"bomb":       {{"zeros", strings.Repeat("\x00", int(small.Bytes)+1), 0}},
		"small bits": {{"a", strings.Repeat("x", 600), 0}, {"b", strings.Repeat("x", 600), 0}},
		"many":       make([]entry, small.Files+1),
		"workspace":  {{".RData", strings.Repeat("\x00", int(small.Bytes)+1), 0}},
	} {
		work := filepath.Join(t.TempDir(), "a", "work")
		require.NoError(t, os.MkdirAll(work, 0o700))
		err := unpack(t.Context(), makeZip(t, entries...), work, filepath.Join(t.TempDir(), "ws"), ".RData", small)
		require.Error(t, err, name)
		require.Contains(t, []fault.Kind{fault.Invalid, fault.TooLarge}, fault.KindOf(err), "%s: %v", name, err)
		all, err := list(filepath.Dir(filepath.Dir(work)))
		require.NoError(t, err)
		for p := range all {
			require.NotContains(t, p, "evil", name)
		}
	}
	// A link that the user's code has put there leads nowhere.
	work := t.TempDir()
	require.NoError(t, os.Symlink(outside, filepath.Join(work, "d")))
	require.NoError(t, os.Symlink(filepath.Join(outside, "victim"), filepath.Join(work, "f")))
	require.Error(t, unpack(t.Context(), makeZip(t, entry{"d/evil", "x", 0}), work, filepath.Join(t.TempDir(), "ws"), ".RData", small))
	require.NoError(t, unpack(t.Context(), makeZip(t, entry{"f", "x", 0}), work, filepath.Join(t.TempDir(), "ws"), ".RData", small))
	left, err := os.ReadDir(outside)
	require.NoError(t, err)
	require.Empty(t, left)
}

// FuzzUnpack: whatever a zip holds, nothing is written outside of the folder and no more than the limit.
func FuzzUnpack(f *testing.F) {
	for _, e := range [][]entry{{{"a", "x", 0}}, {{"../a", "x", 0}}, {{"d/b", "y", 0}, {".RData", "z", 0}}} {
		raw, err := os.ReadFile(makeZip(f, e...))
		require.NoError(f, err)
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		dir := t.TempDir()
		path, work := filepath.Join(dir, "x.zip"), filepath.Join(dir, "work")
		require.NoError(t, os.Mkdir(work, 0o700))
		require.NoError(t, os.WriteFile(path, raw, 0o600))
		_ = unpack(t.Context(), path, work, filepath.Join(dir, "ws"), ".RData", small)
		outside, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.LessOrEqual(t, len(outside), 3) // the zip, the folder, the workspace
		all, err := list(work)
		require.NoError(t, err)
		sum := int64(0)
		for _, m := range all {
			sum += m.size
		}
		require.LessOrEqual(t, sum, small.Bytes)
	})
}

func TestFileNames_S8(t *testing.T) {
	for _, name := range []string{"a", "a b", "é.txt", "d/a", ".hidden", "..a"} {
		require.NoError(t, checkFileName(name), name)
	}
	for _, name := range []string{"", ".", "..", "../a", "/a", "a/../../b", "a/", "a//b", "./a", `a\b`, "a\x00", strings.Repeat("x", 2000)} {
		require.Error(t, checkFileName(name), name)
	}
}
