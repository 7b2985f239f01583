package remote_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/kernel/hosttest"
	"github.com/nbserv/nbserv/kernel/remote"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait: only a failing test waits so long.
const patience = 20 * time.Second

// socket is a path for a unix socket in a folder of its own.
func socket(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "h") // t.TempDir's paths are too long
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// serve offers h at path until the test ends, or the returned function is called.
func serve(t testing.TB, h kernel.Host, path string) (end func()) {
	t.Helper()
	s := remote.NewServer(remote.ServerOptions{
		Open:   func(context.Context, json.RawMessage) (kernel.Host, []string, error) { return h, nil, nil },
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	ln, err := remote.Listen(path, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	ended := false
	end = func() {
		if !ended {
			ended = true
			s.Close()
			require.NoError(t, <-done)
		}
	}
	t.Cleanup(end)
	return end
}

func dial(t testing.TB, path string) *remote.Host {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	h, err := remote.Dial(ctx, remote.Options{Socket: func() string { return path }, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	require.NoError(t, err)
	t.Cleanup(h.Close)
	return h
}

func TestRemoteHostIsAHost(t *testing.T) {
	hosttest.Run(t, func(t *testing.T, m *kernel.Manager) kernel.Host {
		path := socket(t)
		serve(t, m, path)
		return dial(t, path)
	})
}
