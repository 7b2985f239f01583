package codeinterpreter

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/store"
	"github.com/nbserv/nbserv/kernel"
)

// Schema is the tables of sessions and executions, for store.Open.
var Schema = store.Schema{
	Noun: "codeinterpreter",
	Steps: []string{`
	CREATE TABLE codeinterpreter_session (
		pool       TEXT NOT NULL,
		identifier TEXT NOT NULL,
		id         TEXT NOT NULL UNIQUE,
		kernel_id  TEXT NOT NULL,
		jupyter_id TEXT NOT NULL, -- of the session that JupyterLab shows; "" before its kernel has started
		created    INTEGER NOT NULL, -- microseconds since 1970, UTC
		PRIMARY KEY (pool, identifier)
	) STRICT, WITHOUT ROWID;
	CREATE TABLE codeinterpreter_execution (
		session_id TEXT NOT NULL REFERENCES codeinterpreter_session (id) ON DELETE CASCADE,
		id         TEXT NOT NULL,
		seq        INTEGER NOT NULL, -- the order in which they came
		hash       BLOB NOT NULL,    -- of the request
		request    TEXT NOT NULL,    -- JSON
		state      TEXT NOT NULL,
		created    INTEGER NOT NULL,
		started    INTEGER NOT NULL, -- 0 before it is
		client     TEXT NOT NULL,    -- the client session it ran under
		kernel_id  TEXT NOT NULL,
		position   TEXT NOT NULL,    -- in the kernel's journal, before it began
		outcome    TEXT NOT NULL,    -- JSON, "" before the end
		PRIMARY KEY (session_id, id)
	) STRICT, WITHOUT ROWID`},
	Probe: `SELECT s.pool, s.identifier, s.id, s.kernel_id, s.jupyter_id, s.created, e.id, e.seq, e.hash, e.request, e.state, e.created, e.started,
		e.client, e.kernel_id, e.position, e.outcome
		FROM codeinterpreter_session s LEFT JOIN codeinterpreter_execution e ON e.session_id = s.id`,
}

// sessionRow is what is kept of a session.
type sessionRow struct {
	pool, identifier string
	id               string // names its folder
	kernelID         string
	jupyterID        string // of the session that JupyterLab shows
	created          time.Time
}

// executionRow is what is kept of an execution that somebody may ask for again.
type executionRow struct {
	sessionID, id string
	seq           int64
	hash          []byte
	request       request
	state         state
	created       time.Time
	run           runRow
}

// runRow says where an execution that has begun can be found.
type runRow struct {
	started  time.Time // zero before it began
	client   string
	kernelID string
	position kernel.Position
}

// table is the two tables. Safe for concurrent use.
type table struct{ db *store.DB }

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func timeOf(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

func (t table) exec(ctx context.Context, query string, args ...any) error {
	return t.db.Do(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
}

func (t table) putSession(ctx context.Context, r sessionRow) error {
	return t.exec(ctx, `INSERT INTO codeinterpreter_session (pool, identifier, id, kernel_id, jupyter_id, created) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (pool, identifier) DO UPDATE SET kernel_id = excluded.kernel_id, jupyter_id = excluded.jupyter_id`,
		r.pool, r.identifier, r.id, r.kernelID, r.jupyterID, micros(r.created))
}

// dropSession forgets a session and its executions.
func (t table) dropSession(ctx context.Context, id string) error {
	return t.exec(ctx, `DELETE FROM codeinterpreter_session WHERE id = ?`, id)
}

// addExecution writes a new execution. One of the same id is Conflict.
func (t table) addExecution(ctx context.Context, r executionRow) error {
	return t.exec(ctx, `INSERT INTO codeinterpreter_execution
		(session_id, id, seq, hash, request, state, created, started, client, kernel_id, position, outcome)
		VALUES (?, ?, ?, ?, ?, ?, ?, 0, '', '', '', '')`,
		r.sessionID, r.id, r.seq, r.hash, string(encode(r.request)), string(r.state), micros(r.created))
}

func (t table) beginExecution(ctx context.Context, sessionID, id string, run runRow) error {
	return t.exec(ctx, `UPDATE codeinterpreter_execution SET state = ?, started = ?, client = ?, kernel_id = ?, position = ?
		WHERE session_id = ? AND id = ?`,
		string(running), micros(run.started), run.client, run.kernelID, run.position.String(), sessionID, id)
}

func (t table) endExecution(ctx context.Context, sessionID, id string, o *outcome) error {
	return t.exec(ctx, `UPDATE codeinterpreter_execution SET state = ?, outcome = ? WHERE session_id = ? AND id = ?`,
		string(o.State), string(encode(o)), sessionID, id)
}

func (t table) dropExecution(ctx context.Context, sessionID, id string) error {
	return t.exec(ctx, `DELETE FROM codeinterpreter_execution WHERE session_id = ? AND id = ?`, sessionID, id)
}

// outcome reads what an execution came to.
func (t table) outcome(ctx context.Context, sessionID, id string) (*outcome, error) {
	var text string
	err := t.db.Do(ctx, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT outcome FROM codeinterpreter_execution WHERE session_id = ? AND id = ?`, sessionID, id).Scan(&text)
	})
	if err != nil {
		return nil, err
	}
	o := new(outcome)
	return o, json.Unmarshal([]byte(text), o)
}

// load gives everything but outcomes, executions in their order.
func (t table) load(ctx context.Context) (sessions []sessionRow, executions []executionRow, err error) {
	err = t.db.Do(ctx, func(tx *sql.Tx) error {
		if sessions, err = loadSessions(ctx, tx); err != nil {
			return err
		}
		executions, err = loadExecutions(ctx, tx)
		return err
	})
	return sessions, executions, err
}

func loadSessions(ctx context.Context, tx *sql.Tx) (all []sessionRow, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT pool, identifier, id, kernel_id, jupyter_id, created FROM codeinterpreter_session ORDER BY created, id`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var r sessionRow
		var created int64
		if err := rows.Scan(&r.pool, &r.identifier, &r.id, &r.kernelID, &r.jupyterID, &created); err != nil {
			return nil, err
		}
		r.created = timeOf(created)
		all = append(all, r)
	}
	return all, rows.Err()
}

func loadExecutions(ctx context.Context, tx *sql.Tx) (all []executionRow, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT session_id, id, seq, hash, request, state, created, started, client, kernel_id, position
		FROM codeinterpreter_execution ORDER BY session_id, seq`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var r executionRow
		var created, started int64
		var request, position string
		if err := rows.Scan(&r.sessionID, &r.id, &r.seq, &r.hash, &request, &r.state, &created, &started, &r.run.client,
			&r.run.kernelID, &position); err != nil {
			return nil, err
		}
		r.created, r.run.started = timeOf(created), timeOf(started)
		if r.run.position, err = kernel.ParsePosition(position); position != "" && err != nil {
			return nil, fault.Wrap(fault.Internal, err, "the position of a kept execution is not readable")
		}
		if err := json.Unmarshal([]byte(request), &r.request); err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, rows.Err()
}
