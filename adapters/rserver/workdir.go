package rserver

import (
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/nbserv/nbserv/internal/fault"
)

// maxFiles bounds the files of a working folder that are listed, compared or put into a snapshot.
const maxFiles = 10_000

// mark tells a file's versions apart. Folders, links, pipes and the like are only there or not.
type mark struct {
	kind  fs.FileMode // its type bits; 0 is a regular file
	size  int64
	time  time.Time
	inode uint64
}

// listing is what is below a working folder, by its path in there.
type listing map[string]mark

// list reads a working folder; it follows no links (S8). More than maxFiles entries are TooLarge.
func list(dir string) (listing, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fault.OS(err, "the working folder")
	}
	defer func() { _ = root.Close() }()
	all := listing{}
	err = fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == "." { // what goes away meanwhile is not there
			return nil
		}
		if len(all) == maxFiles {
			return fault.New(fault.TooLarge, "the working folder has more than %d files", maxFiles)
		}
		if !d.Type().IsRegular() {
			all[p] = mark{kind: d.Type()}
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		m := mark{size: info.Size(), time: info.ModTime()}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			m.inode = st.Ino
		}
		all[p] = m
		return nil
	})
	return all, err
}

// names gives the files in order.
func (l listing) names() []string { return listing{}.changed(l) }

// changed gives the files of now that are not in before, or are others.
func (before listing) changed(now listing) []string {
	names := []string{}
	for n, m := range now {
		if m.kind == 0 && !before.has(n, m) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names
}

func (l listing) has(name string, m mark) bool {
	old, ok := l[name]
	return ok && old.kind == m.kind && old.size == m.size && old.inode == m.inode && old.time.Equal(m.time)
}

// same tells whether nothing was changed, added or removed.
func (before listing) same(now listing) bool {
	for n, m := range now {
		if !before.has(n, m) {
			return false
		}
	}
	return len(before) == len(now)
}

// checkFileName says whether a file can have this name: a relative path that stays where it begins (S8).
func checkFileName(name string) error {
	local := filepath.IsLocal(name) && name != "." && !strings.ContainsAny(name, "\\\x00")
	if !local || len(name) > 1024 || path.Clean(name) != name {
		return fault.New(fault.Invalid, "the name of the file cannot be used")
	}
	return nil
}

// openFile opens a regular file of a working folder to read. Whatever else has that name is NotFound.
func openFile(dir, name string) (*os.File, fs.FileInfo, error) {
	if err := checkFileName(name); err != nil {
		return nil, nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, fault.OS(err, "the working folder")
	}
	defer func() { _ = root.Close() }()
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not hold us up
	if err != nil {
		return nil, nil, fault.Wrap(fault.NotFound, err, "the session has no file of that name")
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		_ = f.Close()
		return nil, nil, fault.New(fault.NotFound, "the session has no file of that name")
	}
	return f, info, nil
}

// writeFile puts a file into a working folder, whole or not at all.
func writeFile(dir, name string, body io.Reader) (err error) {
	if err := checkFileName(name); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fault.OS(err, "the working folder")
	}
	defer func() { _ = root.Close() }()
	if folder := path.Dir(name); folder != "." {
		if err := root.MkdirAll(folder, 0o700); err != nil {
			return fault.OS(err, "the file")
		}
	}
	temporary := path.Join(path.Dir(name), ".upload-"+uuid.NewString())
	f, err := root.OpenFile(temporary, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fault.OS(err, "the file")
	}
	defer func() {
		if err != nil {
			_ = root.Remove(temporary)
		}
	}()
	_, err = io.Copy(f, body)
	if cerr := f.Close(); err == nil {
		err = fault.OS(cerr, "the file")
	}
	if err != nil {
		return err
	}
	return fault.OS(root.Rename(temporary, name), "the file")
}

// removeFile deletes a file. Whatever is no file is NotFound.
func removeFile(dir, name string) error {
	if err := checkFileName(name); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fault.OS(err, "the working folder")
	}
	defer func() { _ = root.Close() }()
	if info, err := root.Lstat(name); err != nil || info.IsDir() {
		return fault.New(fault.NotFound, "the session has no file of that name")
	}
	return fault.OS(root.Remove(name), "the file")
}

// removeExtra removes what is there now and was not before.
func removeExtra(dir string, before, now listing) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fault.OS(err, "the working folder")
	}
	defer func() { _ = root.Close() }()
	for name, m := range now {
		if old, ok := before[name]; ok && old.kind == m.kind {
			continue
		}
		if err := root.RemoveAll(name); err != nil {
			return fault.OS(err, "a file")
		}
	}
	return nil
}
