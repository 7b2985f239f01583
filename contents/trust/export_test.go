package trust

import (
	"database/sql"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/store"
)

// NewSmall is New with room for a few notebooks.
func NewSmall(db *store.DB, log *slog.Logger, most int) *Notary {
	n := New(db, log)
	n.most = most
	return n
}

// Age makes what is remembered a minute older.
func Age(t *testing.T, db *store.DB) {
	t.Helper()
	require.NoError(t, db.Do(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.Exec("UPDATE trusted_notebook SET seen = seen - 60")
		return err
	}))
}
