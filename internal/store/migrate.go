package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/nbserv/nbserv/internal/fault"
)

// bringUp checks the file and applies the steps it does not have yet.
func (d *DB) bringUp(ctx context.Context, schemas []Schema) error {
	if err := d.check(ctx); err != nil {
		return err
	}
	err := d.Do(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS migration (
			noun TEXT NOT NULL, step INTEGER NOT NULL, PRIMARY KEY (noun, step)) STRICT, WITHOUT ROWID`)
		return err
	})
	if err != nil {
		return err
	}
	for _, s := range schemas {
		if err := d.migrate(ctx, s); err != nil {
			return fmt.Errorf("tables of %s: %w", s.Noun, err)
		}
		if err := d.probe(ctx, s.Probe); err != nil {
			return fmt.Errorf("tables of %s: %w", s.Noun, err)
		}
	}
	return nil
}

// check asks SQLite to look at every page, which takes a millisecond for tables of a server's size.
func (d *DB) check(ctx context.Context) error {
	var finding string
	if err := d.sql.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&finding); err != nil {
		return translate(err)
	}
	if finding != "ok" {
		return fmt.Errorf("%w: %s", errDamaged, finding)
	}
	return nil
}

func (d *DB) migrate(ctx context.Context, s Schema) error {
	done, err := d.applied(ctx, s.Noun)
	if err != nil {
		return err
	}
	if done > len(s.Steps) {
		return fault.New(fault.Conflict, "the database was written by a newer server")
	}
	for i := done; i < len(s.Steps); i++ {
		err := d.Do(ctx, func(tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, s.Steps[i]); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, "INSERT INTO migration (noun, step) VALUES (?, ?)", s.Noun, i+1)
			return err
		})
		if err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return nil
}

// applied counts the steps of a noun. They are kept as one row each, 1, 2, …: a flipped bit cannot pass for
// a newer server's file.
func (d *DB) applied(ctx context.Context, noun string) (int, error) {
	rows, err := d.sql.QueryContext(ctx, "SELECT step FROM migration WHERE noun = ? ORDER BY step", noun)
	if err != nil {
		return 0, translate(err)
	}
	defer func() { _ = rows.Close() }()
	n := 0
	for rows.Next() {
		var step int
		if err := rows.Scan(&step); err != nil {
			return 0, translate(err)
		}
		if n++; step != n {
			return 0, fmt.Errorf("%w: step %d is recorded where %d was expected", errDamaged, step, n)
		}
	}
	return n, translate(rows.Err())
}

// probe reads the rows of query to the end.
func (d *DB) probe(ctx context.Context, query string) error {
	rows, err := d.sql.QueryContext(ctx, query)
	if err != nil {
		return translate(err)
	}
	for rows.Next() {
		continue // fetching the row is what finds damage
	}
	return translate(errors.Join(rows.Err(), rows.Close()))
}
