// Package trust remembers which notebooks may do in a page what their outputs want: those that a page saved with
// outputs of its own making, and those their user said to trust. A notebook is known by the SHA-256 of its file, so that
// a file which anybody else has changed is not trusted any more. It starts no goroutines.
package trust

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"time"

	"github.com/nbserv/nbserv/internal/store"
)

// maxBooks is how many notebooks are remembered, as by Jupyter; the ones seen last stay. 64 Ki of them take 4 MB.
const maxBooks = 65_536

// Schema is the table of trusted notebooks, for store.Open.
var Schema = store.Schema{
	Noun: "trust",
	Steps: []string{
		`CREATE TABLE trusted_notebook (
			sum  BLOB NOT NULL PRIMARY KEY, -- SHA-256 of the file
			seen INTEGER NOT NULL           -- seconds since 1970, UTC: when it was last trusted
		) STRICT, WITHOUT ROWID`,
		`CREATE INDEX trusted_notebook_seen ON trusted_notebook (seen)`,
	},
	Probe: "SELECT sum, seen FROM trusted_notebook",
}

// Notary is a contents.Notary in the server's own database.
type Notary struct {
	// immutable
	db   *store.DB
	log  *slog.Logger
	most int
}

// New makes a Notary of a database that was opened with Schema.
func New(db *store.DB, log *slog.Logger) *Notary { return &Notary{db: db, log: log, most: maxBooks} }

// Trusted implements contents.Notary.
func (n *Notary) Trusted(ctx context.Context, sum [32]byte) bool {
	err := n.db.Do(ctx, func(tx *sql.Tx) error {
		var one int
		return tx.QueryRowContext(ctx, "SELECT 1 FROM trusted_notebook WHERE sum = ?", sum[:]).Scan(&one)
	})
	if err != nil && !errors.Is(err, sql.ErrNoRows) && ctx.Err() == nil {
		n.log.Error("cannot look for a trusted notebook", "err", err)
	}
	return err == nil
}

// Trust implements contents.Notary.
func (n *Notary) Trust(ctx context.Context, sum [32]byte) error {
	err := n.db.Do(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO trusted_notebook (sum, seen) VALUES (?, ?)", sum[:], time.Now().Unix())
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM trusted_notebook WHERE seen <
			(SELECT seen FROM trusted_notebook ORDER BY seen DESC LIMIT 1 OFFSET ?)`, n.most-1)
		return err
	})
	if err != nil {
		n.log.Error("cannot remember a trusted notebook", "err", err)
	}
	return err
}
