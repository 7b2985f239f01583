package contents

import (
	"io/fs"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// readOnlyFlag is what Statfs says of a file system that cannot be written.
const readOnlyFlag = unix.ST_RDONLY

// createUnnamed makes a file without a name in d: if the process dies, nothing is left behind. File systems
// without O_TMPFILE, and systems without /proc, through which the file gets its name, give an error.
func (d *folder) createUnnamed(perm uint32) (*os.File, error) {
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Openat(d.fd, ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, perm)
		return err
	})
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "draft")
	if err := unix.Access(procPath(f), unix.F_OK); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func procPath(f *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }

// linkUnnamed gives f, made by createUnnamed, its name. An existing name is EEXIST.
func (d *folder) linkUnnamed(f *os.File, name string) error {
	return retry(func() error { return unix.Linkat(unix.AT_FDCWD, procPath(f), d.fd, name, unix.AT_SYMLINK_FOLLOW) })
}

// renameNew renames without replacing: an existing target is EEXIST.
func renameNew(from *folder, old string, to *folder, name string) error {
	err := retry(func() error {
		return unix.Renameat2(from.fd, old, to.fd, name, unix.RENAME_NOREPLACE)
	})
	if err == unix.EINVAL || err == unix.ENOSYS { // a file system without the flag
		return renameChecked(from, old, to, name)
	}
	return err
}

// startWriteback asks the kernel to begin writing n bytes at off to the disk, so that the sync at the end of
// a large file finds little left to do.
func startWriteback(f *os.File, off, n int64) {
	_ = unix.SyncFileRange(int(f.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE) // advice only
}

func createdOf(st *unix.Stat_t) unix.Timespec { return st.Ctim }

// fromInfo converts what package os found; both are the kernel's struct stat.
func fromInfo(info fs.FileInfo, st *unix.Stat_t) {
	s := info.Sys().(*syscall.Stat_t)
	*st = unix.Stat_t{
		Dev: s.Dev, Ino: s.Ino, Mode: s.Mode, Uid: s.Uid, Gid: s.Gid, Size: s.Size,
		Mtim: unix.Timespec(s.Mtim), Ctim: unix.Timespec(s.Ctim),
	}
}

// syncAll makes everything below the folder durable.
func (d *folder) syncAll() error { return unix.Syncfs(d.fd) }
