package contents

import (
	"cmp"
	"context"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Entry is a file or a folder that Walk has found.
type Entry struct {
	Path     Path
	Folder   bool
	Size     int64 // bytes
	Modified time.Time
	Mimetype string // by its name; "" for a folder and when it is unknown
}

// Walk lists what is in the folder p, deep or not, in the order of the paths; more tells that there is more than
// limit. Hidden names are left out unless the Dir shows them, links and special files always. A folder that does not
// exist is NotFound; a file is its own only entry.
func (d *Dir) Walk(ctx context.Context, p Path, deep bool, limit int) (found []Entry, more bool, err error) {
	one, dir, err := d.openInventory(p)
	if err != nil {
		return nil, false, err
	}
	if one != nil {
		return []Entry{fileEntry(one.Path, one.Size, one.Modified)}, false, nil
	}
	defer dir.close()
	w := walker{d: d, deep: deep, limit: limit}
	if err := w.walk(ctx, dir, p, 0); err != nil {
		return nil, false, d.fault(err, p)
	}
	slices.SortFunc(w.found, func(a, b Entry) int { return cmp.Compare(a.Path.rel, b.Path.rel) })
	return w.found, w.more, nil
}

func fileEntry(p Path, size int64, modified time.Time) Entry {
	return Entry{Path: p, Size: size, Modified: modified, Mimetype: mimetype(p.Name())}
}

type walker struct {
	d     *Dir
	deep  bool
	limit int
	found []Entry
	more  bool
}

func (w *walker) walk(ctx context.Context, dir *folder, p Path, depth int) error {
	return w.d.each(ctx, dir, p, func(q Path, st *unix.Stat_t) error {
		if len(w.found) >= w.limit {
			w.more = true
			return nil
		}
		if !isDir(st) {
			w.found = append(w.found, fileEntry(q, st.Size, timeOf(st.Mtim)))
			return nil
		}
		w.found = append(w.found, Entry{Path: q, Folder: true, Size: st.Size, Modified: timeOf(st.Mtim)})
		if !w.deep || depth >= maxCopyDepth {
			return nil
		}
		f, err := dir.open(q.Name(), os.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		sub := &folder{f: f, fd: int(f.Fd())}
		defer sub.close()
		return w.walk(ctx, sub, q, depth+1)
	})
}
