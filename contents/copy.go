package contents

import (
	"context"
	"io"
	"os"
	"regexp"

	"golang.org/x/sys/unix"

	"github.com/nbserv/nbserv/internal/fault"
)

// copySuffix is what a copy of a copy loses before it gets its own.
var copySuffix = regexp.MustCompile(`-Copy\d*\.`)

// maxCopyDepth bounds how deep a copied directory may be.
const maxCopyDepth = 100

// Copy copies a file or a directory. When to is a directory, the copy is put into it under a free name like
// a-Copy1.txt; otherwise to is the name of the copy (of a directory's copy: the folder it is put into, which
// is made). An existing name is Conflict, a directory over Config.MaxCopy bytes Invalid.
func (d *Dir) Copy(ctx context.Context, from, to Path) (*Model, error) {
	if err := d.changeable("copy", from, to); err != nil {
		return nil, err
	}
	st, err := d.ordinary(from)
	if err != nil {
		return nil, err
	}
	if isDir(&st) {
		return d.copyDir(ctx, from, to)
	}
	f, _, err := d.openMerged(ctx, from)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	write := func(t *draft) error { return t.copyOf(f) }
	if d.isDir(to) {
		return d.createFirst(to, copySuffix.ReplaceAllString(from.Name(), "."), "-Copy", func(p Path) error {
			return d.createFile(p, write)
		})
	}
	if err := d.createFile(to, write); err != nil {
		return nil, d.fault(err, to)
	}
	return d.stat(to, "")
}

// copyOf writes all of f, from its beginning.
func (t *draft) copyOf(f *os.File) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err := t.ReadFrom(f)
	return err
}

func (d *Dir) copyDir(ctx context.Context, from, to Path) (*Model, error) {
	if from.Contains(to) {
		return nil, fault.New(fault.Invalid, "cannot copy %q into itself", from)
	}
	if err := d.tree.MkdirAll(to.local(), 0o777); err != nil {
		return nil, d.fault(err, to)
	}
	dst, err := openFolder(d.tree, to.local())
	if err != nil {
		return nil, d.fault(err, to)
	}
	defer dst.close()
	src, err := openFolder(d.tree, from.local())
	if err != nil {
		return nil, d.fault(err, from)
	}
	defer src.close()

	temp := tempName() // a whole copy appears, or none
	defer func() { _ = d.tree.RemoveAll(to.join(temp).local()) }()
	c := copier{ctx: ctx, dir: d, left: d.cfg.MaxCopy}
	if err := c.folder(src, from, dst, temp, 0); err != nil {
		return nil, d.fault(err, from)
	}
	if err := dst.syncAll(); err != nil {
		return nil, d.fault(err, to)
	}
	return d.createFirst(to, from.Name(), "-Copy", func(p Path) error {
		return renameNew(dst, temp, dst, p.Name())
	})
}

// copier copies one tree. Files that links lead to are copied; links to directories stay links; special files
// are left out.
type copier struct {
	ctx  context.Context
	dir  *Dir
	left int64 // bytes
}

func (c *copier) folder(src *folder, from Path, parent *folder, name string, depth int) error {
	if depth > maxCopyDepth {
		return fault.New(fault.Invalid, "%q is nested too deeply to be copied", from)
	}
	if err := parent.mkdir(name); err != nil {
		return err
	}
	f, err := parent.open(name, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	dst := &folder{f: f, fd: int(f.Fd())}
	defer dst.close()
	names, err := src.f.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		if err := c.entry(src, from.join(name), dst, depth); err != nil {
			return err
		}
	}
	return nil
}

func (c *copier) entry(src *folder, from Path, dst *folder, depth int) error {
	var st, to unix.Stat_t
	name := from.Name()
	if err := src.lstat(name, &st); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		f, err := src.open(name, os.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		below := &folder{f: f, fd: int(f.Fd())}
		defer below.close()
		return c.folder(below, from, dst, name, depth+1)
	case unix.S_IFREG:
		return c.file(from, dst)
	case unix.S_IFLNK:
		if c.dir.tree.stat(from.local(), &to) == nil && to.Mode&unix.S_IFMT == unix.S_IFREG {
			return c.file(from, dst)
		}
		return copyLink(src, name, dst)
	}
	return nil
}

func (c *copier) file(from Path, dst *folder) error {
	f, st, err := c.dir.openMerged(c.ctx, from)
	if err != nil {
		return err
	}
	defer f.Close()
	if c.left -= st.Size; c.left < 0 {
		return fault.New(fault.Invalid, "cannot copy folders larger than %d MB", c.dir.cfg.MaxCopy>>20)
	}
	out, err := dst.open(from.Name(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, uint32(st.Mode)&0o777)
	if err != nil {
		return err
	}
	defer out.Close()
	_, err = io.Copy(out, f)
	return err
}

func copyLink(src *folder, name string, dst *folder) error {
	buf := make([]byte, maxPathBytes)
	n, err := unix.Readlinkat(src.fd, name, buf)
	if err != nil {
		return err
	}
	return unix.Symlinkat(string(buf[:n]), dst.fd, name)
}
