package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nbserv/nbserv/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var notes = Schema{
	Noun: "notes",
	Steps: []string{
		"CREATE TABLE note (id TEXT NOT NULL PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID",
		"ALTER TABLE note ADD COLUMN stars INTEGER NOT NULL DEFAULT 0",
	},
	Probe: "SELECT id, body, stars FROM note",
}

func put(tx *sql.Tx, id, body string) error {
	_, err := tx.Exec("INSERT INTO note (id, body) VALUES (?, ?)", id, body)
	return err
}

func mustOpen(t *testing.T, path string, schemas ...Schema) *DB {
	t.Helper()
	db, err := Open(t.Context(), path, slog.New(slog.DiscardHandler), schemas...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func count(t *testing.T, db *DB) (n int) {
	t.Helper()
	require.NoError(t, db.Do(t.Context(), func(tx *sql.Tx) error {
		return tx.QueryRow("SELECT count(*) FROM note").Scan(&n)
	}))
	return n
}

// seeded makes a database of a few pages and gives its path.
func seeded(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state.db")
	db, err := Open(t.Context(), path, slog.New(slog.DiscardHandler), notes)
	require.NoError(t, err)
	require.NoError(t, db.Do(t.Context(), func(tx *sql.Tx) error {
		for _, id := range strings.Split("abcdefghijklmnopqrstuvwxyz", "") {
			if err := put(tx, id, strings.Repeat(id, 500)); err != nil {
				return err
			}
		}
		return nil
	}))
	require.NoError(t, db.Close())
	return path
}

func TestOpenKeepsTheFilePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a?b #%41")
	path := filepath.Join(dir, "state.db")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	require.NoError(t, os.WriteFile(path, nil, 0o644))
	db := mustOpen(t, path, notes)
	require.NoError(t, db.Do(t.Context(), func(tx *sql.Tx) error { return put(tx, "a", "b") }))
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 3, "the file, its WAL and its index")
	for _, f := range files {
		st, err := f.Info()
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), st.Mode().Perm(), f.Name())
	}
}

func TestPragmasAreInForce(t *testing.T) {
	db := mustOpen(t, filepath.Join(t.TempDir(), "state.db"), notes)
	for pragma, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "5000",
	} {
		var got string
		require.NoError(t, db.sql.QueryRow("PRAGMA "+pragma).Scan(&got))
		require.Equal(t, want, got, pragma)
	}
}

func TestStepsAreAppliedOnceAndInOrder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	older := notes
	older.Steps, older.Probe = notes.Steps[:1], "SELECT id FROM note"
	db, err := Open(t.Context(), path, slog.Default(), older)
	require.NoError(t, err)
	require.NoError(t, db.Do(t.Context(), func(tx *sql.Tx) error { return put(tx, "kept", "") }))
	require.NoError(t, db.Close())

	for range 2 {
		db, err = Open(t.Context(), path, slog.Default(), notes)
		require.NoError(t, err)
		require.Equal(t, 1, count(t, db))
		require.NoError(t, db.Close())
	}

	_, err = Open(t.Context(), path, slog.Default(), older)
	require.Equal(t, fault.Conflict, fault.KindOf(err), "%v", err)
	require.Equal(t, 1, count(t, mustOpen(t, path, notes)), "a newer server's file is left alone")
}

func TestAStepThatFailsLeavesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	bad := notes
	bad.Steps = []string{notes.Steps[0], "CREATE TABLE half (x) ; CREATE TABLE half (x)"}
	_, err := Open(t.Context(), path, slog.New(slog.DiscardHandler), bad)
	require.ErrorContains(t, err, "step 2")
	db := mustOpen(t, path, notes)
	require.Error(t, db.Do(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.Exec("SELECT * FROM half")
		return err
	}))
}

func TestDoUndoesWhatFails(t *testing.T) {
	db := mustOpen(t, filepath.Join(t.TempDir(), "state.db"), notes)
	own := errors.New("own")
	require.ErrorIs(t, db.Do(t.Context(), func(tx *sql.Tx) error { return errors.Join(put(tx, "a", ""), own) }), own)
	require.Zero(t, count(t, db))

	twice := func(tx *sql.Tx) error { return errors.Join(put(tx, "a", ""), put(tx, "a", "")) }
	require.Equal(t, fault.Conflict, fault.KindOf(db.Do(t.Context(), twice)))
	require.Zero(t, count(t, db))

	_, err := db.sql.Exec("PRAGMA max_page_count = 1")
	require.NoError(t, err)
	full := func(tx *sql.Tx) error { return put(tx, "big", strings.Repeat("x", 1<<20)) }
	require.Equal(t, fault.NoSpace, fault.KindOf(db.Do(t.Context(), full)))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Equal(t, fault.Canceled, fault.KindOf(db.Do(ctx, full)))
}

func TestBackupIsWholeWhileOthersWrite(t *testing.T) {
	path := seeded(t)
	db := mustOpen(t, path, notes)
	to := filepath.Join(t.TempDir(), "copy.db")
	for range 2 { // the second replaces the first
		require.NoError(t, db.Backup(t.Context(), to))
	}
	require.NoError(t, db.Do(t.Context(), func(tx *sql.Tx) error { return put(tx, "later", "") }))
	st, err := os.Stat(to)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), st.Mode().Perm())
	require.Equal(t, 26, count(t, mustOpen(t, to, notes)))
	left, err := filepath.Glob(filepath.Join(filepath.Dir(to), ".backup-*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// logged opens path and gives the database with what was logged on the way.
func logged(t *testing.T, path string) (*DB, string) {
	t.Helper()
	var log bytes.Buffer
	db, err := Open(t.Context(), path, slog.New(slog.NewTextHandler(&log, nil)), notes)
	require.NoError(t, err)
	return db, log.String()
}

func TestDamagedDatabaseIsSetAside_P16(t *testing.T) {
	sound, err := os.ReadFile(seeded(t))
	require.NoError(t, err)
	garbage := bytes.Repeat([]byte("no database "), 10_000)
	for name, bad := range map[string][]byte{
		"garbage":       garbage,
		"short":         []byte("SQLite"),
		"header only":   sound[:100],
		"truncated":     sound[:len(sound)/2],
		"wiped header":  append(make([]byte, 100), sound[100:]...),
		"garbled pages": append(append([]byte{}, sound[:4096]...), garbage[:len(sound)-4096]...),
		"other columns": bytes.ReplaceAll(sound, []byte("body"), []byte("bodi")),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state.db")
			require.NoError(t, os.WriteFile(path, bad, 0o600))
			db, log := logged(t, path)
			require.Zero(t, count(t, db))
			require.NoError(t, db.Do(t.Context(), func(tx *sql.Tx) error { return put(tx, "new", "") }))
			require.NoError(t, db.Close())
			aside, err := filepath.Glob(path + ".damaged-*")
			require.NoError(t, err)
			require.Len(t, aside, 1)
			kept, err := os.ReadFile(aside[0])
			require.NoError(t, err)
			require.Equal(t, bad, kept, "nothing is deleted")
			require.Contains(t, log, filepath.Base(aside[0]))

			require.NoError(t, os.WriteFile(path, bad, 0o600), "and again")
			db, _ = logged(t, path)
			require.NoError(t, db.Close())
			aside, err = filepath.Glob(path + ".damaged-*")
			require.NoError(t, err)
			require.Len(t, aside, 2)
		})
	}
}

// FuzzFlippedByte_P16: whatever one byte of the file becomes, the server starts, and the rows are either
// there or set aside.
func FuzzFlippedByte_P16(f *testing.F) {
	for _, at := range []uint32{0, 16, 18, 20, 28, 44, 60, 96, 100, 103, 108, 4095, 4096, 4100, 9000, 12289, 20000} {
		f.Add(at, byte(0xff))
		f.Add(at, byte(0x01))
	}
	f.Fuzz(func(t *testing.T, at uint32, flip byte) {
		path := seeded(t)
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		b[int(at)%len(b)] ^= flip
		require.NoError(t, os.WriteFile(path, b, 0o600))
		db, _ := logged(t, path)
		defer func() { require.NoError(t, db.Close()) }()
		aside, err := filepath.Glob(path + ".damaged-*")
		require.NoError(t, err)
		require.Equal(t, len(aside) == 0, count(t, db) == 26)
	})
}
