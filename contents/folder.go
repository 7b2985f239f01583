package contents

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// folder is an open directory. Its methods take single names and work at the descriptor, so that nothing
// changes under them when the directory is renamed, and no path is looked up twice.
type folder struct {
	f  *os.File
	fd int
}

func openFolder(t tree, name string) (*folder, error) {
	f, err := t.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return &folder{f: f, fd: int(f.Fd())}, nil
}

func (d *folder) close() { _ = d.f.Close() }

// sync makes renames, links and removals in the directory durable.
func (d *folder) sync() error {
	err := d.f.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		return nil // a file system that cannot sync a directory
	}
	return err
}

func (d *folder) lstat(name string, st *unix.Stat_t) error {
	return retry(func() error { return unix.Fstatat(d.fd, name, st, unix.AT_SYMLINK_NOFOLLOW) })
}

// open opens a name that is not a symbolic link, and never waits for the other end of a FIFO.
func (d *folder) open(name string, flag int, perm uint32) (*os.File, error) {
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Openat(d.fd, name, flag|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, perm)
		return err
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (d *folder) mkdir(name string) error {
	return retry(func() error { return unix.Mkdirat(d.fd, name, 0o777) })
}

func (d *folder) unlink(name string) error {
	return retry(func() error { return unix.Unlinkat(d.fd, name, 0) })
}

// replace renames a name over another one, in a folder of the same file system, in one step.
func (d *folder) replace(from string, into *folder, to string) error {
	return retry(func() error { return unix.Renameat(d.fd, from, into.fd, to) })
}

// writable says whether this process may create and remove names in the directory.
func (d *folder) writable() bool { return unix.Faccessat(d.fd, ".", unix.W_OK, 0) == nil }

// retry repeats a system call that a signal has interrupted, as package os does.
func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// tempName is a name for a file of ours, hidden on every verb.
func tempName() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return reservedPrefix + hex.EncodeToString(b[:]) + ".tmp"
}

// renameChecked looks before it renames, where the system has no call that does both.
func renameChecked(from *folder, old string, to *folder, name string) error {
	var st unix.Stat_t
	if err := to.lstat(name, &st); err == nil {
		return unix.EEXIST
	}
	return retry(func() error { return unix.Renameat(from.fd, old, to.fd, name) })
}
