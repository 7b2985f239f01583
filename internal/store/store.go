package store

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // registers the driver "sqlite"

	"github.com/nbserv/nbserv/internal/fault"
)

// Schema is what one package keeps in the database.
type Schema struct {
	Noun string // its name in the table of migrations; never changes
	// Steps are the SQL texts that lead from nothing to the tables of today. Each is applied once, in its
	// own transaction. A step that was released is never edited: add another.
	Steps []string
	// Probe is a query that names every column the package reads. Open reads its rows to the end, so that
	// damage which SQLite's own check does not see shows at the start and not in a request.
	Probe string
}

// DB is the open database. It is safe for concurrent use; one connection serves all, in turn, because
// SQLite has one writer and a second connection would double the idle memory.
type DB struct {
	// immutable
	sql   *sql.DB
	fresh bool
}

// Fresh tells whether the file was empty when it was opened: a new one, or in the place of a damaged one.
func (d *DB) Fresh() bool { return d.fresh }

// Open opens the database file at path, made if need be (0600, its folder 0700), and brings every schema up
// to date. A damaged file is set aside under a name of its own, with an entry in the log, and an empty
// database takes its place. A file that a newer server has written is Conflict and stays as it is.
func Open(ctx context.Context, path string, log *slog.Logger, schemas ...Schema) (*DB, error) {
	if err := prepare(path); err != nil {
		return nil, err
	}
	db, err := open(ctx, path, schemas)
	if !damaged(err) {
		return db, err
	}
	aside, moveErr := setAside(path)
	if moveErr != nil {
		return nil, errors.Join(err, moveErr)
	}
	log.Error("database damaged: set aside, an empty one takes its place", "path", aside, "err", err)
	if err := prepare(path); err != nil {
		return nil, err
	}
	return open(ctx, path, schemas)
}

// OpenBeside is Open for a second process beside the one whose database it is: a damaged file is an error, and stays
// where it is.
func OpenBeside(ctx context.Context, path string, schemas ...Schema) (*DB, error) {
	if err := prepare(path); err != nil {
		return nil, err
	}
	return open(ctx, path, schemas)
}

// prepare makes the file, because SQLite would make it readable for others. The WAL gets the file's mode.
func prepare(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fault.OS(err, "the state folder")
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fault.OS(err, "the database")
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return fault.OS(err, "the database")
	}
	if st.Mode().Perm()&^0o600 != 0 {
		if err := f.Chmod(0o600); err != nil && !errors.Is(err, fs.ErrPermission) {
			return fault.OS(err, "the database")
		}
	}
	return nil
}

func open(ctx context.Context, path string, schemas []Schema) (*DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fault.OS(err, "the database")
	}
	info, err := os.Stat(abs)
	if err != nil {
		return nil, fault.OS(err, "the database")
	}
	pool, err := sql.Open("sqlite", dsn(abs))
	if err != nil {
		return nil, translate(err)
	}
	pool.SetMaxOpenConns(1)
	db := &DB{sql: pool, fresh: info.Size() == 0}
	if err := db.bringUp(ctx, schemas); err != nil {
		return nil, errors.Join(err, pool.Close())
	}
	return db, nil
}

// dsn is the driver's address of a file: the page cache holds the few tables a server has in 512 KiB.
func dsn(path string) string {
	u := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{
		"_pragma": {
			"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)",
			"cache_size(-512)", "journal_size_limit(4194304)",
		},
		"_txlock": {"immediate"},
	}.Encode()}
	return u.String()
}

// Do runs fn in a transaction, which is durable when Do returns nil and undone when fn fails. Errors of the
// database come back as faults: NoSpace, Busy, Conflict (a constraint) or Internal; fn's own as they are.
func (d *DB) Do(ctx context.Context, fn func(*sql.Tx) error) error {
	tx, err := d.sql.BeginTx(ctx, nil)
	if err != nil {
		return translate(err)
	}
	if err := fn(tx); err != nil {
		return errors.Join(translate(err), ignoreDone(tx.Rollback()))
	}
	return translate(tx.Commit())
}

// ignoreDone drops the error of a transaction that the driver has ended itself, as it does on a full disk.
func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// Backup writes a consistent copy of the database to path (0600) while the server works on. The copy is
// there as a whole or not at all; a file of that name is replaced.
func (d *DB) Backup(ctx context.Context, path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".backup-*") // 0600; VACUUM INTO takes an empty file
	if err != nil {
		return fault.OS(err, "the backup")
	}
	defer func() { _ = os.Remove(f.Name()) }()
	defer func() { _ = f.Close() }()
	if _, err := d.sql.ExecContext(ctx, "VACUUM INTO ?", f.Name()); err != nil {
		return translate(err)
	}
	if err := f.Sync(); err != nil {
		return fault.OS(err, "the backup")
	}
	return fault.OS(os.Rename(f.Name(), path), "the backup")
}

// Close waits for running transactions and closes the file.
func (d *DB) Close() error { return translate(d.sql.Close()) }
