package contents

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nbserv/nbserv/internal/fault"
)

// TreeCopy says what CopyTree leaves out.
type TreeCopy struct {
	// Skip are files that are not copied: names, or paths relative to the source.
	Skip []string
	// Mark is a file without which a folder is not copied; "" copies every folder.
	Mark string
}

// CopyTree copies the file or folder from to exactly the path to, which is replaced or, for a folder, added to.
// All is copied before anything of it is seen. A folder that is new appears at once and whole; into one that was
// there the files are moved one by one, each whole, a folder's mark the last. Hidden names, links and special files
// are not copied. A file where a folder is to be, or the other way round, is Conflict and changes nothing; a folder
// over Config.MaxCopy bytes is TooLarge.
func (d *Dir) CopyTree(ctx context.Context, from, to Path, o TreeCopy) error {
	if err := d.changeable("copy", from, to); err != nil {
		return err
	}
	if from.Contains(to) || to.Contains(from) {
		return fault.New(fault.Invalid, "cannot copy %q to %q: one holds the other", from, to)
	}
	one, src, err := d.openInventory(from)
	if err != nil {
		return err
	}
	if one != nil {
		return d.fault(d.copyOne(ctx, from, to, o), to)
	}
	defer src.close()
	if d.isFile(to) {
		return fault.New(fault.Conflict, "%s is a file, not a folder", to)
	}
	at, err := d.place(to)
	if err != nil {
		return d.fault(err, to)
	}
	dst, err := openFolder(d.tree, at.folder)
	if err != nil {
		return d.fault(err, to)
	}
	defer dst.close()
	temp := tempName()
	defer func() { _ = d.tree.RemoveAll(path.Join(at.folder, temp)) }()
	c := treeCopier{dir: d, from: from, TreeCopy: o, left: d.cfg.MaxCopy}
	if made, err := c.folder(ctx, src, from, dst, temp, 0); err != nil || !made {
		return d.fault(err, from)
	}
	return d.fault(publishTree(dst, temp, at, o.Mark), to)
}

func (d *Dir) copyOne(ctx context.Context, from, to Path, o TreeCopy) error {
	if slices.Contains(o.Skip, from.Name()) {
		return nil
	}
	f, err := d.Open(ctx, from)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = d.WriteFile(ctx, to, &ctxReader{ctx, f})
	return err
}

// ctxReader ends with its context.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// treeCopier copies what clients may see of one tree.
type treeCopier struct {
	dir  *Dir
	from Path
	TreeCopy
	left int64 // bytes
}

// folder copies src, which is p, to name in parent. made is false for one without its mark.
func (c *treeCopier) folder(ctx context.Context, src *folder, p Path, parent *folder, name string, depth int) (made bool, err error) {
	if depth > maxCopyDepth {
		return false, fault.New(fault.Invalid, "%q is nested too deeply to be copied", p)
	}
	var st unix.Stat_t
	if c.Mark != "" && src.lstat(c.Mark, &st) != nil {
		return false, nil
	}
	dst, err := parent.enter(name)
	if err != nil {
		return false, err
	}
	defer dst.close()
	return true, c.dir.each(ctx, src, p, func(q Path, st *unix.Stat_t) error {
		if !isDir(st) {
			return c.file(ctx, src, q, st, dst)
		}
		f, err := src.open(q.Name(), os.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		below := &folder{f: f, fd: int(f.Fd())}
		defer below.close()
		_, err = c.folder(ctx, below, q, dst, q.Name(), depth+1)
		return err
	})
}

func (c *treeCopier) skips(p Path) bool {
	rel := strings.TrimPrefix(strings.TrimPrefix(p.rel, c.from.rel), "/")
	return slices.Contains(c.Skip, p.Name()) || slices.Contains(c.Skip, rel)
}

func (c *treeCopier) file(ctx context.Context, src *folder, p Path, st *unix.Stat_t, dst *folder) error {
	if c.skips(p) {
		return nil
	}
	if c.left -= st.Size; c.left < 0 {
		return fault.New(fault.TooLarge, "cannot copy folders larger than %d MB", c.dir.cfg.MaxCopy>>20)
	}
	in, err := src.open(p.Name(), os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := dst.open(p.Name(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, uint32(st.Mode)&0o777)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.CopyBuffer(struct{ io.Writer }{out}, &ctxReader{ctx, in}, make([]byte, streamBytes)); err != nil {
		return err
	}
	return stamp(dst.fd, p.Name(), nil)
}

// publishTree gives the folder temp in dst its place.
func publishTree(dst *folder, temp string, at place, mark string) error {
	if err := dst.syncAll(); err != nil {
		return err
	}
	into := dst
	if at.below != "" {
		var err error
		if into, err = dst.makeBelow(at.below); err != nil {
			return err
		}
		defer into.close()
	}
	err := renameNew(dst, temp, into, at.name)
	if !errors.Is(err, fs.ErrExist) {
		return cmpErr(err, into.sync())
	}
	src, err := dst.enter(temp)
	if err != nil {
		return err
	}
	defer src.close()
	old, err := into.enter(at.name)
	if err != nil {
		return err
	}
	defer old.close()
	m := merger{mark: mark}
	if err := m.check(src, old); err != nil {
		return err
	}
	return m.move(src, old)
}

// merger moves a tree into another one.
type merger struct {
	mark string // the name that is moved last
}

// both calls do for each name in src: with the folders of that name where both trees have one.
func (m merger) both(src, dst *folder, do func(name string, old *unix.Stat_t, from, to *folder) error) error {
	if _, err := src.f.Seek(0, io.SeekStart); err != nil { // it is read twice
		return err
	}
	names, err := src.f.Readdirnames(-1)
	if err != nil {
		return err
	}
	slices.SortFunc(names, func(a, b string) int { return boolInt(a == m.mark) - boolInt(b == m.mark) })
	for _, name := range names {
		if err := m.one(name, src, dst, do); err != nil {
			return err
		}
	}
	return nil
}

func (m merger) one(name string, src, dst *folder, do func(string, *unix.Stat_t, *folder, *folder) error) error {
	var st, old unix.Stat_t
	if err := src.lstat(name, &st); err != nil {
		return err
	}
	if err := dst.lstat(name, &old); errors.Is(err, fs.ErrNotExist) {
		return do(name, nil, nil, nil)
	} else if err != nil {
		return err
	}
	if old.Mode&unix.S_IFMT != st.Mode&unix.S_IFMT {
		return fault.New(fault.Conflict, "%s is a file in one folder and a folder in the other", name)
	}
	if !isDir(&st) {
		return do(name, &old, nil, nil)
	}
	from, err := src.enter(name)
	if err != nil {
		return err
	}
	defer from.close()
	to, err := dst.enter(name)
	if err != nil {
		return err
	}
	defer to.close()
	return do(name, &old, from, to)
}

// check finds what cannot be moved before anything is.
func (m merger) check(src, dst *folder) error {
	return m.both(src, dst, func(_ string, _ *unix.Stat_t, from, to *folder) error {
		if from == nil {
			return nil
		}
		return m.check(from, to)
	})
}

func (m merger) move(src, dst *folder) error {
	err := m.both(src, dst, func(name string, old *unix.Stat_t, from, to *folder) error {
		switch {
		case from != nil:
			return m.move(from, to)
		case old == nil:
			return renameNew(src, name, dst, name)
		}
		if err := stamp(src.fd, name, old); err != nil {
			return err
		}
		return src.replace(name, dst, name)
	})
	return cmpErr(err, dst.sync())
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
