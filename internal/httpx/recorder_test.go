package httpx

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// serve runs h behind the whole chain over a real connection and gives the log once the server has stopped.
func serve(t *testing.T, h http.HandlerFunc, use func(url string)) string {
	t.Helper()
	var b bytes.Buffer
	log := slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug}))
	chain := Chain(h, AccessLog(LogConfig{Logger: log}), Recover, SecurityHeaders("/"))
	var running sync.WaitGroup
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		running.Add(1)
		defer running.Done()
		chain.ServeHTTP(w, r)
	}))
	use(srv.URL)
	srv.Close()
	running.Wait() // Close does not wait for hijacked connections
	return b.String()
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(b)
}

func TestWebSocketThroughTheChain(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) {
		up := websocket.Upgrader{}
		c, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		typ, msg, err := c.ReadMessage()
		if err == nil {
			_ = c.WriteMessage(typ, msg)
		}
	}
	log := serve(t, echo, func(url string) {
		c, resp, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(url, "http"), nil)
		require.NoError(t, err)
		require.Equal(t, 101, resp.StatusCode)
		require.NoError(t, c.WriteMessage(websocket.TextMessage, []byte("hi")))
		_, msg, err := c.ReadMessage()
		require.NoError(t, err)
		require.Equal(t, "hi", string(msg))
		require.NoError(t, c.Close())
	})
	require.Contains(t, log, "level=INFO")
	require.Contains(t, log, "status=101")
}

func TestFileGoesThroughReaderFrom(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.bin")
	content := strings.Repeat("0123456789", 100_000)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	log := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, ok := w.(io.ReaderFrom)
		require.True(t, ok)
		http.ServeFile(w, r, path)
	}, func(url string) { require.Equal(t, content, get(t, url)) })
	require.Contains(t, log, "status=200")
	require.Contains(t, log, "bytes=1000000")
}

func TestStreamingThroughTheChain(t *testing.T) {
	more := make(chan struct{})
	log := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "first")
		w.(http.Flusher).Flush()
		<-more
		require.NoError(t, http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute)), "Unwrap")
		_, _ = io.WriteString(w, "second")
	}, func(url string) {
		resp, err := http.Get(url)
		require.NoError(t, err)
		defer resp.Body.Close()
		b := make([]byte, 5)
		_, err = io.ReadFull(resp.Body, b)
		require.NoError(t, err)
		require.Equal(t, "first", string(b))
		close(more)
		rest, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, "second", string(rest))
	})
	require.Contains(t, log, "bytes=11")
}

func TestRecorderTakesTheFinalStatus(t *testing.T) {
	under := httptest.NewRecorder()
	w := &recorder{ResponseWriter: under}
	w.WriteHeader(http.StatusEarlyHints)
	require.Zero(t, w.status)
	w.WriteHeader(http.StatusTeapot)
	w.WriteHeader(http.StatusOK)
	require.Equal(t, http.StatusTeapot, w.status)
	_, _, err := w.Hijack()
	require.Error(t, err, "what is below cannot")
	require.False(t, w.hijacked)
	w.Flush()
	require.True(t, under.Flushed)
	under = httptest.NewRecorder()
	_, err = (&recorder{ResponseWriter: under}).ReadFrom(strings.NewReader("abc"))
	require.NoError(t, err)
	require.Equal(t, "abc", under.Body.String())
}

func TestBodyOfHEADIsNoLostClient(t *testing.T) {
	log := serve(t, func(w http.ResponseWriter, _ *http.Request) { _ = WriteJSON(w, 200, "x") }, func(url string) {
		resp, err := http.Head(url)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.EqualValues(t, 4, resp.ContentLength)
	})
	require.Contains(t, log, "status=200")
}
