package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
)

func TestSocketPathIsShortAndPrivate(t *testing.T) {
	env := func(dir string) environment { return environment{vars: map[string]string{"XDG_RUNTIME_DIR": dir}} }
	tmp, err := os.MkdirTemp("", "p")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(tmp) })
	t.Setenv("TMPDIR", tmp)

	runtime := filepath.Join(tmp, "run")
	require.NoError(t, os.Mkdir(runtime, 0o700))
	path, err := socketPath(env(runtime), "/state")
	require.NoError(t, err)
	require.Equal(t, runtime, filepath.Dir(filepath.Dir(path)))
	info, err := os.Stat(filepath.Dir(path))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	again, err := socketPath(env(runtime), "/state")
	require.NoError(t, err)
	require.Equal(t, path, again)
	other, err := socketPath(env(runtime), "/other")
	require.NoError(t, err)
	require.NotEqual(t, path, other, "each state folder has its own")

	require.NoError(t, os.Chmod(filepath.Dir(path), 0o755)) // others could look in
	path, err = socketPath(env(runtime), "/state")
	require.NoError(t, err)
	require.Equal(t, tmp, filepath.Dir(filepath.Dir(path)), "the next choice")
	path, err = socketPath(env(filepath.Join(tmp, strings.Repeat("long", 30))), strings.Repeat("/state", 100))
	require.NoError(t, err)
	require.LessOrEqual(t, len(path), maxSocket)
}

func TestLogFileIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "host.log")
	require.NoError(t, os.WriteFile(path, []byte("of the one before\n"), 0o600))
	l, err := openLog(path)
	require.NoError(t, err)
	defer l.Close()
	crash, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(t, err)
	defer crash.Close()
	line := strings.Repeat("x", 999) + "\n"
	for range 3500 {
		_, err := io.WriteString(l, line)
		require.NoError(t, err)
	}
	_, err = io.WriteString(crash, "panic: the Go runtime's own words\n")
	require.NoError(t, err)
	now, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Less(t, len(now), maxLogBytes+100)
	require.True(t, bytes.HasSuffix(now, []byte("own words\n")))
	old, err := os.ReadFile(path + ".1")
	require.NoError(t, err)
	require.Greater(t, len(old)+len(now), maxLogBytes, "as much again is kept")
	require.LessOrEqual(t, len(old), maxLogBytes+1000)
}

func TestInheritance(t *testing.T) {
	none, err := inherit(environment{vars: map[string]string{}})
	require.NoError(t, err)
	require.Nil(t, none)
	ln, err := none.listener(mainListener)
	require.NoError(t, err)
	require.Nil(t, ln)
	require.Nil(t, none.stateDir())
	_, err = inherit(environment{vars: map[string]string{inheritVar: "three"}})
	require.ErrorContains(t, err, "no descriptor")

	first, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	f, err := first.(*net.TCPListener).File()
	require.NoError(t, err)
	fd, err := syscall.Dup(number(f)) // it is closed by who inherits it
	require.NoError(t, err)
	require.NoError(t, f.Close())
	r, w, err := os.Pipe()
	require.NoError(t, err)
	lock, err := syscall.Dup(number(w))
	require.NoError(t, err)
	require.NoError(t, json.NewEncoder(w).Encode(inheritance{Listeners: map[string]int{mainListener: fd}, State: "/s", Lock: lock, Restarts: 3}))
	require.NoError(t, w.Close())
	pipe, err := syscall.Dup(number(r))
	require.NoError(t, err)
	require.NoError(t, r.Close())
	got, err := inherit(environment{vars: map[string]string{inheritVar: fmt.Sprint(pipe)}})
	require.NoError(t, err)
	require.Equal(t, 3, got.Restarts)
	s := got.stateDir()
	require.Equal(t, "/s", s.path)
	require.NoError(t, s.lock.Close())
	require.NoError(t, first.Close())
	second, err := got.listener(mainListener)
	require.NoError(t, err)
	defer second.Close()
	require.Equal(t, first.Addr().String(), second.Addr().String())
	conn, err := net.Dial("tcp", second.Addr().String())
	require.NoError(t, err, "it never ceased to listen")
	conn.Close()
	missing, err := got.listener("ImageStore")
	require.NoError(t, err)
	require.Nil(t, missing)
}

func TestRestartFindsItsServer(t *testing.T) {
	home := t.TempDir()
	c := &Config{RootDir: "/notebooks", env: environment{vars: map[string]string{"XDG_STATE_HOME": home}}}
	_, err := runningStateDir(c)
	require.ErrorContains(t, err, "no server runs for the folder /notebooks")
	one, err := openStateDir("", home, c.RootDir)
	require.NoError(t, err)
	defer one.Close()
	dir, err := runningStateDir(c)
	require.NoError(t, err)
	require.Equal(t, one.path, dir)
	two, err := openStateDir("", home, c.RootDir)
	require.NoError(t, err)
	_, err = runningStateDir(c)
	require.ErrorContains(t, err, "2 servers run for the folder /notebooks")
	require.ErrorContains(t, err, two.path)
	c.StateDir = two.path
	dir, err = runningStateDir(c)
	require.NoError(t, err)
	require.Equal(t, two.path, dir)
	require.ErrorContains(t, restartServer(dir, io.Discard), "has not said yet")
	require.NoError(t, two.Close())
	_, err = runningStateDir(c)
	require.ErrorContains(t, err, "no server runs with the state folder")
}

// A state folder's note is of the server that has the folder: a process id in it is nobody else's.
func TestServerNoteIsOfItsOwner(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, writeNote(filepath.Join(dir, serverNoteFile), serverNote{PID: 4711}))
	s, err := openStateDir(dir, "", "")
	require.NoError(t, err)
	require.NoFileExists(t, filepath.Join(dir, serverNoteFile))
	require.NoError(t, writeNote(filepath.Join(dir, serverNoteFile), serverNote{PID: os.Getpid(), Version: "1"}))
	n, err := readServerNote(dir)
	require.NoError(t, err)
	require.Equal(t, os.Getpid(), n.PID)
	require.NoError(t, s.Close())
	require.NoFileExists(t, filepath.Join(dir, serverNoteFile))
}

func TestChangedSettingsAreSaid(t *testing.T) {
	h := newKernelHost(t.TempDir(), slog.New(slog.DiscardHandler))
	t.Cleanup(func() { h.server.Close(); require.NoError(t, h.leave()) })
	open := func(k kernelSettings) []string {
		raw, err := json.Marshal(k)
		require.NoError(t, err)
		got, notes, err := h.open(t.Context(), raw)
		require.NoError(t, err)
		require.NotNil(t, got)
		return notes
	}
	k := kernelSettings{Kernels: kernel.Config{CullIdleTimeout: time.Hour}}
	require.Empty(t, open(k))
	require.Empty(t, open(k))
	k.Environ, k.Kernels.CullIdleTimeout, k.Kernels.MaxKernels = []string{"A=1"}, time.Minute, 5
	require.Empty(t, open(k), "these are in force at once")
	k.Kernels.JournalsBytes = 1 << 30
	require.Len(t, open(k), 1)
	k.Kernels.ShutdownWait = time.Second
	require.Empty(t, open(k), "there is no kernel that keeps the old one")
	_, _, err := h.open(t.Context(), []byte("{"))
	require.Error(t, err)
	require.NoError(t, h.stop(time.Second))
	require.False(t, h.needed())
}

func TestHostAndRestartSayWhatIsWrong(t *testing.T) {
	env, root := environment{vars: map[string]string{"HOME": t.TempDir()}}, t.TempDir()
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"host"}, exitUsage, "--state-dir"},
		{[]string{"host", "--linger=soon"}, exitUsage, "soon"},
		{[]string{"host", "--state-dir=" + t.TempDir(), "--log-level=loud"}, exitFailed, "--log-level"},
		{[]string{"restart", "--root-dir=" + root}, exitFailed, "no server runs for the folder " + root},
		{[]string{"--kernel-host=elsewhere"}, exitUsage, "--kernel-host"},
	} {
		var out, errs bytes.Buffer
		require.Equal(t, test.code, run(test.args, env, &out, &errs), "%v: %s", test.args, &errs)
		require.Contains(t, errs.String(), test.want)
	}
}

// A kernel host that is told to end by a signal ends its kernels, and one that nobody needs ends itself.
func TestKernelHostStays(t *testing.T) {
	h := newKernelHost(t.TempDir(), slog.New(slog.DiscardHandler))
	signals := make(chan os.Signal, 1)
	signals <- syscall.SIGTERM
	require.Equal(t, "terminated", h.stay(signals, -1))
	require.Equal(t, "neither a kernel nor a server", h.stay(signals, time.Millisecond))
	h.server.Close()
	require.NoError(t, h.leave())
	require.ErrorIs(t, h.running.Err(), context.Canceled)
}
