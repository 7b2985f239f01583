package contents

import (
	"context"
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/nbserv/nbserv/internal/fault"
)

// Rename moves a file or directory, and its checkpoint, and describes it at its new place. An existing
// target is Conflict, a missing source or folder NotFound, hidden paths and special files Invalid.
func (d *Dir) Rename(_ context.Context, from, to Path) (*Model, error) {
	if err := d.changeable("rename", from, to); err != nil {
		return nil, err
	}
	if from != to {
		if err := d.rename(from, to); err != nil {
			return nil, err
		}
		d.overlays.Moved(from.rel, to.rel)
	}
	return d.stat(to, "")
}

func (d *Dir) rename(from, to Path) error {
	if _, err := d.ordinary(from); err != nil {
		return err
	}
	switch {
	case from.IsRoot():
		return fault.New(fault.Invalid, "cannot rename the root directory")
	case to.IsRoot():
		return fault.New(fault.Conflict, "%q already exists", to)
	case from.Contains(to):
		return fault.New(fault.Invalid, "cannot move %q into itself", from)
	}
	if err := d.move(from, to); err != nil {
		return err
	}
	// The checkpoint follows; a file without one, or whose old checkpoint is in the way, is renamed all the same.
	if err := d.moveCheckpoint(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d *Dir) move(from, to Path) error {
	src, err := openFolder(d.tree, from.Parent().local())
	if err != nil {
		return d.fault(err, from)
	}
	defer src.close()
	dst, err := openFolder(d.tree, to.Parent().local())
	if err != nil {
		return d.fault(err, to.Parent())
	}
	defer dst.close()
	err = renameNew(src, from.Name(), dst, to.Name())
	if errors.Is(err, fs.ErrExist) && sameFile(src, from.Name(), dst, to.Name()) {
		err = unix.Renameat(src.fd, from.Name(), dst.fd, to.Name()) // another spelling, where case does not count
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return fault.New(fault.Conflict, "file already exists: %q", to)
	case errors.Is(err, unix.EXDEV):
		return fault.New(fault.Invalid, "%q and %q are on different file systems", from, to)
	case err != nil:
		return d.fault(err, from)
	}
	if err := dst.sync(); err != nil {
		return d.fault(err, to)
	}
	return d.fault(src.sync(), from)
}

func sameFile(src *folder, from string, dst *folder, to string) bool {
	var a, b unix.Stat_t
	return src.lstat(from, &a) == nil && dst.lstat(to, &b) == nil && a.Dev == b.Dev && a.Ino == b.Ino
}
