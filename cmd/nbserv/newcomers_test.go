package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A connection that was accepted before the listener was closed is answered, however late its request is; one that
// never sends any is waited for until the context ends.
func TestNewcomersAreAnswered_P15(t *testing.T) {
	const patience = 60 * time.Second
	n := newNewcomers()
	entered := make(chan struct{})
	h := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		fmt.Fprint(w, "here")
	})}
	n.watch(h)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = h.Serve(ln)
	}()
	here := func() int {
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.conns)
	}
	c, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	require.Eventually(t, func() bool { return here() == 1 }, patience, time.Millisecond)
	require.NoError(t, ln.Close())
	<-served

	ended, end := context.WithCancel(t.Context())
	end()
	n.wait(ended)
	require.Equal(t, 1, here(), "it gave up")

	waited := make(chan struct{})
	go func() {
		defer close(waited)
		n.wait(t.Context())
	}()
	_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	require.NoError(t, err)
	<-waited
	<-entered
	require.NoError(t, h.Shutdown(t.Context()))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "here", string(body))
}
