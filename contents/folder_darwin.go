package contents

import (
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// readOnlyFlag is what Statfs says of a file system that cannot be written.
const readOnlyFlag = unix.MNT_RDONLY

func (d *folder) createUnnamed(uint32) (*os.File, error) { return nil, unix.ENOTSUP }

func (d *folder) linkUnnamed(*os.File, string) error { return unix.ENOTSUP }

// procPath is for files without a name, of which there are none.
func procPath(*os.File) string { return "" }

func renameNew(from *folder, old string, to *folder, name string) error {
	return renameChecked(from, old, to, name)
}

func startWriteback(*os.File, int64, int64) {}

func createdOf(st *unix.Stat_t) unix.Timespec { return st.Btim }

// fromInfo converts what package os found; both are the kernel's struct stat.
func fromInfo(info fs.FileInfo, st *unix.Stat_t) {
	s := info.Sys().(*syscall.Stat_t)
	*st = unix.Stat_t{
		Dev: s.Dev, Ino: s.Ino, Mode: s.Mode, Uid: s.Uid, Gid: s.Gid, Size: s.Size,
		Mtim: unix.Timespec(s.Mtimespec), Ctim: unix.Timespec(s.Ctimespec), Btim: unix.Timespec(s.Birthtimespec),
	}
}

// syncAll makes everything below the folder durable.
func (d *folder) syncAll() error { return unix.Sync() }
