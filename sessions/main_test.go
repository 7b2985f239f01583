package sessions_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/store"
	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/sessions"
	"github.com/nbserv/nbserv/sessions/storetest"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childDatabase); path != "" {
		serveUntilKilled(path)
	}
	goleak.VerifyTestMain(m)
}

func TestSQLiteStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) (sessions.Store, func() sessions.Store) {
		path := filepath.Join(t.TempDir(), "state.db")
		return sqlite(t, path), func() sessions.Store { return sqlite(t, path) }
	})
}

// sqlite opens a database beside those that may have it open already: nothing is flushed or closed first.
func sqlite(t testing.TB, path string) sessions.Store {
	t.Helper()
	db, err := store.Open(t.Context(), path, slog.New(slog.DiscardHandler), sessions.Schema)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return sessions.NewSQLite(db)
}

// memory is a Store for tests that are about something else; fail makes its writes fail.
type memory struct {
	sessions.Store
	rows []sessions.Row // what Load gives
	fail error
}

func (s *memory) Load(context.Context) ([]sessions.Row, error)     { return s.rows, nil }
func (s *memory) Apply(_ context.Context, _ sessions.Change) error { return s.fail }

var errDisk = fault.Wrap(fault.NoSpace, errors.New("disk"), "no space")

// manager makes a Manager that keeps nothing.
func manager(t testing.TB, host kernel.Host) *sessions.Manager {
	t.Helper()
	m, err := sessions.New(t.Context(), sessions.Config{}, host, &memory{})
	require.NoError(t, err)
	return m
}

func notebook(path string) sessions.CreateRequest {
	return sessions.CreateRequest{Path: path, Name: filepath.Base(path), Type: "notebook"}
}

func create(t testing.TB, m *sessions.Manager, req sessions.CreateRequest) sessions.Session {
	t.Helper()
	s, err := m.Create(t.Context(), req)
	require.NoError(t, err)
	return s
}

func patch(t testing.TB, m *sessions.Manager, id string, p sessions.Patch) sessions.Session {
	t.Helper()
	s, err := m.Update(t.Context(), id, p)
	require.NoError(t, err)
	return s
}

func kind(err error) fault.Kind {
	if err == nil {
		return 255
	}
	return fault.KindOf(err)
}

func ids(all []sessions.Session) (ids []string) {
	for _, s := range all {
		ids = append(ids, s.ID)
	}
	return ids
}

// patience is how long a test waits for what another goroutine does, and tick how often it looks.
const (
	patience = 60 * time.Second
	tick     = time.Millisecond
)

func ptr(s string) *string { return &s }
