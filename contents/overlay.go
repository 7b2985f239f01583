package contents

import (
	"bufio"
	"context"
	"crypto/sha256"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nbserv/nbserv/contents/nbformat"
	"github.com/nbserv/nbserv/internal/fault"
)

// Overlays are outputs that notebooks have and their files do not have yet: what kernels said while no page was there
// to show it. A read gives a notebook with them; they change neither the time nor the hash of its file. Paths are API
// paths. Safe for concurrent use.
type Overlays interface {
	// Version names what Merge would do to the notebook at path now; "" is nothing. It is asked at every read and
	// costs little where there is nothing.
	Version(ctx context.Context, path string) string
	// Merge puts into nb, as path's file has it since modified, what the file does not have, and gives the cells that
	// it has changed.
	Merge(ctx context.Context, path string, nb *nbformat.Notebook, modified time.Time) []nbformat.Cell
	// Saving puts into nb, which a client saves at path, what its page does not know yet. done is called with
	// whether it was saved; nobody else saves that notebook before.
	Saving(ctx context.Context, path string, nb *nbformat.Notebook) (done func(saved bool))
	// Moved, Deleted and Restored are told of what was done to files and folders; Restored of a checkpoint.
	Moved(from, to string)
	Deleted(path string)
	Restored(path string)
}

// noOverlays is for a Dir that has none.
type noOverlays struct{}

func (noOverlays) Version(context.Context, string) string { return "" }
func (noOverlays) Merge(context.Context, string, *nbformat.Notebook, time.Time) []nbformat.Cell {
	return nil
}
func (noOverlays) Saving(context.Context, string, *nbformat.Notebook) func(bool) {
	return func(bool) {}
}
func (noOverlays) Moved(string, string) {}
func (noOverlays) Deleted(string)       {}
func (noOverlays) Restored(string)      {}

// notebookSuffix is that of files with notebooks.
const notebookSuffix = ".ipynb"

// overlaid gives the version of p's overlay, "" when its file is all there is to it.
func (d *Dir) overlaid(ctx context.Context, p Path) string {
	if !strings.HasSuffix(p.rel, notebookSuffix) {
		return ""
	}
	return d.overlays.Version(ctx, p.rel)
}

// openMerged is open, but that a notebook with an overlay is a file of its own, without a name. Its time is the
// notebook's; what cannot be read as a notebook is as it is.
func (d *Dir) openMerged(ctx context.Context, p Path) (*os.File, unix.Stat_t, error) {
	f, st, err := d.open(p)
	if err != nil || isDir(&st) || d.overlaid(ctx, p) == "" {
		return f, st, err
	}
	merged, err := d.merged(ctx, p, f, &st)
	if err != nil || merged == nil {
		_, _ = f.Seek(0, io.SeekStart)
		return f, st, err
	}
	f.Close()
	mode := st.Mode
	err = unix.Fstat(int(merged.Fd()), &st)
	st.Mode = mode
	return merged, st, d.fault(err, p)
}

// merged writes the notebook in f with its overlay to a temporary file; nil when there is no difference.
func (d *Dir) merged(ctx context.Context, p Path, f *os.File, st *unix.Stat_t) (*os.File, error) {
	raw, err := io.ReadAll(io.NewSectionReader(f, 0, st.Size))
	if err != nil {
		return nil, d.fault(err, p)
	}
	nb, err := nbformat.Read(raw)
	if err != nil || len(d.overlays.Merge(ctx, p.rel, nb, timeOf(st.Mtim))) == 0 {
		return nil, nil
	}
	t, err := os.CreateTemp("", "nbserv-")
	if err != nil {
		return nil, fault.OS(err, "a temporary file")
	}
	_ = os.Remove(t.Name()) // it lives as long as it is open
	w := bufio.NewWriterSize(t, streamBytes)
	at := []unix.Timeval{unix.NsecToTimeval(st.Mtim.Nano()), unix.NsecToTimeval(st.Mtim.Nano())}
	err = nb.WriteFile(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = unix.Futimes(int(t.Fd()), at)
	}
	if err == nil {
		_, err = t.Seek(0, io.SeekStart)
	}
	if err != nil {
		t.Close()
		return nil, fault.OS(err, "a temporary file")
	}
	return t, nil
}

// EditNotebook reads the notebook at an API path and, when edit says that it has changed it, writes it in the place of
// the old one, unless somebody was faster (Conflict). It stays trusted if it was. What cannot be written as it was read
// (an older format, numbers that JSON does not have) is Conflict, too; what is hidden or no notebook Invalid.
func (d *Dir) EditNotebook(ctx context.Context, path string, edit func(nb *nbformat.Notebook, modified time.Time) bool) error {
	p, err := ParsePath(path)
	if err != nil {
		return err
	}
	if err := d.changeable("write", p); err != nil {
		return err
	}
	f, st, err := d.open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	if isDir(&st) {
		return fault.New(fault.Invalid, "%s is a directory", p)
	}
	raw, err := io.ReadAll(io.NewSectionReader(f, 0, st.Size))
	if err != nil {
		return d.fault(err, p)
	}
	nb, err := nbformat.Read(raw)
	if err != nil {
		return fault.Wrap(fault.Invalid, err, "unreadable notebook %s: %v", p, err)
	}
	switch {
	case !edit(nb, timeOf(st.Mtim)):
		return nil
	case !nb.IsExact():
		return fault.New(fault.Conflict, "%s cannot be written as it was read", p)
	}
	return d.fault(d.replaceNotebook(ctx, p, nb, &st, sha256.Sum256(raw)), p)
}

// replaceNotebook writes nb in the place of the file that st describes and that has the sum old.
func (d *Dir) replaceNotebook(ctx context.Context, p Path, nb *nbformat.Notebook, st *unix.Stat_t, old [sha256.Size]byte) error {
	t, err := d.newDraft(p)
	if err != nil {
		return err
	}
	defer t.discard()
	out := newSummed(t)
	if err := nb.WriteFile(out); err != nil {
		return err
	}
	if n := d.cfg.Notary; n != nil && n.Trusted(ctx, old) {
		_ = n.Trust(ctx, out.sum()) // the outputs matter more, and a page can ask again
	}
	if t.old == nil || t.old.Ino != st.Ino || t.old.Mtim != st.Mtim || t.old.Size != st.Size {
		return fault.New(fault.Conflict, "%s was changed meanwhile", p)
	}
	return t.commit(false)
}
