package contents

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
)

// maxRanges bounds how scattered an upload may be; each range costs 16 bytes of memory (guess).
const maxRanges = 64 << 10

// partBytes is the size of the buffer that a part passes through: with eight parts at a time, larger ones fall out of
// the processor's cache between reading and writing (measured).
const partBytes = 64 << 10

// Upload is one file that arrives in parts. Parts may come in any order and at the same time; of two that
// overlap the newer one ends the older one's request. Safe for concurrent use.
type Upload struct {
	// immutable
	staging *Staging
	id      string
	path    Path
	size    int64 // bytes, or UnknownSize
	place
	part string // of the bytes in place.folder

	turn  chan struct{} // held by the request that handles a numbered chunk
	bytes atomic.Int64  // that are held

	// One file takes one write at a time. The kernel lets writers spin on the file's lock, which costs two processors a
	// third of their time with eight parts; here they sleep. The only locks that are held over input and output.
	disk, flush sync.Mutex

	mu       sync.Mutex
	held     ranges               // guarded by mu
	chunks   []Range              // Jupyter's numbered ones; guarded by mu
	cursor   int                  // the chunk that was sent last; guarded by mu
	writers  map[*writer]struct{} // guarded by mu
	modified time.Time            // guarded by mu
	gone     bool                 // guarded by mu
}

// writer is a request that is writing a range.
type writer struct {
	span  Range
	abort func()
	done  chan struct{}
}

// Part is some bytes of an upload.
type Part struct {
	Range
	Body io.Reader
	// Abort makes a blocked read of Body return. It is called when a newer part takes the range over, and
	// may be nil for a Body that does not block.
	Abort func()
}

// ID is the name it was begun with.
func (u *Upload) ID() string { return u.id }

// Path is where the file will be.
func (u *Upload) Path() Path { return u.path }

// Size is the size of the whole file, or UnknownSize.
func (u *Upload) Size() int64 { return u.size }

// Modified is when the last part came.
func (u *Upload) Modified() time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.modified
}

// Held is how many bytes have come.
func (u *Upload) Held() int64 { return u.bytes.Load() }

// End is behind the last byte that has come.
func (u *Upload) End() int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.held.end()
}

// Missing is the ranges that have not come. Of an upload of unknown size it is the holes.
func (u *Upload) Missing() []Range {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.held.missing(u.whole())
}

// whole is what a complete upload holds. Call it with mu held.
func (u *Upload) whole() Range {
	if u.size == UnknownSize {
		return Range{0, u.held.end()}
	}
	return Range{0, u.size}
}

func (u *Upload) same(p Path, size int64) error {
	if u.path != p || u.size != size {
		return fault.New(fault.Conflict, "upload %q is of %q with %d bytes", u.id, u.path, u.size)
	}
	return nil
}

// WriteAt stores a part, durably when it returns. Bytes that are held already must be the same: a repeated
// part changes nothing, other bytes are Conflict. A body that ends early is Invalid and stores nothing.
func (u *Upload) WriteAt(ctx context.Context, p Part) error {
	if p.From < 0 || p.Len() < 0 || u.size != UnknownSize && p.To > u.size {
		return fault.New(fault.Invalid, "bytes %s are not within the %d of the upload", p.Range, u.size)
	}
	w, err := u.takeOver(ctx, p)
	if err != nil {
		return err
	}
	defer u.leave(w)
	return u.staging.dir.fault(u.store(ctx, p, 0), u.path)
}

// takeOver registers a writer and waits until those whose range it takes have left.
func (u *Upload) takeOver(ctx context.Context, p Part) (*writer, error) {
	w := &writer{span: p.Range, abort: p.Abort, done: make(chan struct{})}
	u.mu.Lock()
	if u.gone {
		u.mu.Unlock()
		return nil, fault.Wrap(fault.NotFound, errGone, "no upload %q", u.id)
	}
	var older []*writer
	for o := range u.writers {
		if o.span.overlaps(w.span) {
			older = append(older, o)
		}
	}
	u.writers[w] = struct{}{}
	u.mu.Unlock()
	for _, o := range older {
		if o.abort != nil {
			o.abort()
		}
		select {
		case <-o.done:
		case <-ctx.Done():
			u.leave(w)
			return nil, ctx.Err()
		}
	}
	return w, nil
}

func (u *Upload) leave(w *writer) {
	u.mu.Lock()
	delete(u.writers, w)
	u.mu.Unlock()
	close(w.done)
}

// store writes a part and then the record of it. The bytes need not be on the disk by then: what a run of the
// machine has recorded counts in that run only (see sidecar), and a commit syncs.
func (u *Upload) store(ctx context.Context, p Part, chunk int) error {
	f, err := u.openPart()
	if err != nil {
		return err
	}
	defer f.Close()
	u.mu.Lock()
	known := u.held.within(p.Range)
	u.mu.Unlock()
	var fresh int64
	for _, r := range known.missing(p.Range) {
		fresh += r.Len()
	}
	if err := u.staging.fits(p.To); err != nil {
		return err
	}
	if err := u.staging.reserve(fresh); err != nil {
		return err
	}
	defer u.staging.release(fresh)
	if err := u.copyPart(ctx, f, p, known); err != nil {
		return err
	}
	if fresh > 0 {
		if u.staging.boot != "" {
			u.writeBack(f, p.Range)
		} else if err := f.Sync(); err != nil {
			return err
		}
	}
	return u.record(p.Range, chunk)
}

// copyPart writes what is new of p and compares what is known.
func (u *Upload) copyPart(ctx context.Context, f *os.File, p Part, known ranges) error {
	buf := make([]byte, min(partBytes, p.Len()))
	for at := p.From; at < p.To; {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := buf[:min(int64(len(buf)), p.To-at)]
		if _, err := io.ReadFull(p.Body, b); err != nil {
			if k := fault.KindOf(err); k != fault.Internal {
				return err
			}
			return fault.Wrap(fault.Invalid, err, "bytes %s ended early", p.Range)
		}
		now := Range{at, at + int64(len(b))}
		for _, r := range known.missing(now) {
			u.disk.Lock()
			_, err := f.WriteAt(b[r.From-at:r.To-at], r.From)
			u.disk.Unlock()
			if err != nil {
				return err
			}
		}
		for _, r := range known.within(now) {
			if same, err := holds(f, r.From, b[r.From-at:r.To-at]); err != nil || !same {
				return cmpErr(err, fault.New(fault.Conflict, "bytes %s came before with other contents", r))
			}
		}
		at = now.To
	}
	return nil
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// holds says whether f has exactly b at off.
func holds(f io.ReaderAt, off int64, b []byte) (bool, error) {
	old := make([]byte, len(b))
	if _, err := f.ReadAt(old, off); err != nil && err != io.EOF {
		return false, err
	}
	return bytes.Equal(old, b), nil
}

// writeBack sets the disk to work on a part. One at a time does: it takes up whatever is dirty, and others would wait.
func (u *Upload) writeBack(f *os.File, r Range) {
	if u.flush.TryLock() {
		defer u.flush.Unlock()
		startWriteback(f, r.From, r.Len())
	}
}

// record notes a range in the sidecar and in memory.
func (u *Upload) record(r Range, chunk int) error {
	if err := u.appendSidecar(r, chunk); err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.noted(r, chunk)
}

// noted is record's part in memory, also when a sidecar is read back. Call it with mu held.
func (u *Upload) noted(r Range, chunk int) error {
	held := u.held.add(r)
	u.held, u.modified = held, time.Now()
	u.bytes.Store(held.len())
	if chunk > 0 {
		u.chunks = append(u.chunks[:chunk-1], r)
		u.cursor = chunk
	}
	if len(held) > maxRanges {
		return fault.New(fault.TooLarge, "the upload has more than %d separate parts", maxRanges)
	}
	return nil
}

// Commit makes the upload the file at its path, as Save would, and ends it. Holes, and parts that are still
// arriving, are Conflict.
func (u *Upload) Commit(_ context.Context) (*Model, error) {
	if err := u.complete(); err != nil {
		return nil, err
	}
	t, err := u.asDraft()
	if err != nil {
		return nil, u.staging.dir.fault(err, u.path)
	}
	err = t.commit(false)
	t.temp = "" // its bytes stay for another try
	t.discard()
	if err != nil {
		u.reopen()
		return nil, u.staging.dir.fault(err, u.path)
	}
	u.staging.forget(u)
	u.removeSidecar()
	return u.staging.dir.stat(u.path, "")
}

// complete ends the upload for writers, if nothing is missing.
func (u *Upload) complete() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.gone {
		return fault.Wrap(fault.NotFound, errGone, "no upload %q", u.id)
	}
	if len(u.writers) > 0 {
		return fault.New(fault.Conflict, "%d parts of the upload are still arriving", len(u.writers))
	}
	if holes := u.held.missing(u.whole()); len(holes) > 0 {
		return fault.New(fault.Conflict, "bytes %s are missing", nameRanges(holes))
	}
	u.gone = true
	return nil
}

func (u *Upload) reopen() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.gone = false
}

// asDraft is the part as a draft of the target.
func (u *Upload) asDraft() (*draft, error) {
	dir, err := u.openTarget()
	if err != nil {
		u.reopen()
		return nil, err
	}
	t := &draft{folder: dir, into: dir, below: u.below, name: u.name, temp: u.part,
		stamped: u.staging.dir.cfg.ForPrograms, path: u.path}
	if u.below == "" {
		err = t.look()
	}
	if err == nil {
		t.file, err = dir.open(u.part, os.O_RDWR, 0)
	}
	if err != nil {
		dir.close()
		u.reopen()
		return nil, err
	}
	return t, nil
}

// Cancel ends the upload and removes its parts. Requests that are writing fail.
func (u *Upload) Cancel() error {
	u.mu.Lock()
	if u.gone {
		u.mu.Unlock()
		return fault.Wrap(fault.NotFound, errGone, "no upload %q", u.id)
	}
	u.gone = true
	var open []*writer
	for w := range u.writers {
		open = append(open, w)
	}
	u.mu.Unlock()
	for _, w := range open {
		if w.abort != nil {
			w.abort()
		}
	}
	u.staging.forget(u)
	u.removeFiles()
	return nil
}

// abandoned says whether nothing has come, and nothing is coming, for ttl.
func (u *Upload) abandoned(ttl time.Duration) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.writers) == 0 && time.Since(u.modified) >= ttl
}

func (u *Upload) openTarget() (*folder, error) { return openFolder(u.staging.dir.tree, u.folder) }

func (u *Upload) openPart() (*os.File, error) {
	dir, err := u.openTarget()
	if err != nil {
		return nil, err
	}
	defer dir.close()
	f, err := dir.open(u.part, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fault.Wrap(fault.NotFound, err, "no upload %q", u.id)
	}
	return f, err
}

func (u *Upload) removeFiles() {
	if dir, err := u.openTarget(); err == nil {
		_ = dir.unlink(u.part) // gone already, or with its folder
		dir.close()
	}
	u.removeSidecar()
}
