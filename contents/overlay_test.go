package contents

import (
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/contents/nbformat"
	"github.com/nbserv/nbserv/internal/fault"
)

// What overlays do to reads and saves is tested where they are made, in sessions/overlay.

const oneCell = `{"cells":[{"cell_type":"code","id":"a","metadata":{},"source":"1","execution_count":null,"outputs":[]}],` +
	`"metadata":{},"nbformat":4,"nbformat_minor":5}`

// sums is a Notary.
type sums map[[sha256.Size]byte]bool

func (s sums) Trusted(_ context.Context, sum [sha256.Size]byte) bool { return s[sum] }
func (s sums) Trust(_ context.Context, sum [sha256.Size]byte) error {
	s[sum] = true
	return nil
}

func count(nb *nbformat.Notebook) bool {
	for c := range nb.CodeCells() {
		return c.SetOutputs([]byte(`[{"output_type":"stream","name":"stdout","text":"1\n"}]`), 7) == nil
	}
	return false
}

func TestEditNotebook(t *testing.T) {
	trusted := sums{}
	d := newDir(t, func(c *Config) { c.Notary = trusted })
	file := filepath.Join(d.root, "n.ipynb")
	require.NoError(t, os.WriteFile(file, []byte(oneCell), 0o600))
	require.NoError(t, d.Trust(t.Context(), Path{rel: "n.ipynb"}))
	st, err := os.Stat(file)
	require.NoError(t, err)

	require.NoError(t, d.EditNotebook(t.Context(), "n.ipynb", func(nb *nbformat.Notebook, modified time.Time) bool {
		require.Equal(t, st.ModTime().UnixMicro(), modified.UnixMicro())
		count(nb)
		return false
	}))
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, oneCell, string(raw), "nothing is written that is not to be")

	edit := func(nb *nbformat.Notebook, _ time.Time) bool { return count(nb) }
	require.NoError(t, d.EditNotebook(t.Context(), "n.ipynb", edit))
	raw, err = os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(raw), `"execution_count": 7`)
	require.True(t, trusted[sha256.Sum256(raw)], "what was trusted stays so")

	err = d.EditNotebook(t.Context(), "n.ipynb", func(nb *nbformat.Notebook, _ time.Time) bool {
		require.NoError(t, os.WriteFile(file, []byte("a page's"), 0o600))
		return count(nb)
	})
	require.Equal(t, fault.Conflict, fault.KindOf(err), "%v", err)
	raw, err = os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "a page's", string(raw))

	for path, want := range map[string]fault.Kind{
		"n.ipynb": fault.Invalid, "none.ipynb": fault.NotFound, "": fault.Invalid, ".hidden.ipynb": fault.Invalid, "../x.ipynb": fault.Invalid,
	} {
		err := d.EditNotebook(t.Context(), path, edit)
		require.Equal(t, want, fault.KindOf(err), "%q: %v", path, err)
	}
	require.NoError(t, os.WriteFile(file, []byte(`{"nbformat":3,"worksheets":[{"cells":[{"cell_type":"code","input":"1","outputs":[]}]}]}`), 0o600))
	err = d.EditNotebook(t.Context(), "n.ipynb", edit)
	require.Equal(t, fault.Conflict, fault.KindOf(err), "an older format would not be what it was")
}
