package sessions

import (
	"context"
	"database/sql"
	"time"

	"github.com/nbserv/nbserv/internal/store"
)

// Schema is the table of sessions, for store.Open.
var Schema = store.Schema{
	Noun: "sessions",
	Steps: []string{`CREATE TABLE session (
		id          TEXT NOT NULL PRIMARY KEY,
		path        TEXT NOT NULL,
		name        TEXT NOT NULL,
		type        TEXT NOT NULL,
		kernel_id   TEXT NOT NULL,
		kernel_name TEXT NOT NULL,
		created     INTEGER NOT NULL -- microseconds since 1970, UTC
	) STRICT, WITHOUT ROWID`},
	Probe: "SELECT id, path, name, type, kernel_id, kernel_name, created FROM session",
}

// SQLite is the Store in the server's own database.
type SQLite struct {
	db *store.DB // immutable
}

// NewSQLite makes a Store of a database that was opened with Schema.
func NewSQLite(db *store.DB) *SQLite { return &SQLite{db: db} }

// Load implements Store.
func (s *SQLite) Load(ctx context.Context) (all []Row, err error) {
	err = s.db.Do(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT id, path, name, type, kernel_id, kernel_name, created
			FROM session ORDER BY created, id`)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var r Row
			var created int64
			if err := rows.Scan(&r.ID, &r.Path, &r.Name, &r.Type, &r.KernelID, &r.KernelName, &created); err != nil {
				return err
			}
			r.Created = time.UnixMicro(created).UTC()
			all = append(all, r)
		}
		return rows.Err()
	})
	return all, err
}

// Apply implements Store.
func (s *SQLite) Apply(ctx context.Context, c Change) error {
	return s.db.Do(ctx, func(tx *sql.Tx) error {
		for _, id := range c.Drop {
			if _, err := tx.ExecContext(ctx, "DELETE FROM session WHERE id = ?", id); err != nil {
				return err
			}
		}
		for _, r := range c.Put {
			_, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO session
				(id, path, name, type, kernel_id, kernel_name, created) VALUES (?, ?, ?, ?, ?, ?, ?)`,
				r.ID, r.Path, r.Name, r.Type, r.KernelID, r.KernelName, r.Created.UnixMicro())
			if err != nil {
				return err
			}
		}
		return nil
	})
}
