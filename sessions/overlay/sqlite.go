package overlay

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/nbserv/nbserv/contents/nbformat"
	"github.com/nbserv/nbserv/internal/store"
)

// Schema is the tables of overlays, for store.Open.
var Schema = store.Schema{
	Noun: "overlay",
	Steps: []string{
		`CREATE TABLE overlay_kernel (
			kernel_id TEXT NOT NULL PRIMARY KEY,
			notes     TEXT NOT NULL -- JSON
		) STRICT, WITHOUT ROWID`,
		`CREATE TABLE overlay_execution (
			kernel_id TEXT    NOT NULL,
			msg_id    TEXT    NOT NULL,
			seq       INTEGER NOT NULL, -- its number in the kernel's journal
			facts     TEXT    NOT NULL, -- JSON
			outputs   BLOB    NOT NULL, -- JSON, up to 10 MB
			PRIMARY KEY (kernel_id, msg_id)
		) STRICT`,
	},
	Probe: `SELECT k.kernel_id, k.notes, x.kernel_id, x.msg_id, x.seq, x.facts, substr(x.outputs, 1, 1)
		FROM overlay_kernel k LEFT JOIN overlay_execution x ON x.kernel_id = k.kernel_id`,
}

// SQLite keeps books in the server's own database.
type SQLite struct {
	db *store.DB // immutable
}

// NewSQLite makes one of a database that was opened with Schema.
func NewSQLite(db *store.DB) *SQLite { return &SQLite{db: db} }

// change is what is written of one book at once.
type change struct {
	kernel string
	notes  []byte // nil forgets the book
	put    []row
	drop   []string
}

// row is one execution.
type row struct {
	id      string
	seq     uint64
	facts   []byte
	outputs []byte // nil leaves what is there
}

// load gives all books, without the outputs.
func (s *SQLite) load(ctx context.Context) (books []*book, err error) {
	err = s.db.Do(ctx, func(tx *sql.Tx) error {
		byID := map[string]*book{}
		err := each(ctx, tx, "SELECT kernel_id, notes FROM overlay_kernel ORDER BY kernel_id", func(scan func(...any) error) error {
			var id, notes string
			if err := scan(&id, &notes); err != nil {
				return err
			}
			b := newBook(id)
			b.stored = true
			books, byID[id] = append(books, b), b
			return b.readNotes([]byte(notes))
		})
		if err != nil {
			return err
		}
		return each(ctx, tx, "SELECT kernel_id, msg_id, seq, facts FROM overlay_execution ORDER BY kernel_id, seq", func(scan func(...any) error) error {
			var id, facts string
			x := &execution{}
			if err := scan(&id, &x.ID, &x.Seq, &facts); err != nil {
				return err
			}
			if err := json.Unmarshal([]byte(facts), &x.facts); err != nil {
				return fmt.Errorf("facts of an execution: %w", err)
			}
			if x.Places == nil {
				x.Places = map[string]*place{}
			}
			if b := byID[id]; b != nil {
				b.add(x)
			}
			return nil
		})
	})
	return books, err
}

// each calls f for every row of a query.
func each(ctx context.Context, tx *sql.Tx, query string, f func(scan func(...any) error) error) error {
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := f(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// outputs gives an execution's outputs.
func (s *SQLite) outputs(ctx context.Context, kernel, id string) (*nbformat.Outputs, error) {
	var text []byte
	err := s.db.Do(ctx, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "SELECT outputs FROM overlay_execution WHERE kernel_id = ? AND msg_id = ?", kernel, id).Scan(&text)
	})
	if err != nil {
		return nil, err
	}
	return nbformat.ReadOutputs(text)
}

// apply writes all of c or nothing.
func (s *SQLite) apply(ctx context.Context, c change) error {
	return s.db.Do(ctx, func(tx *sql.Tx) error {
		exec := func(query string, args ...any) error {
			_, err := tx.ExecContext(ctx, query, args...)
			return err
		}
		if c.notes == nil {
			if err := exec("DELETE FROM overlay_execution WHERE kernel_id = ?", c.kernel); err != nil {
				return err
			}
			return exec("DELETE FROM overlay_kernel WHERE kernel_id = ?", c.kernel)
		}
		for _, id := range c.drop {
			if err := exec("DELETE FROM overlay_execution WHERE kernel_id = ? AND msg_id = ?", c.kernel, id); err != nil {
				return err
			}
		}
		for _, r := range c.put {
			var err error
			if r.outputs == nil {
				err = exec("UPDATE overlay_execution SET facts = ? WHERE kernel_id = ? AND msg_id = ?", string(r.facts), c.kernel, r.id)
			} else {
				err = exec(`INSERT OR REPLACE INTO overlay_execution (kernel_id, msg_id, seq, facts, outputs) VALUES (?, ?, ?, ?, ?)`,
					c.kernel, r.id, int64(r.seq), string(r.facts), r.outputs)
			}
			if err != nil {
				return err
			}
		}
		return exec("INSERT OR REPLACE INTO overlay_kernel (kernel_id, notes) VALUES (?, ?)", c.kernel, string(c.notes))
	})
}

// readNotes reads what is written down of a book.
func (b *book) readNotes(text []byte) error {
	if err := json.Unmarshal(text, &b.notes); err != nil {
		return fmt.Errorf("notes on a kernel: %w", err)
	}
	if b.Pages == nil {
		b.Pages = map[string]*page{}
	}
	return nil
}
