package contents

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// tree opens names below one root. Names come from Path.local or from resolve.
type tree interface {
	OpenFile(name string, flag int, perm fs.FileMode) (*os.File, error)
	stat(name string, st *unix.Stat_t) error
	lstat(name string, st *unix.Stat_t) error
	writable(name string) bool
	Mkdir(name string, perm fs.FileMode) error
	MkdirAll(name string, perm fs.FileMode) error
	RemoveAll(name string) error
	Close() error

	// resolve follows a symbolic link that name ends in, so that a save replaces the file and not the link.
	// What does not exist is returned as it is.
	resolve(name string) (string, error)
	// real is the absolute path of an existing name, without symbolic links.
	real(name string) (string, error)
}

// rooted is os.Root: nothing leaves the root, by whatever link.
type rooted struct {
	*os.Root
	dir string // absolute, without symbolic links
}

// maxLinks is Linux's limit on links followed in one lookup.
const maxLinks = 40

func (r rooted) stat(name string, st *unix.Stat_t) error {
	info, err := r.Stat(name)
	if err == nil {
		fromInfo(info, st)
	}
	return err
}

func (r rooted) lstat(name string, st *unix.Stat_t) error {
	info, err := r.Lstat(name)
	if err == nil {
		fromInfo(info, st)
	}
	return err
}

func (r rooted) resolve(name string) (string, error) {
	var done []string
	todo := strings.Split(name, "/")
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(done) == 0 {
				return "", errOutside
			}
			done = done[:len(done)-1]
			continue
		}
		next := path.Join(append(done, part)...)
		info, err := r.Lstat(next)
		if err != nil || info.Mode()&fs.ModeSymlink == 0 {
			done = append(done, part)
			continue
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "resolve", Path: name, Err: syscall.ELOOP}
		}
		target, err := r.Readlink(next)
		if err != nil {
			return "", err
		}
		if path.IsAbs(target) {
			return "", errOutside
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	if len(done) == 0 {
		return ".", nil
	}
	return strings.Join(done, "/"), nil
}

func (r rooted) real(name string) (string, error) {
	rel, err := r.resolve(name)
	if err != nil {
		return "", err
	}
	return filepath.Join(r.dir, rel), nil
}

func (r rooted) writable(name string) bool {
	real, err := r.real(name)
	return err == nil && unix.Access(real, unix.W_OK) == nil
}

// errOutside is a link that leads out of a root that must not be left.
var errOutside = errors.New("the link leads outside the root")

// following is a root whose symbolic links may lead anywhere. Names are safe because Path has no "..".
type following struct {
	dir string // absolute
}

func (f following) abs(name string) string {
	if filepath.IsAbs(name) { // from resolve
		return name
	}
	return filepath.Join(f.dir, name)
}

func (f following) OpenFile(name string, flag int, perm fs.FileMode) (*os.File, error) {
	return os.OpenFile(f.abs(name), flag, perm)
}
func (f following) Mkdir(name string, perm fs.FileMode) error { return os.Mkdir(f.abs(name), perm) }
func (f following) MkdirAll(name string, perm fs.FileMode) error {
	return os.MkdirAll(f.abs(name), perm)
}
func (f following) RemoveAll(name string) error { return os.RemoveAll(f.abs(name)) }
func (f following) Close() error                { return nil }

func (f following) stat(name string, st *unix.Stat_t) error {
	return retry(func() error { return unix.Stat(f.abs(name), st) })
}

func (f following) lstat(name string, st *unix.Stat_t) error {
	return retry(func() error { return unix.Lstat(f.abs(name), st) })
}

func (f following) resolve(name string) (string, error) {
	at := f.abs(name)
	for range maxLinks {
		target, err := os.Readlink(at)
		if err != nil { // not a link, or nothing there: the name to write to
			return at, nil
		}
		if !filepath.IsAbs(target) {
			dir, err := filepath.EvalSymlinks(filepath.Dir(at)) // ".." means the parent of the real folder
			if err != nil {
				return "", err
			}
			target = filepath.Join(dir, target)
		}
		at = target
	}
	return "", &fs.PathError{Op: "resolve", Path: name, Err: syscall.ELOOP}
}

func (f following) writable(name string) bool { return unix.Access(f.abs(name), unix.W_OK) == nil }

func (f following) real(name string) (string, error) { return filepath.EvalSymlinks(f.abs(name)) }
