package contents

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nbserv/nbserv/internal/fault"
)

// place is where a file goes: into a folder that is there, or into new folders below one.
type place struct {
	folder string // as the tree resolved it
	below  string // from folder to the file's own, slash-separated; "" when it is folder
	name   string
}

// place finds where p goes. With Config.ForPrograms the folders on the way may be missing; something else in the
// place of one is Conflict.
func (d *Dir) place(p Path) (place, error) {
	parent := p.Parent()
	for below := ""; d.cfg.ForPrograms; parent = parent.Parent() {
		var st unix.Stat_t
		err := d.tree.stat(parent.local(), &st)
		switch {
		case err == nil && !isDir(&st), errors.Is(err, unix.ENOTDIR):
			return place{}, fault.New(fault.Conflict, "%s is not a folder", parent)
		case errors.Is(err, fs.ErrNotExist) && !parent.IsRoot():
			below = path.Join(parent.Name(), below)
			continue
		case err != nil:
			return place{}, err
		}
		if below == "" {
			break
		}
		folder, err := d.tree.resolve(parent.local())
		return place{folder, below, p.Name()}, err
	}
	target, err := d.tree.resolve(p.local())
	return place{folder: path.Dir(target), name: path.Base(target)}, err
}

// makeBelow opens the folder at rel below d, and makes those on the way that are missing, durably.
func (d *folder) makeBelow(rel string) (*folder, error) {
	at := d
	for name := range strings.SplitSeq(rel, "/") {
		next, err := at.enter(name)
		if at != d {
			at.close()
		}
		if err != nil {
			return nil, err
		}
		at = next
	}
	return at, nil
}

// enter opens a folder in d, and makes it when it is missing.
func (d *folder) enter(name string) (*folder, error) {
	err := d.mkdir(name)
	if err == nil {
		err = d.sync()
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	f, err := d.open(name, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil, fault.Wrap(fault.Conflict, err, "%s is not a folder", name)
	}
	if err != nil {
		return nil, err
	}
	return &folder{f: f, fd: int(f.Fd())}, nil
}

// stamp sets the time of the last change of what name is in the folder dirfd to now, and behind that of the file
// it is to replace: two commits of a path never leave the same time, also when the clock was put back.
func stamp(dirfd int, name string, old *unix.Stat_t) error {
	now := time.Now()
	for _, step := range []time.Duration{time.Nanosecond, time.Microsecond, time.Second, 2 * time.Second} { // file systems differ
		if old != nil && !now.After(timeOf(old.Mtim)) {
			now = timeOf(old.Mtim).Add(step)
		}
		ts := unix.NsecToTimespec(now.UnixNano())
		if err := unix.UtimesNanoAt(dirfd, name, []unix.Timespec{ts, ts}, 0); err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Fstatat(dirfd, name, &st, 0); err != nil {
			return err
		}
		if old == nil || timeOf(st.Mtim).After(timeOf(old.Mtim)) {
			return nil
		}
		now = timeOf(old.Mtim)
	}
	return nil // a file system that sees not even two seconds
}

func (t *draft) stamp() error {
	if t.temp != "" {
		return stamp(t.folder.fd, t.temp, t.old)
	}
	return stamp(unix.AT_FDCWD, procPath(t.file), t.old)
}
