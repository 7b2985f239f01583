package contents

import (
	"context"
	"io"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
)

// Jupyter sends a large file as models with chunk 1, 2, … and -1 for the last. A chunk says neither where it
// belongs nor of which upload it is; it is appended to the upload of its path.
//
//   - The next chunk is appended. One further on is Conflict and is told what is expected.
//   - A chunk that came before, with the same bytes, changes nothing.
//   - Chunk 1 with other bytes begins anew, as does a later one that follows on a repeat: the client has
//     started again with a file that changed.
//   - The last chunk is taken only where the client went on from the end of what is held; after a commit its
//     repeat is recognised by the end of the file.

// lastChunk is the number of the chunk that completes the file.
const lastChunk = -1

// saveChunk takes one chunk, whose bytes are in t.
func (d *Dir) saveChunk(ctx context.Context, p Path, in *Incoming, t *draft) (*Model, error) {
	if in.Type != TypeFile {
		return nil, fault.New(fault.Invalid, `field "type" should be "file" for an upload in chunks`)
	}
	if err := in.checkText(); err != nil {
		return nil, err
	}
	for {
		u, err := d.staging.chunked(p, *in.Chunk == 1)
		if err != nil {
			return nil, err
		}
		if u == nil {
			return d.repeatedLast(p, *in.Chunk, t)
		}
		m, err := u.takeChunk(ctx, *in.Chunk, t)
		if err == errGone { // it ended while this request waited for its turn
			continue
		}
		return m, err
	}
}

// chunkID is the id of the chunked upload of a path. ParsePath lets no NUL into a path or an id of others.
func chunkID(p Path) string { return "chunks\x00" + p.rel }

// chunked finds the upload of p, and begins it when start is set. nil means there is none.
func (s *Staging) chunked(p Path, start bool) (*Upload, error) {
	if start {
		return s.Begin(chunkID(p), p, UnknownSize)
	}
	s.loadSidecars()
	return s.find(chunkID(p)), nil
}

// repeatedLast answers a last chunk without an upload: it is a repeat when the file ends with its bytes.
func (d *Dir) repeatedLast(p Path, chunk int, t *draft) (*Model, error) {
	none := fault.New(fault.Conflict, "chunk 1 of %q is expected, not %d", p, chunk)
	if chunk != lastChunk || !d.isFile(p) {
		return nil, none
	}
	f, st, err := d.open(p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	same := st.Size >= t.size
	if same {
		same, err = equal(io.NewSectionReader(f, st.Size-t.size, t.size), t.section())
	}
	if err != nil || !same {
		return nil, cmpErr(err, none)
	}
	return d.stat(p, "")
}

func (t *draft) section() io.Reader { return io.NewSectionReader(t.file, 0, t.size) }

// equal compares two streams of one length.
func equal(a, b io.Reader) (bool, error) {
	x, y := make([]byte, streamBytes), make([]byte, streamBytes)
	for {
		n, err := io.ReadFull(a, x)
		m, err2 := io.ReadFull(b, y)
		if n != m || string(x[:n]) != string(y[:m]) {
			return false, nil
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return err2 == err, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// takeChunk handles one chunk at a time. errGone means that the upload has ended.
func (u *Upload) takeChunk(ctx context.Context, n int, t *draft) (*Model, error) {
	select {
	case u.turn <- struct{}{}:
		defer func() { <-u.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	u.mu.Lock()
	gone, have, cursor := u.gone, len(u.chunks), u.cursor
	var old Range
	if n >= 1 && n <= have {
		old = u.chunks[n-1]
	}
	u.mu.Unlock()
	switch {
	case gone:
		return nil, errGone
	case n == lastChunk && cursor != have:
		_ = u.Cancel()
		return nil, fault.New(fault.Conflict, "the last chunk of %q came after chunk %d was repeated, but %d are held: send the file again from chunk 1", u.path, cursor, have)
	case n == lastChunk:
		if err := u.appendChunk(ctx, have+1, t); err != nil {
			return nil, err
		}
		return u.Commit(ctx)
	case n <= have:
		return u.repeatChunk(ctx, n, old, t)
	case n > have+1:
		return nil, fault.New(fault.Conflict, "chunk %d of %q is expected, not %d", have+1, u.path, n)
	}
	if err := u.appendChunk(ctx, n, t); err != nil {
		return nil, err
	}
	return u.model(), nil
}

// repeatChunk takes a number that was there before.
func (u *Upload) repeatChunk(ctx context.Context, n int, old Range, t *draft) (*Model, error) {
	same, err := u.sameChunk(old, t)
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	restarted := n == 1 || n == u.cursor+1
	if same {
		u.cursor, u.modified = n, time.Now()
	}
	u.mu.Unlock()
	switch {
	case same:
		return u.model(), nil
	case !restarted:
		return nil, fault.New(fault.Conflict, "chunk %d of %q came before with other bytes: send the file again from chunk 1", n, u.path)
	}
	if err := u.drop(n); err != nil {
		return nil, err
	}
	if err := u.appendChunk(ctx, n, t); err != nil {
		return nil, err
	}
	return u.model(), nil
}

func (u *Upload) sameChunk(old Range, t *draft) (bool, error) {
	if old.Len() != t.size {
		return false, nil
	}
	f, err := u.openPart()
	if err != nil {
		return false, err
	}
	defer f.Close()
	return equal(io.NewSectionReader(f, old.From, old.Len()), t.section())
}

// drop removes chunk n and those after it. The record comes first: bytes without one are overwritten.
func (u *Upload) drop(n int) error {
	if err := u.appendLine(dropLine(n)); err != nil {
		return err
	}
	u.mu.Lock()
	u.dropped(n)
	end := u.held.end()
	u.mu.Unlock()
	f, err := u.openPart()
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Truncate(end)
}

func (u *Upload) appendChunk(ctx context.Context, n int, t *draft) error {
	u.mu.Lock()
	at := u.held.end()
	u.mu.Unlock()
	return u.store(ctx, Part{Range: Range{at, at + t.size}, Body: t.section()}, n)
}

// model describes what is held, in the shape of the file that it will be.
func (u *Upload) model() *Model {
	u.mu.Lock()
	defer u.mu.Unlock()
	return &Model{
		Name: u.path.Name(), Path: u.path.rel, Type: TypeFile, Mimetype: mimetype(u.path.Name()),
		Size: u.held.end(), LastModified: u.modified, Created: u.modified, Writable: true,
	}
}
