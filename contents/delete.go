package contents

import (
	"context"
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/nbserv/nbserv/internal/fault"
)

// Delete moves a file or directory to the trash, or removes it when there is to be no trash; its checkpoint
// is removed. Without the trash a directory that holds more than checkpoints is Invalid, unless
// Config.AlwaysDeleteDir. Hidden paths, the root and special files are Invalid.
func (d *Dir) Delete(_ context.Context, p Path) error {
	if err := d.changeable("delete", p); err != nil {
		return err
	}
	if p.IsRoot() {
		return fault.New(fault.Invalid, "cannot delete the root directory")
	}
	if d.holdsPrivate(p) {
		return fault.New(fault.Forbidden, "permission denied: %s", p)
	}
	st, err := d.ordinary(p)
	if err != nil {
		return err
	}
	dir, err := openFolder(d.tree, p.Parent().local())
	if err != nil {
		return d.fault(err, p)
	}
	defer dir.close()
	if !dir.writable() || st.Mode&unix.S_IFMT != unix.S_IFLNK && !d.writable(p) {
		return fault.New(fault.Forbidden, "permission denied: %s", p)
	}
	if d.cfg.DeleteToTrash {
		err = d.trash(dir, p)
	} else {
		err = d.remove(dir, p)
	}
	if err == nil {
		err = dir.sync()
	}
	if err != nil {
		return d.fault(err, p)
	}
	d.overlays.Deleted(p.rel)
	d.staging.dropLost(p)
	if err := d.removeCheckpoint(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return d.fault(err, p)
	}
	return nil
}

func (d *Dir) remove(dir *folder, p Path) error {
	var st unix.Stat_t
	if err := dir.lstat(p.Name(), &st); err != nil {
		return err
	}
	if !isDir(&st) { // a link to a directory is only a name
		return dir.unlink(p.Name())
	}
	if !d.cfg.AlwaysDeleteDir {
		empty, err := d.onlyCheckpoints(p)
		if err != nil {
			return err
		}
		if !empty {
			return fault.New(fault.Invalid, "directory %q is not empty", p)
		}
	}
	return d.tree.RemoveAll(p.local())
}

func (d *Dir) onlyCheckpoints(p Path) (bool, error) {
	dir, err := openFolder(d.tree, p.local())
	if err != nil {
		return false, err
	}
	defer dir.close()
	names, err := dir.f.Readdirnames(-1)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		if name != checkpointDir {
			return false, nil
		}
	}
	return true, nil
}
