package contents

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nbserv/nbserv/contents/nbformat"
	"github.com/nbserv/nbserv/internal/fault"
)

// GetOptions say what a client wants to know of a path.
type GetOptions struct {
	Type    Type   // "" takes what is there
	Format  Format // of a file's content: text, base64, or "" for text when it is UTF-8
	Content bool
	Hash    bool
}

// Get describes p. The caller closes the model. What is hidden or missing is NotFound; a type that does not
// match, a text that is not UTF-8, a notebook that cannot be read, and special files are Invalid.
func (d *Dir) Get(ctx context.Context, p Path, o GetOptions) (*Model, error) {
	if err := d.visible(p); err != nil {
		return nil, err
	}
	if !o.Content && !o.Hash {
		return d.stat(p, o.Type)
	}
	f, st, err := d.open(p)
	if err != nil {
		return nil, err
	}
	m, err := d.describe(p, &st, o.Type)
	if err == nil {
		err = d.fill(ctx, m, p, f, o)
	}
	if err != nil || m.Content == nil {
		f.Close()
	}
	if err != nil {
		return nil, d.fault(err, p)
	}
	return m, nil
}

// stat is Get without opening anything.
func (d *Dir) stat(p Path, want Type) (*Model, error) {
	st, err := d.ordinary(p)
	if err != nil {
		return nil, err
	}
	return d.describe(p, &st, want)
}

func (d *Dir) describe(p Path, st *unix.Stat_t, want Type) (*Model, error) {
	m := describe(p, st, d.writable(p))
	switch {
	case m.Type == TypeDirectory && want != "" && want != TypeDirectory:
		return nil, fault.New(fault.Invalid, "%s is a directory, not a %s", p, want)
	case m.Type != TypeDirectory && want == TypeDirectory:
		return nil, fault.New(fault.Invalid, "%s is not a directory", p)
	case want == TypeNotebook:
		m.Type, m.Mimetype = TypeNotebook, ""
	case want == TypeFile:
		m.Type, m.Mimetype = TypeFile, mimetype(m.Name)
	}
	return m, nil
}

// fill adds the hash and the content. The content owns f.
func (d *Dir) fill(ctx context.Context, m *Model, p Path, f *os.File, o GetOptions) error {
	switch {
	case m.Type == TypeDirectory:
		if o.Content {
			m.Format, m.Content = FormatJSON, &listing{dir: d, path: p, file: f}
		}
		return nil
	case m.Type == TypeNotebook && o.Content:
		return d.fillNotebook(ctx, m, p, f, o)
	}
	text, err := d.inspect(ctx, m, f, o)
	if err != nil || !o.Content {
		return err
	}
	if version := d.overlaid(ctx, p); version != "" {
		if f, err = d.fillMerged(ctx, m, p, f, version); err != nil {
			return err
		}
	}
	switch {
	case o.Format == FormatText && !text:
		return fault.New(fault.Invalid, "%s is not UTF-8 encoded", p)
	case o.Format == FormatBase64, !text:
		m.Format, m.Content = FormatBase64, &fileContent{file: f, write: writeBase64}
	default:
		m.Format, m.Content = FormatText, &fileContent{file: f, write: writeText}
	}
	if m.Mimetype == "" {
		m.Mimetype = map[Format]string{FormatText: "text/plain", FormatBase64: "application/octet-stream"}[m.Format]
	}
	return nil
}

// inspect reads the file once for what must be known before its content is sent: whether it is text, and its
// hash. Nothing is read when nothing is asked.
func (d *Dir) inspect(ctx context.Context, m *Model, f *os.File, o GetOptions) (text bool, err error) {
	var check utf8Check
	hash := sha256.New()
	var to []io.Writer
	if o.Content && o.Format != FormatBase64 {
		to = append(to, &check)
	}
	if o.Hash {
		to = append(to, hash)
	}
	if len(to) == 0 {
		return false, nil
	}
	r := io.NewSectionReader(f, 0, m.Size)
	buf := make([]byte, min(streamBytes, m.Size+1))
	for {
		n, err := r.Read(buf)
		for _, w := range to {
			_, _ = w.Write(buf[:n]) // neither fails
		}
		if err == io.EOF {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return false, err
		}
	}
	if o.Hash {
		m.Hash = hex.EncodeToString(hash.Sum(nil))
	}
	return check.ok(), nil
}

// fileContent streams a file's bytes through an encoding.
type fileContent struct {
	file  *os.File
	write func(io.Writer, io.Reader) error
}

func (c *fileContent) WriteJSON(w io.Writer) error { return c.write(w, c.file) }
func (c *fileContent) Close() error                { return c.file.Close() }

func (d *Dir) fillNotebook(ctx context.Context, m *Model, p Path, f *os.File, o GetOptions) error {
	raw := make([]byte, m.Size)
	n, err := io.ReadFull(f, raw)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return err
	}
	var sum [sha256.Size]byte
	if o.Hash || d.cfg.Notary != nil {
		sum = sha256.Sum256(raw[:n])
	}
	if o.Hash {
		m.Hash = hex.EncodeToString(sum[:])
	}
	nb, err := nbformat.Read(raw[:n])
	if err != nil {
		return fault.Wrap(fault.Invalid, err, "unreadable notebook %s: %v", p, err)
	}
	var merged []nbformat.Cell
	if version := d.overlaid(ctx, p); version != "" {
		m.mark(version)
		merged = d.overlays.Merge(ctx, p.rel, nb, m.LastModified)
	}
	if err := nb.Validate(); err != nil {
		m.Message = "Notebook validation failed: " + err.Error()
	}
	if d.cfg.Notary != nil {
		nb.Mark(d.cfg.Notary.Trusted(ctx, sum))
		for _, c := range merged {
			c.Trust()
		}
	}
	m.Format, m.Content = FormatJSON, &notebookContent{nb: nb, sum: sum, file: f}
	return nil
}

// fillMerged gives the notebook in f with its overlay, in the place of f.
func (d *Dir) fillMerged(ctx context.Context, m *Model, p Path, f *os.File, version string) (*os.File, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return f, err
	}
	merged, err := d.merged(ctx, p, f, &st)
	if merged == nil {
		return f, err
	}
	m.mark(version)
	f.Close()
	return merged, nil
}

// mark makes the ETag another one than the file's without its overlay.
func (m *Model) mark(version string) {
	m.ETag = strings.TrimSuffix(m.ETag, `"`) + "-" + version + `"`
}

// notebookContent writes a notebook as clients get it.
type notebookContent struct {
	nb   *nbformat.Notebook
	sum  [sha256.Size]byte // of the file, where there is a notary
	file *os.File
}

func (c *notebookContent) WriteJSON(w io.Writer) error { return c.nb.WriteJSON(w) }
func (c *notebookContent) Close() error                { return c.file.Close() }

// writable asks the system whether p may be changed, now.
func (d *Dir) writable(p Path) bool {
	return d.tree.writable(p.local())
}
