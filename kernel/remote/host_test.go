package remote_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/kernel/hosttest"
	"github.com/nbserv/nbserv/kernel/remote"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait: only a failing test waits so long.
const patience = 60 * time.Second

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

// page attaches a client.
func page(t testing.TB, h kernel.Host, id, session string) kernel.Client {
	t.Helper()
	c, err := h.Attach(id, kernel.AttachOptions{ClientSession: session})
	require.NoError(t, err)
	t.Cleanup(c.Detach)
	return c
}

// execute sends code.
func execute(t testing.TB, c kernel.Client, session, code string) (id string) {
	t.Helper()
	id = uuid.NewString()
	header, err := json.Marshal(map[string]string{"msg_id": id, "msg_type": "execute_request", "session": session})
	require.NoError(t, err)
	content, err := json.Marshal(map[string]any{"code": code})
	require.NoError(t, err)
	m, err := kernel.NewMessage(kernel.Shell, [4]json.RawMessage{header, json.RawMessage("{}"), json.RawMessage("{}"), content}, nil)
	require.NoError(t, err)
	require.NoError(t, c.Send(m))
	return id
}

// numbers reads the numbers of the numbered messages up to an execution's idle status; every message must be new.
func numbers(t testing.TB, c kernel.Client, id string) (list []int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var last uint64
	for idle := false; !idle; {
		var buf [16]kernel.Entry
		n, err := c.Next(ctx, buf[:])
		require.NoError(t, err)
		for _, e := range buf[:n] {
			require.Nil(t, e.Gap)
			require.Greater(t, e.Seq, last)
			last = e.Seq
			var meta struct {
				Seq *int `json:"seq"`
			}
			require.NoError(t, json.Unmarshal(e.Message.Parts[kernel.PartMetadata], &meta))
			if meta.Seq != nil {
				list = append(list, *meta.Seq)
			}
			idle = idle || e.Message.Parent.MsgID == id && e.Message.Header.MsgType == "status" &&
				strings.Contains(string(e.Message.Parts[kernel.PartContent]), "idle")
		}
	}
	return list
}

func upTo(n int) (list []int) {
	for i := range n {
		list = append(list, i)
	}
	return list
}

// Its kernel host's end is a pause for a client: what was sent meanwhile arrives, and everything comes once, in order.
func TestClientsGoOnWithTheNextKernelHost_P3_P4(t *testing.T) {
	m := hosttest.NewManager(t, kernel.Config{})
	path := socket(t)
	end := serve(t, m, path)
	h := dial(t, path)
	st, err := h.Start(t.Context(), kernel.StartOptions{})
	require.NoError(t, err)
	require.NoError(t, h.Ready(t.Context(), st.ID))
	reader, idler := page(t, h, st.ID, "reader"), page(t, h, st.ID, "idler")
	id := execute(t, reader, "reader", "flood 4000 2000")
	var early [8]kernel.Entry
	n, err := reader.Next(t.Context(), early[:]) // in the middle of something
	require.NoError(t, err)
	require.Positive(t, n)

	end()
	require.Eventually(t, func() bool { _, up := h.Peer(); return !up }, patience, time.Millisecond)
	_, err = h.Get(st.ID)
	require.Equal(t, fault.Busy, fault.KindOf(err), "never that there is no such kernel")
	_, err = h.Get("unknown")
	require.Equal(t, fault.Busy, fault.KindOf(err))
	require.Equal(t, fault.Busy, fault.KindOf(h.Interrupt(t.Context(), st.ID)))
	_, err = h.Attach(st.ID, kernel.AttachOptions{})
	require.Equal(t, fault.Busy, fault.KindOf(err))
	_, err = h.Start(t.Context(), kernel.StartOptions{})
	require.Equal(t, fault.Busy, fault.KindOf(err))
	require.Equal(t, st.ID, h.List()[0].ID, "what was last known")
	held := execute(t, idler, "idler", "echo while it was away")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	for err == nil || fault.KindOf(err) != fault.Canceled {
		_, err = idler.Next(ctx, early[:])
	}

	serve(t, m, path)
	seen := numbers(t, reader, id)
	require.Equal(t, upTo(4000)[4000-len(seen):], seen)
	require.GreaterOrEqual(t, len(seen), 4000-n)
	numbers(t, idler, held)
	_, err = h.Get(st.ID)
	require.NoError(t, err)
	reader.Detach()
	idler.Detach()
	require.NoError(t, h.Shutdown(t.Context(), st.ID))
}

// What a server had read and not passed on when it died is given to the client's next server.
func TestWhatAServerTookWithItIsGivenAgain_P4(t *testing.T) {
	m := hosttest.NewManager(t, kernel.Config{})
	path := socket(t)
	serve(t, m, path)
	first := dial(t, path)
	st, err := first.Start(t.Context(), kernel.StartOptions{})
	require.NoError(t, err)
	require.NoError(t, first.Ready(t.Context(), st.ID))
	c := page(t, first, st.ID, "page")
	id := execute(t, c, "page", "flood 300 100")
	var got [100]kernel.Entry
	var last uint64
	for range 3 { // the last batch of which is on its way to the browser
		n, err := c.Next(t.Context(), got[:])
		require.NoError(t, err)
		last = got[0].Seq
		require.NotZero(t, n)
	}
	first.Close() // as when its process ends

	second := dial(t, path)
	c = page(t, second, st.ID, "page")
	require.LessOrEqual(t, c.Position().Seq, last-1, "its last words, of what it had passed on, may not have arrived either")
	seen := numbers(t, c, id)
	require.Equal(t, upTo(300)[300-len(seen):], seen)
	c.Detach()
	require.NoError(t, second.Shutdown(t.Context(), st.ID))
}

func TestAnotherProtocolIsSaidSo(t *testing.T) {
	path := socket(t)
	ln, err := remote.Listen(path, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"protocols":[98,99],"version":"7.0","instance":"x","pid":4711}`))
	})}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	defer func() { require.NoError(t, s.Close()); <-done }()
	_, err = remote.Dial(t.Context(), remote.Options{Socket: func() string { return path }})
	require.ErrorContains(t, err, "process 4711, nbserv 7.0")
	require.ErrorContains(t, err, "[98 99]")
}

func TestNoKernelHostIsSaidSo(t *testing.T) {
	path := socket(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := remote.Dial(ctx, remote.Options{Socket: func() string { return path }})
	require.ErrorContains(t, err, path)
	_, err = remote.Dial(t.Context(), remote.Options{
		Socket: func() string { return path }, Start: func(context.Context) error { return errors.New("no such program") },
	})
	require.ErrorContains(t, err, "no such program")
}

// A state folder may be so deep that no socket could be in it: a kernel host is started all the same.
func TestAtAPathTooLongForASocketOneIsStarted(t *testing.T) {
	started := errors.New("started")
	socket := filepath.Join(t.TempDir(), strings.Repeat("deep/", 30), "socket")
	_, err := remote.Dial(t.Context(), remote.Options{
		Socket: func() string { return socket }, Start: func(context.Context) error { return started },
	})
	require.ErrorIs(t, err, started)
}

func TestASocketIsItsUsersAlone(t *testing.T) {
	path := socket(t)
	require.NoError(t, os.Chmod(filepath.Dir(path), 0o755))
	_, err := remote.Listen(path, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "open to others")
	require.NoError(t, os.Chmod(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, nil, 0o600), "what a process left that was killed")
	ln, err := remote.Listen(path, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer ln.Close()
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

// A server that does not read is sent a window's worth and no more, however much the kernel says.
func TestWhatAServerDoesNotTakeStaysInTheJournal_P9(t *testing.T) {
	m := hosttest.NewManager(t, kernel.Config{})
	path := socket(t)
	serve(t, m, path)
	h := dial(t, path)
	st, err := h.Start(t.Context(), kernel.StartOptions{})
	require.NoError(t, err)
	require.NoError(t, h.Ready(t.Context(), st.ID))

	conn, err := net.Dial("unix", path)
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "GET /v1/client?id=%s&options=%s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: nbserv-kernels\r\n\r\n",
		st.ID, url.QueryEscape(`{"ClientSession":"stuck"}`))
	require.NoError(t, err)
	for range m.Execute(t.Context(), st.ID, kernel.ExecuteRequest{Code: "flood 10000 2000"}) { // 20 MB
	}
	taken := 0
	buf := make([]byte, 64<<10)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		n, err := conn.Read(buf)
		taken += n
		if err != nil {
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			break
		}
	}
	require.Greater(t, taken, 1<<20)
	require.Less(t, taken, 2<<20)
	require.NoError(t, h.Shutdown(t.Context(), st.ID))
}

func TestStopEndsKernelsAndConnection(t *testing.T) {
	m := hosttest.NewManager(t, kernel.Config{})
	path := socket(t)
	var timeout time.Duration
	s := remote.NewServer(remote.ServerOptions{
		Open: func(_ context.Context, config json.RawMessage) (kernel.Host, []string, error) {
			return m, []string{"got " + string(config)}, nil
		},
		Stop:    func(d time.Duration) error { timeout = d; return m.Close(context.Background()) },
		Version: "1.2",
	})
	ln, err := remote.Listen(path, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	var log bytes.Buffer
	h, err := remote.Dial(t.Context(), remote.Options{
		Socket: func() string { return path }, Config: map[string]int{"a": 1}, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	require.NoError(t, err)
	require.Contains(t, log.String(), `{\"a\":1}`)
	peer, up := h.Peer()
	require.True(t, up)
	require.Equal(t, "1.2", peer.Version)
	require.Equal(t, os.Getpid(), peer.PID)
	_, err = h.Start(t.Context(), kernel.StartOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return s.Servers() == 1 }, patience, time.Millisecond)
	require.NoError(t, h.Stop(t.Context(), time.Minute))
	require.Equal(t, time.Minute, timeout)
	<-s.Stopped()
	require.Empty(t, m.List())
	s.Close()
	require.NoError(t, <-done)
	h.Close()
}
