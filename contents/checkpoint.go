package contents

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nbserv/nbserv/internal/fault"
)

// A file has at most one checkpoint, where Jupyter keeps it: .ipynb_checkpoints/NAME-checkpoint.EXT beside it.
const (
	checkpointDir = ".ipynb_checkpoints"
	checkpointID  = "checkpoint"
)

// Checkpoint is a copy of a file that it can be restored from.
type Checkpoint struct {
	ID           string
	LastModified time.Time // of the file when the copy was made
}

// checkpointPath is where p's checkpoint is.
func checkpointPath(p Path) Path {
	base, ext := splitExt(p.Name())
	return p.Parent().join(checkpointDir).join(base + "-" + checkpointID + ext)
}

// checkpoints is Checkpoints over the files of a Dir.
type checkpoints struct{ *Dir }

// Checkpoints are the checkpoints of the files in d.
func (d *Dir) Checkpoints() Checkpoints { return checkpoints{d} }

// checkpointed finds the file that checkpoints are asked about. A hidden or missing one is NotFound.
func (d *Dir) checkpointed(p Path) error {
	if err := d.visible(p); err != nil {
		return err
	}
	st, err := d.ordinary(p)
	if err == nil && isDir(&st) {
		return fault.New(fault.Invalid, "%s is a directory", p)
	}
	return err
}

// List lists p's checkpoints: none or one.
func (d checkpoints) List(_ context.Context, p Path) ([]Checkpoint, error) {
	if err := d.checkpointed(p); err != nil {
		return nil, err
	}
	var st unix.Stat_t
	err := d.tree.stat(checkpointPath(p).local(), &st)
	if errors.Is(err, fs.ErrNotExist) {
		return []Checkpoint{}, nil
	}
	if err != nil {
		return nil, d.fault(err, p)
	}
	return []Checkpoint{{ID: checkpointID, LastModified: timeOf(st.Mtim)}}, nil
}

// Create copies p to its checkpoint, replacing an older one.
func (d checkpoints) Create(ctx context.Context, p Path) (Checkpoint, error) {
	if err := d.checkpointed(p); err != nil {
		return Checkpoint{}, err
	}
	st, err := d.copyTo(ctx, p, checkpointPath(p), true)
	if err != nil {
		return Checkpoint{}, d.fault(err, p)
	}
	return Checkpoint{ID: checkpointID, LastModified: timeOf(st.Mtim)}, nil
}

// Restore puts the checkpoint's bytes back into p. An unknown id is NotFound.
func (d checkpoints) Restore(ctx context.Context, p Path, id string) error {
	if err := d.checkpointed(p); err != nil {
		return err
	}
	if err := d.checkpointExists(p, id); err != nil {
		return err
	}
	if _, err := d.copyTo(ctx, checkpointPath(p), p, false); err != nil {
		return d.fault(err, p)
	}
	d.overlays.Restored(p.rel)
	return nil
}

// Delete removes a checkpoint. An unknown id is NotFound.
func (d checkpoints) Delete(_ context.Context, p Path, id string) error {
	if err := d.visible(p); err != nil {
		return err
	}
	if err := d.checkpointExists(p, id); err != nil {
		return err
	}
	return d.fault(d.removeCheckpoint(p), p)
}

func (d *Dir) checkpointExists(p Path, id string) error {
	if id != checkpointID || !d.isFile(checkpointPath(p)) {
		return fault.New(fault.NotFound, "checkpoint does not exist: %s@%s", p, id)
	}
	return nil
}

// firstCheckpoint makes one for a notebook that has none, as Jupyter does when it saves. The save has
// succeeded by then: it is not called a failure because a checkpoint cannot be made.
func (d *Dir) firstCheckpoint(ctx context.Context, p Path) {
	if !d.exists(checkpointPath(p)) {
		_, _ = d.copyTo(ctx, p, checkpointPath(p), true)
	}
}

// copyTo copies a file's bytes atomically over another's; keep copies its time of modification too. It
// returns the stat of what was copied.
func (d *Dir) copyTo(ctx context.Context, from, to Path, keep bool) (unix.Stat_t, error) {
	f, st, err := d.openMerged(ctx, from)
	if err != nil {
		return st, err
	}
	defer f.Close()
	if err := d.mkdir(to.Parent()); err != nil && !errors.Is(err, fs.ErrExist) {
		return st, err
	}
	t, err := d.newDraft(to)
	if err != nil {
		return st, err
	}
	defer t.discard()
	if err := t.copyOf(f); err != nil {
		return st, err
	}
	if keep {
		at := []unix.Timeval{unix.NsecToTimeval(st.Mtim.Nano()), unix.NsecToTimeval(st.Mtim.Nano())}
		if err := unix.Futimes(int(t.file.Fd()), at); err != nil {
			return st, err
		}
		st.Mtim = unix.NsecToTimespec(at[1].Nano())
	}
	return st, t.commit(false)
}

// moveCheckpoint lets the checkpoint follow a rename. A directory's checkpoints are inside it.
func (d *Dir) moveCheckpoint(from, to Path) error {
	old, now := checkpointPath(from), checkpointPath(to)
	if !d.isFile(old) {
		return nil
	}
	if err := d.mkdir(now.Parent()); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	src, err := openFolder(d.tree, old.Parent().local())
	if err != nil {
		return err
	}
	defer src.close()
	dst, err := openFolder(d.tree, now.Parent().local())
	if err != nil {
		return err
	}
	defer dst.close()
	return retry(func() error { return unix.Renameat(src.fd, old.Name(), dst.fd, now.Name()) })
}

func (d *Dir) removeCheckpoint(p Path) error {
	cp := checkpointPath(p)
	dir, err := openFolder(d.tree, cp.Parent().local())
	if err != nil {
		return err
	}
	defer dir.close()
	if err := dir.unlink(cp.Name()); err != nil {
		return err
	}
	return dir.sync()
}
