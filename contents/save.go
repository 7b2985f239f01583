package contents

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nbserv/nbserv/contents/nbformat"
	"github.com/nbserv/nbserv/internal/fault"
)

// Save writes what in holds to p and describes the result without its content; created says that no file was
// there before. When it returns, the new bytes are on the disk, or, with an error, the old ones are untouched
// (promises P2, P7). A body without fields makes an untitled file in p. Hidden paths, a model that is not
// complete and a target that is not a regular file are Invalid; a folder that is missing NotFound; one that
// may not be written Forbidden; a full disk NoSpace.
func (d *Dir) Save(ctx context.Context, p Path, in *Incoming) (m *Model, created bool, err error) {
	if err := d.changeable("create", p); err != nil {
		return nil, false, err
	}
	var t *draft
	defer func() {
		if t != nil {
			t.discard()
		}
	}()
	err = in.decode(func() (io.Writer, error) {
		t, err = d.newDraft(p)
		if err == nil {
			t.raw = in.Format == ""
		}
		return t, err
	})
	if err == nil {
		err = d.checkIncoming(in)
	}
	if err != nil {
		return nil, false, d.fault(err, p)
	}
	if in.fields == 0 {
		m, err := d.CreateUntitled(ctx, p, "", "")
		return m, true, err
	}
	if in.packed && in.Format == FormatBase64 {
		if err := t.unpack(); err != nil {
			return nil, false, d.fault(err, p)
		}
	}
	created = !d.isFile(p)
	if in.Chunk != nil {
		m, err = d.saveChunk(ctx, p, in, t)
	} else {
		m, err = d.saveWhole(ctx, p, in, t, created)
	}
	return m, created, d.fault(err, p)
}

func (d *Dir) checkIncoming(in *Incoming) error {
	in.Type = knownType(in.Type)
	if in.CopyFrom != "" {
		return fault.New(fault.Invalid, "cannot copy with PUT, only with POST")
	}
	other, err := ParsePath(in.Path)
	if err != nil {
		return err
	}
	return d.changeable("create", other)
}

// saveWhole fills in what the model of a new file may leave out, as Jupyter does.
func (d *Dir) saveWhole(ctx context.Context, p Path, in *Incoming, t *draft, created bool) (*Model, error) {
	if in.Type == "" {
		switch {
		case !created:
			return nil, fault.New(fault.Invalid, "no file type provided")
		case strings.HasSuffix(p.rel, ".ipynb"):
			in.Type = TypeNotebook
		default:
			in.Type = TypeFile
		}
	}
	missing := !in.text && in.raw == nil
	if missing && !created && in.Type != TypeDirectory {
		return nil, fault.New(fault.Invalid, "no file content provided")
	}
	switch in.Type {
	case TypeDirectory:
		return d.saveDirectory(p)
	case TypeNotebook:
		return d.saveNotebook(ctx, p, in)
	}
	if missing {
		return d.saveBytes(p, strings.NewReader(""))
	}
	if err := in.checkText(); err != nil {
		return nil, err
	}
	if err := t.commit(false); err != nil {
		return nil, err
	}
	return d.stat(p, "")
}

// checkText refuses a file whose content is no string or has no format.
func (in *Incoming) checkText() error {
	switch {
	case in.Format != FormatText && in.Format != FormatBase64:
		return fault.New(fault.Invalid, `field "format" should be "text" or "base64" for a file`)
	case !in.text:
		return fault.New(fault.Invalid, `field "content" should be a string for a file`)
	}
	return nil
}

func (d *Dir) saveDirectory(p Path) (*Model, error) {
	if err := d.mkdir(p); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	m, err := d.stat(p, "")
	if err == nil && m.Type != TypeDirectory {
		return nil, fault.New(fault.Invalid, "%s is not a directory", p)
	}
	return m, err
}

func (d *Dir) mkdir(p Path) error {
	if p.IsRoot() {
		return fs.ErrExist
	}
	dir, err := openFolder(d.tree, p.Parent().local())
	if err != nil {
		return d.fault(err, p.Parent())
	}
	defer dir.close()
	if err := dir.mkdir(p.Name()); err != nil {
		return err
	}
	return dir.sync()
}

func (d *Dir) saveNotebook(ctx context.Context, p Path, in *Incoming) (*Model, error) {
	nb := nbformat.New()
	if in.text {
		return nil, fault.New(fault.Invalid, `field "content" should be an object for a notebook`)
	}
	if in.raw != nil {
		var err error
		if nb, err = nbformat.Decode(in.raw); err != nil {
			return nil, fault.Wrap(fault.Invalid, err, `field "content" is not a notebook: %v`, err)
		}
	}
	saved := false
	done := d.overlays.Saving(ctx, p.rel, nb)
	defer func() { done(saved) }()
	t, err := d.newDraft(p)
	if err != nil {
		return nil, err
	}
	defer t.discard()
	out := newSummed(t)
	if err := nb.WriteFile(out); err != nil {
		return nil, err
	}
	// Before the file is there: a page that reads it right after must find it trusted.
	if d.cfg.Notary != nil && nb.Trusted() {
		_ = d.cfg.Notary.Trust(ctx, out.sum()) // the save matters more, and the page can ask again
	}
	if err := t.commit(false); err != nil {
		return nil, err
	}
	saved = true
	d.firstCheckpoint(ctx, p)
	m, err := d.stat(p, "")
	if err == nil {
		m.Message = validate(nb)
	}
	return m, err
}

// validate is the message of a model whose notebook breaks the rules.
func validate(nb *nbformat.Notebook) string {
	if err := nb.Validate(); err != nil {
		return "Notebook validation failed: " + err.Error()
	}
	return ""
}

// WriteFile puts the bytes of r at p, whole or not at all. Like Save it refuses what is hidden.
func (d *Dir) WriteFile(_ context.Context, p Path, r io.Reader) (*Model, error) {
	if err := d.changeable("create", p); err != nil {
		return nil, err
	}
	m, err := d.saveBytes(p, r)
	return m, d.fault(err, p)
}

func (d *Dir) saveBytes(p Path, r io.Reader) (*Model, error) {
	t, err := d.newDraft(p)
	if err != nil {
		return nil, err
	}
	defer t.discard()
	// Not io.Copy: it would let the file read from a socket in pieces of 32 KiB.
	if _, err := io.CopyBuffer(struct{ io.Writer }{t}, r, make([]byte, streamBytes)); err != nil {
		return nil, err
	}
	if err := t.commit(false); err != nil {
		return nil, err
	}
	return d.stat(p, "")
}

// unpack decodes the draft from base64, in place: what is decoded is always shorter than what was read.
func (t *draft) unpack() error {
	at := &offsetWriter{t: t}
	dec := &base64Writer{w: at}
	buf := make([]byte, min(streamBytes, t.size+1))
	if _, err := io.CopyBuffer(struct{ io.Writer }{dec}, io.NewSectionReader(t.file, 0, t.size), buf); err != nil {
		return err
	}
	if err := dec.close(); err != nil {
		return err
	}
	t.size = at.off
	return t.file.Truncate(at.off)
}

type offsetWriter struct {
	t   *draft
	off int64
}

func (w *offsetWriter) Write(p []byte) (int, error) {
	n, err := w.t.file.WriteAt(p, w.off)
	w.off += int64(n)
	return n, err
}

func (d *Dir) isFile(p Path) bool {
	var st unix.Stat_t
	return d.tree.stat(p.local(), &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG
}

func (d *Dir) isDir(p Path) bool {
	var st unix.Stat_t
	return d.tree.stat(p.local(), &st) == nil && isDir(&st)
}

func (d *Dir) exists(p Path) bool {
	var st unix.Stat_t
	return d.tree.lstat(p.local(), &st) == nil
}
