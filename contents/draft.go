package contents

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/nbserv/nbserv/internal/fault"
)

// draft is a file on its way to its target. Readers see the old file or the whole new one (promise P7): the
// bytes go to a file without a name in the target's folder, are synced, and take the target's name in one
// step. Not safe for concurrent use.
type draft struct {
	folder  *folder      // where the bytes are until the commit
	below   string       // folders, from folder to the target, that the commit makes; "" when it is in folder
	into    *folder      // of the target: folder, or the last one of below once it is made
	name    string       // of the target
	old     *unix.Stat_t // the target as it was, nil when there was none
	file    *os.File
	temp    string // file's name, "" while it has none
	size    int64
	synced  int64 // bytes whose writing to the disk has been started
	raw     bool  // the bytes may still be rewritten: the disk should not start on them
	stamped bool  // see Config.ForPrograms
	path    Path  // for messages
}

// writebackBytes is how much is collected before the disk is set to work; large enough not to matter for
// small files, small enough to overlap disk and network (measured on ext4: 4 to 16 MiB are alike).
const writebackBytes = 8 << 20

// newDraft begins a file at p. A missing parent is NotFound, unless Config.ForPrograms; a directory or a special
// file at p is Invalid, a file or folder that may not be written Forbidden. The caller ends it with discard, also
// after a commit.
func (d *Dir) newDraft(p Path) (*draft, error) {
	at, err := d.place(p)
	if err != nil {
		return nil, d.fault(err, p)
	}
	dir, err := openFolder(d.tree, at.folder)
	if err != nil {
		return nil, d.fault(err, p.Parent())
	}
	t := &draft{folder: dir, into: dir, below: at.below, name: at.name, stamped: d.cfg.ForPrograms, path: p}
	if err := t.open(); err != nil {
		dir.close()
		return nil, d.fault(err, p)
	}
	return t, nil
}

func (t *draft) open() error {
	perm := uint32(0o666)
	if t.below == "" {
		if err := t.look(); err != nil {
			return err
		}
	}
	if t.old != nil {
		perm = 0o600 // what was secret stays so until the old mode is set
	}
	if !t.folder.writable() {
		return unix.EACCES
	}
	var err error
	if t.file, err = t.folder.createUnnamed(perm); err == nil {
		return nil
	}
	t.temp = tempName()
	t.file, err = t.folder.open(t.temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
	return err
}

// look finds out what is at the target.
func (t *draft) look() error {
	var st unix.Stat_t
	switch err := t.into.lstat(t.name, &st); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	t.old = &st
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return unix.Faccessat(t.into.fd, t.name, unix.W_OK, 0)
	case unix.S_IFDIR:
		return fault.New(fault.Invalid, "%s is a directory", t.path)
	}
	return errSpecial(t.path)
}

func (t *draft) Write(p []byte) (int, error) {
	n, err := t.file.Write(p)
	t.size += int64(n)
	if t.size-t.synced >= writebackBytes && !t.raw {
		startWriteback(t.file, t.synced, t.size-t.synced)
		t.synced = t.size
	}
	return n, err
}

// ReadFrom lets io.Copy use the system's copy between files.
func (t *draft) ReadFrom(r io.Reader) (int64, error) {
	n, err := t.file.ReadFrom(r)
	t.size += n
	return n, err
}

// commit makes the draft the target, durably. With fresh, an existing target is Conflict.
func (t *draft) commit(fresh bool) error {
	if err := t.reach(); err != nil {
		return err
	}
	if t.old != nil && !fresh {
		t.inherit()
	}
	if t.stamped {
		if err := t.stamp(); err != nil {
			return err
		}
	}
	if err := t.file.Sync(); err != nil {
		return err
	}
	if err := t.publish(fresh); err != nil {
		return err
	}
	return t.into.sync()
}

// reach makes the folders that are missing on the way to the target.
func (t *draft) reach() error {
	if t.below == "" || t.into != t.folder {
		return nil
	}
	into, err := t.folder.makeBelow(t.below)
	if err != nil {
		return err
	}
	t.into = into
	return t.look()
}

// inherit takes over mode and, where allowed, owner of the file that is replaced.
func (t *draft) inherit() {
	var own unix.Stat_t
	if err := unix.Fstat(int(t.file.Fd()), &own); err == nil && (own.Uid != t.old.Uid || own.Gid != t.old.Gid) {
		if t.file.Chown(int(t.old.Uid), int(t.old.Gid)) != nil {
			_ = t.file.Chown(-1, int(t.old.Gid)) // another's file: keep at least the group
		}
	}
	_ = unix.Fchmod(int(t.file.Fd()), uint32(t.old.Mode)&0o7777)
}

func (t *draft) publish(fresh bool) error {
	if t.temp == "" {
		if fresh || t.old == nil {
			err := t.into.linkUnnamed(t.file, t.name)
			if err == nil || fresh || !errors.Is(err, fs.ErrExist) {
				return err
			}
		}
		name := tempName()
		if err := t.folder.linkUnnamed(t.file, name); err != nil {
			return err
		}
		t.temp = name
	}
	if fresh {
		if err := renameNew(t.folder, t.temp, t.into, t.name); err != nil {
			return err
		}
	} else if err := t.folder.replace(t.temp, t.into, t.name); err != nil {
		return err
	}
	t.temp = ""
	return nil
}

// discard releases the draft; what was not committed is gone.
func (t *draft) discard() {
	if t.temp != "" {
		_ = t.folder.unlink(t.temp)
	}
	_ = t.file.Close()
	if t.into != t.folder {
		t.into.close()
	}
	t.folder.close()
}
