package rserver

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/store"
)

// Schema is what the adapter keeps in the database, for store.Open. Times are microseconds since 1970.
var Schema = store.Schema{
	Noun: "rserver",
	Steps: []string{`
		CREATE TABLE rserver_session (
			id        TEXT NOT NULL PRIMARY KEY,
			owner     TEXT NOT NULL,
			name      TEXT NOT NULL,
			runtime   TEXT NOT NULL,
			kernel_id TEXT NOT NULL,
			folder    TEXT NOT NULL,
			created   INTEGER NOT NULL,
			gone      TEXT NOT NULL -- why its kernel ended; empty while it lives
		) STRICT, WITHOUT ROWID;
		CREATE TABLE rserver_history (
			session TEXT NOT NULL REFERENCES rserver_session (id) ON DELETE CASCADE,
			seq     INTEGER NOT NULL,
			code    TEXT NOT NULL,
			PRIMARY KEY (session, seq)
		) STRICT, WITHOUT ROWID;
		CREATE TABLE rserver_snapshot (
			id       TEXT NOT NULL PRIMARY KEY,
			owner    TEXT NOT NULL,
			name     TEXT NOT NULL,
			runtime  TEXT NOT NULL,
			packages TEXT NOT NULL, -- JSON: those that were attached
			size     INTEGER NOT NULL,
			created  INTEGER NOT NULL
		) STRICT, WITHOUT ROWID;
		CREATE TABLE rserver_service (
			name     TEXT NOT NULL,
			version  TEXT NOT NULL,
			owner    TEXT NOT NULL,
			file     TEXT NOT NULL, -- of its own copy of the snapshot; empty without one
			packages TEXT NOT NULL,
			unlisted INTEGER NOT NULL, -- its version was made up: for its author's eyes
			body     TEXT NOT NULL, -- JSON: what was published
			created  INTEGER NOT NULL,
			initial  INTEGER NOT NULL, -- of its pool; -1 where nobody has said
			max      INTEGER NOT NULL,
			PRIMARY KEY (name, version)
		) STRICT, WITHOUT ROWID;
		CREATE TABLE rserver_batch (
			id       TEXT NOT NULL PRIMARY KEY,
			owner    TEXT NOT NULL,
			name     TEXT NOT NULL,
			version  TEXT NOT NULL,
			total    INTEGER NOT NULL,
			parallel INTEGER NOT NULL,
			created  INTEGER NOT NULL,
			FOREIGN KEY (name, version) REFERENCES rserver_service (name, version) ON DELETE CASCADE
		) STRICT, WITHOUT ROWID;`},
	Probe: `SELECT s.id, s.owner, s.name, s.runtime, s.kernel_id, s.folder, s.created, s.gone, h.session, h.seq, h.code,
		p.id, p.owner, p.name, p.runtime, p.packages, p.size, p.created,
		v.name, v.version, v.owner, v.file, v.packages, v.unlisted, v.body, v.created, v.initial, v.max,
		b.id, b.owner, b.name, b.version, b.total, b.parallel, b.created
		FROM rserver_session s FULL JOIN rserver_history h ON 0 FULL JOIN rserver_snapshot p ON 0
		FULL JOIN rserver_service v ON 0 FULL JOIN rserver_batch b ON 0`,
}

type sessionRow struct {
	id, owner, name, runtime, kernelID, folder, gone string
	created                                          time.Time
}

type snapshotRow struct {
	id, owner, name, runtime string
	packages                 []string
	size                     int64
	created                  time.Time
}

type serviceRow struct {
	name, version, owner string
	file                 string
	packages             []string
	unlisted             bool
	body                 serviceBody
	created              time.Time
	pool                 poolSize
}

type batchRow struct {
	id, owner, name, version string
	total, parallel          int
	created                  time.Time
}

// rows is the adapter's part of the database.
type rows struct{ db *store.DB }

func (r rows) exec(ctx context.Context, statement string, args ...any) error {
	return r.db.Do(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, statement, args...)
		return err
	})
}

// query calls scan for each row.
func (r rows) query(ctx context.Context, scan func(*sql.Rows) error, statement string, args ...any) error {
	return r.db.Do(ctx, func(tx *sql.Tx) error {
		found, err := tx.QueryContext(ctx, statement, args...)
		if err != nil {
			return err
		}
		defer func() { _ = found.Close() }()
		for found.Next() {
			if err := scan(found); err != nil {
				return err
			}
		}
		return found.Err()
	})
}

// jsonText writes what cannot fail to be JSON.
func jsonText(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

func readText(text string, v any) error {
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return fault.Wrap(fault.Internal, err, "read the database")
	}
	return nil
}

func (r rows) addSession(ctx context.Context, s sessionRow) error {
	return r.exec(ctx, `INSERT INTO rserver_session (id, owner, name, runtime, kernel_id, folder, created, gone)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, s.id, s.owner, s.name, s.runtime, s.kernelID, s.folder, s.created.UnixMicro(), s.gone)
}

func (r rows) sessions(ctx context.Context) (all []sessionRow, err error) {
	err = r.query(ctx, func(rows *sql.Rows) error {
		var s sessionRow
		var created int64
		err := rows.Scan(&s.id, &s.owner, &s.name, &s.runtime, &s.kernelID, &s.folder, &created, &s.gone)
		s.created = time.UnixMicro(created).UTC()
		all = append(all, s)
		return err
	}, "SELECT id, owner, name, runtime, kernel_id, folder, created, gone FROM rserver_session ORDER BY created, id")
	return all, err
}

func (r rows) endSession(ctx context.Context, id, why string) error {
	return r.exec(ctx, "UPDATE rserver_session SET gone = ? WHERE id = ?", why, id)
}

func (r rows) dropSession(ctx context.Context, id string) error {
	return r.exec(ctx, "DELETE FROM rserver_session WHERE id = ?", id)
}

// addHistory keeps the newest maxHistory entries.
func (r rows) addHistory(ctx context.Context, session string, code []string) error {
	return r.db.Do(ctx, func(tx *sql.Tx) error {
		for _, c := range code {
			_, err := tx.ExecContext(ctx, `INSERT INTO rserver_history (session, seq, code)
				SELECT id, 1 + COALESCE((SELECT MAX(seq) FROM rserver_history WHERE session = id), 0), ?2 FROM rserver_session WHERE id = ?1`, session, c)
			if err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM rserver_history WHERE session = ?1
			AND seq <= (SELECT MAX(seq) FROM rserver_history WHERE session = ?1) - ?2`, session, maxHistory)
		return err
	})
}

func (r rows) history(ctx context.Context, session string) ([]string, error) {
	all := []string{}
	err := r.query(ctx, func(rows *sql.Rows) error {
		var code string
		err := rows.Scan(&code)
		all = append(all, code)
		return err
	}, "SELECT code FROM rserver_history WHERE session = ? ORDER BY seq", session)
	return all, err
}

func (r rows) addSnapshot(ctx context.Context, s snapshotRow) error {
	return r.exec(ctx, "INSERT INTO rserver_snapshot (id, owner, name, runtime, packages, size, created) VALUES (?, ?, ?, ?, ?, ?, ?)",
		s.id, s.owner, s.name, s.runtime, jsonText(s.packages), s.size, s.created.UnixMicro())
}

func (r rows) snapshots(ctx context.Context, where string, args ...any) (all []snapshotRow, err error) {
	err = r.query(ctx, func(rows *sql.Rows) error {
		var s snapshotRow
		var packages string
		var created int64
		if err := rows.Scan(&s.id, &s.owner, &s.name, &s.runtime, &packages, &s.size, &created); err != nil {
			return err
		}
		s.created = time.UnixMicro(created).UTC()
		all = append(all, s)
		return readText(packages, &all[len(all)-1].packages)
	}, "SELECT id, owner, name, runtime, packages, size, created FROM rserver_snapshot WHERE "+where+" ORDER BY created, id", args...)
	return all, err
}

func (r rows) dropSnapshot(ctx context.Context, id string) error {
	return r.exec(ctx, "DELETE FROM rserver_snapshot WHERE id = ?", id)
}

func (r rows) addService(ctx context.Context, s serviceRow) error {
	return r.exec(ctx, `INSERT INTO rserver_service (name, version, owner, file, packages, unlisted, body, created, initial, max)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, s.name, s.version, s.owner, s.file, jsonText(s.packages), s.unlisted, jsonText(s.body),
		s.created.UnixMicro(), s.pool.initial, s.pool.max)
}

func (r rows) changeService(ctx context.Context, s serviceRow) error {
	return r.exec(ctx, "UPDATE rserver_service SET file = ?, packages = ?, body = ?, initial = ?, max = ? WHERE name = ? AND version = ?",
		s.file, jsonText(s.packages), jsonText(s.body), s.pool.initial, s.pool.max, s.name, s.version)
}

func (r rows) dropService(ctx context.Context, name, version string) error {
	return r.exec(ctx, "DELETE FROM rserver_service WHERE name = ? AND version = ?", name, version)
}

func (r rows) services(ctx context.Context) (all []serviceRow, err error) {
	err = r.query(ctx, func(rows *sql.Rows) error {
		var s serviceRow
		var packages, body string
		var created int64
		err := rows.Scan(&s.name, &s.version, &s.owner, &s.file, &packages, &s.unlisted, &body, &created, &s.pool.initial, &s.pool.max)
		if err != nil {
			return err
		}
		s.created = time.UnixMicro(created).UTC()
		if err := readText(packages, &s.packages); err != nil {
			return err
		}
		if err := readText(body, &s.body); err != nil {
			return err
		}
		all = append(all, s)
		return nil
	}, "SELECT name, version, owner, file, packages, unlisted, body, created, initial, max FROM rserver_service ORDER BY created, name, version")
	return all, err
}

func (r rows) addBatch(ctx context.Context, b batchRow) error {
	return r.exec(ctx, "INSERT INTO rserver_batch (id, owner, name, version, total, parallel, created) VALUES (?, ?, ?, ?, ?, ?, ?)",
		b.id, b.owner, b.name, b.version, b.total, b.parallel, b.created.UnixMicro())
}

func (r rows) batches(ctx context.Context) (all []batchRow, err error) {
	err = r.query(ctx, func(rows *sql.Rows) error {
		var b batchRow
		var created int64
		err := rows.Scan(&b.id, &b.owner, &b.name, &b.version, &b.total, &b.parallel, &created)
		b.created = time.UnixMicro(created).UTC()
		all = append(all, b)
		return err
	}, "SELECT id, owner, name, version, total, parallel, created FROM rserver_batch ORDER BY created, id")
	return all, err
}

func (r rows) dropBatch(ctx context.Context, id string) error {
	return r.exec(ctx, "DELETE FROM rserver_batch WHERE id = ?", id)
}

// ping tells whether the database answers.
func (r rows) ping(ctx context.Context) error {
	return r.query(ctx, func(*sql.Rows) error { return nil }, "SELECT 1")
}
