package contents

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nbserv/nbserv/internal/fault"
)

// FileInfo is a stored file.
type FileInfo struct {
	Path     Path
	Size     int64 // bytes
	Modified time.Time
}

// FolderInfo is a folder with what all files below it sum up to.
type FolderInfo struct {
	Path  Path
	Files int64
	Bytes int64
}

// Inventory lists the files and folders in the folder p, or the one file p, by name. Hidden names, links and
// special files are left out and not counted. What does not exist is NotFound. It looks at everything below p,
// and stops when ctx ends.
func (d *Dir) Inventory(ctx context.Context, p Path) (files []FileInfo, folders []FolderInfo, err error) {
	one, dir, err := d.openInventory(p)
	if err != nil {
		return nil, nil, err
	}
	if one != nil {
		return []FileInfo{*one}, nil, nil
	}
	defer dir.close()
	err = d.each(ctx, dir, p, func(q Path, st *unix.Stat_t) error {
		if !isDir(st) {
			files = append(files, fileInfo(q, st))
			return nil
		}
		sum := FolderInfo{Path: q}
		folders = append(folders, sum)
		return d.sumFolder(ctx, dir, q, &folders[len(folders)-1], 1)
	})
	slices.SortFunc(files, func(a, b FileInfo) int { return cmp.Compare(a.Path.rel, b.Path.rel) })
	slices.SortFunc(folders, func(a, b FolderInfo) int { return cmp.Compare(a.Path.rel, b.Path.rel) })
	return files, folders, d.fault(err, p)
}

// Usage sums up the files below p, or the one file p, as Inventory does.
func (d *Dir) Usage(ctx context.Context, p Path) (FolderInfo, error) {
	sum := FolderInfo{Path: p}
	one, dir, err := d.openInventory(p)
	if err != nil {
		return sum, err
	}
	if one != nil {
		sum.Files, sum.Bytes = 1, one.Size
		return sum, nil
	}
	defer dir.close()
	return sum, d.fault(d.sum(ctx, dir, p, &sum, 0), p)
}

// DiskSpace is the size of the file system that the root is on, and what is free on it, in bytes.
func (d *Dir) DiskSpace() (total, free int64, err error) {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Statfs(d.root, &st) }); err != nil {
		return 0, 0, d.fault(err, Path{})
	}
	return int64(st.Blocks) * int64(st.Bsize), int64(st.Bavail) * int64(st.Bsize), nil
}

func fileInfo(p Path, st *unix.Stat_t) FileInfo {
	return FileInfo{Path: p, Size: st.Size, Modified: timeOf(st.Mtim)}
}

// openInventory opens the folder p, or looks at the file p.
func (d *Dir) openInventory(p Path) (*FileInfo, *folder, error) {
	if err := d.visible(p); err != nil {
		return nil, nil, err
	}
	var st unix.Stat_t
	if err := d.tree.stat(p.local(), &st); err != nil {
		return nil, nil, d.fault(err, p)
	}
	switch {
	case special(&st):
		return nil, nil, errSpecial(p)
	case !isDir(&st):
		one := fileInfo(p, &st)
		return &one, nil, nil
	}
	dir, err := openFolder(d.tree, p.local())
	return nil, dir, d.fault(err, p)
}

// each calls do for what a client may see in dir, which is p. What vanishes meanwhile is left out.
func (d *Dir) each(ctx context.Context, dir *folder, p Path, do func(Path, *unix.Stat_t) error) error {
	names, err := dir.f.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		q, err := p.Join(name)
		if err != nil || d.visible(q) != nil { // a name that no API path can have, or a hidden one
			continue
		}
		var st unix.Stat_t
		if dir.lstat(name, &st) != nil || !isDir(&st) && st.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		if err := do(q, &st); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// sum adds what is below dir, which is p, to all.
func (d *Dir) sum(ctx context.Context, dir *folder, p Path, all *FolderInfo, depth int) error {
	return d.each(ctx, dir, p, func(q Path, st *unix.Stat_t) error {
		if isDir(st) {
			return d.sumFolder(ctx, dir, q, all, depth+1)
		}
		all.Files++
		all.Bytes += st.Size
		return nil
	})
}

func (d *Dir) sumFolder(ctx context.Context, parent *folder, p Path, all *FolderInfo, depth int) error {
	if depth > maxCopyDepth {
		return fault.New(fault.Invalid, "%q is nested too deeply", p)
	}
	f, err := parent.open(p.Name(), os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	dir := &folder{f: f, fd: int(f.Fd())}
	defer dir.close()
	return d.sum(ctx, dir, p, all, depth)
}
