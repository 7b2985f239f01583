package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/httpx"
)

// impatient limits make the tests of slow clients short.
func impatient() limits {
	return limits{readHeader: 200 * time.Millisecond, idle: 200 * time.Millisecond, grace: 200 * time.Millisecond, minRate: 1 << 30}
}

func pacedServer(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(cutSlow(impatient(), h))
	s.Config.ReadHeaderTimeout = impatient().readHeader
	s.Config.IdleTimeout = impatient().idle
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// send opens a connection, writes text and gives the connection.
func send(t *testing.T, s *httptest.Server, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
	_, err = io.WriteString(c, text)
	require.NoError(t, err)
	return c
}

var readAll = httpx.Handler(func(w http.ResponseWriter, r *http.Request) error {
	body, err := httpx.ReadBody(w, r, 64<<20)
	if err != nil {
		return err
	}
	_, _ = w.Write(body)
	return nil
})

// S10: connections that stand still are cut: in their headers, in a body, and idle.
func TestStalledConnectionsAreCut_S10(t *testing.T) {
	s := pacedServer(t, readAll)
	for name, text := range map[string]string{
		"nothing":         "",
		"in the header":   "GET / HTTP/1.1\r\nHost: x\r\nX-",
		"in the body":     "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc",
		"in a chunk":      "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
		"after an answer": "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := io.Copy(io.Discard, send(t, s, text)) // ends when the server closes, fails at the deadline
			require.NoError(t, err)
		})
	}
}

// S10: also a body that comes, but a byte at a time for ever.
func TestDripIsCut_S10(t *testing.T) {
	s := pacedServer(t, readAll)
	c := send(t, s, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if _, err := c.Write([]byte("x")); err != nil {
			return // cut
		}
	}
}

// S10: a client that asks for much and takes nothing.
func TestAnswerNotTakenIsCut_S10(t *testing.T) {
	done := make(chan error, 1)
	s := pacedServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, err := w.Write(make([]byte, 64<<20))
		done <- err
	}))
	send(t, s, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	select {
	case err := <-done:
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	case <-time.After(time.Minute):
		t.Fatal("the handler still writes")
	}
}

// A request may take its time between its body and its answer, and the connection goes on to the next one.
func TestWorkIsNoDelay(t *testing.T) {
	s := pacedServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-time.After(2 * impatient().grace):
		}
		_, _ = w.Write(body)
	}))
	c := send(t, s, "")
	in := bufio.NewReader(c)
	for range 2 {
		_, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
		require.NoError(t, err)
		resp, err := http.ReadResponse(in, nil)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, "hi", string(body))
	}
}

// Large bodies pass whole in both directions, also as files and as parts of files.
func TestLargeBodiesPass(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789abcdef"), 5<<16)
	file := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(file, want, 0o600))
	mux := http.NewServeMux()
	mux.Handle("POST /echo", readAll)
	mux.HandleFunc("GET /file", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) })
	s := pacedServer(t, mux)

	resp, err := http.Post(s.URL+"/echo", "text/plain", bytes.NewReader(want))
	require.NoError(t, err)
	got, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.True(t, bytes.Equal(want, got))

	for rng, part := range map[string][]byte{"": want, "bytes=5-": want[5:], "bytes=100-3000000": want[100:3000001]} {
		req, err := http.NewRequest("GET", s.URL+"/file", nil)
		require.NoError(t, err)
		req.Header.Set("Range", rng)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		got, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.True(t, bytes.Equal(part, got), rng)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestSlowBodyIsTheClientsFault_S12(t *testing.T) {
	s := pacedServer(t, readAll)
	c := send(t, s, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusBadRequest, resp.StatusCode)
	require.True(t, strings.HasPrefix(string(body), `{"message":`), string(body))
}
