package contents

import (
	"context"
	"crypto/sha256"
	"hash"
	"io"
	"net/http"

	"github.com/nbserv/nbserv/internal/fault"
)

// Notary remembers which notebooks are trusted, by the SHA-256 of their files: a page shows their outputs with
// everything that is in them, scripts too. Safe for concurrent use.
type Notary interface {
	// Trusted tells whether the notebook with this sum is trusted; when that cannot be found out it is not.
	Trusted(ctx context.Context, sum [sha256.Size]byte) bool
	Trust(ctx context.Context, sum [sha256.Size]byte) error
}

// Trust has the notebook at p trusted as it is now. What is no notebook is Invalid.
func (d *Dir) Trust(ctx context.Context, p Path) error {
	m, err := d.Get(ctx, p, GetOptions{Content: true})
	if err != nil {
		return err
	}
	defer m.Close()
	nb, ok := m.Content.(*notebookContent)
	switch {
	case !ok:
		return fault.New(fault.Invalid, "%s is not a notebook", p)
	case d.cfg.Notary == nil:
		return fault.New(fault.Conflict, "this server keeps no list of trusted notebooks")
	}
	return d.cfg.Notary.Trust(ctx, nb.sum)
}

// summed is a writer that sums what goes through it.
type summed struct {
	io.Writer
	hash hash.Hash
}

func newSummed(w io.Writer) *summed {
	h := sha256.New()
	return &summed{Writer: io.MultiWriter(w, h), hash: h}
}

func (s *summed) sum() (sum [sha256.Size]byte) {
	s.hash.Sum(sum[:0])
	return sum
}

// trust serves POST …/trust.
func (a *API) trust(w http.ResponseWriter, r *http.Request) error {
	p, err := pathOf(r)
	if err != nil {
		return err
	}
	if err := a.store.Trust(r.Context(), p); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated) // as the reference server, without a body
	return nil
}
