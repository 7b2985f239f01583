package contents

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nbserv/nbserv/internal/fault"
)

// The freedesktop.org trash specification 1.0: what is deleted is renamed into files/ of a trash folder on
// the same file system, and a note in info/ of the same name says where it was and when it was deleted.

// trash moves p, a name in dir, to the trash.
func (d *Dir) trash(dir *folder, p Path) error {
	parent, err := d.tree.real(p.Parent().local())
	if err != nil {
		return err
	}
	full := filepath.Join(parent, p.Name())
	var st unix.Stat_t
	if err := unix.Fstat(dir.fd, &st); err != nil {
		return err
	}
	can, top, err := d.trashCan(parent, uint64(st.Dev))
	if err != nil {
		return fault.Wrap(fault.Forbidden, err, "%q cannot be moved to the trash; nothing was deleted", p)
	}
	shown := full
	if top != "" {
		if rel, err := filepath.Rel(top, full); err == nil {
			shown = rel
		}
	}
	return moveToCan(dir, p.Name(), can, shown)
}

// trashCan finds the trash for files of device dev: the home trash if it is on it, else the one at the top of
// the file system, whose notes have paths relative to top.
func (d *Dir) trashCan(path string, dev uint64) (can, top string, err error) {
	if home := d.cfg.TrashDir; home != "" && os.MkdirAll(home, 0o700) == nil {
		if on, err := deviceOf(home); err == nil && on == dev {
			return home, "", makeCan(home)
		}
	}
	top = path
	for {
		up := filepath.Dir(top)
		on, err := deviceOf(up)
		if err != nil || on != dev || up == top {
			break
		}
		top = up
	}
	uid := strconv.Itoa(os.Getuid())
	// An administrator's common trash counts only with its sticky bit, and not through a link.
	if info, err := os.Lstat(filepath.Join(top, ".Trash")); err == nil && info.IsDir() && info.Mode()&fs.ModeSticky != 0 {
		can = filepath.Join(top, ".Trash", uid)
		if makeCan(can) == nil {
			return can, top, nil
		}
	}
	can = filepath.Join(top, ".Trash-"+uid)
	return can, top, makeCan(can)
}

func deviceOf(path string) (uint64, error) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	return uint64(st.Dev), err
}

func makeCan(can string) error {
	if err := os.MkdirAll(filepath.Join(can, "info"), 0o700); err != nil {
		return err
	}
	return os.MkdirAll(filepath.Join(can, "files"), 0o700)
}

// moveToCan writes the note first, exclusively: its name reserves the one in files/.
func moveToCan(dir *folder, name, can, shown string) error {
	files, err := openFolder(following{dir: can}, "files")
	if err != nil {
		return err
	}
	defer files.close()
	info, err := openFolder(following{dir: can}, "info")
	if err != nil {
		return err
	}
	defer info.close()
	base, ext := splitExt(name)
	for i := 1; ; i++ {
		as := name
		if i > 1 {
			as = fmt.Sprintf("%s %d%s", base, i, ext)
		}
		note, err := info.open(as+".trashinfo", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		err = writeNote(note, shown)
		if err == nil {
			err = renameNew(dir, name, files, as)
		}
		if err == nil {
			return files.sync()
		}
		_ = info.unlink(as + ".trashinfo")
		if !errors.Is(err, fs.ErrExist) { // a file without a note is in the way
			return err
		}
	}
}

func writeNote(note *os.File, path string) error {
	defer note.Close()
	when := time.Now().Format("2006-01-02T15:04:05")
	if _, err := fmt.Fprintf(note, "[Trash Info]\nPath=%s\nDeletionDate=%s\n", escapePath(path), when); err != nil {
		return err
	}
	return note.Sync()
}
