package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// running is a server that listens, and the ways to end it.
type running struct {
	*server
	client     *http.Client
	stop, kill context.CancelFunc
	done       chan struct{} // closed when Run has returned
	err        error         // of Run, once done
	logged     *lockedBuffer
}

// lockedBuffer takes a log from several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start runs a server on a port of its own, with a kernelspec "stubborn" whose process answers nothing and ignores
// SIGTERM.
func start(t *testing.T, change func(*Config), wrap ...func(net.Listener) net.Listener) *running {
	t.Helper()
	home := t.TempDir()
	spec := filepath.Join(home, ".local", "share", "jupyter", "kernels", "stubborn")
	require.NoError(t, os.MkdirAll(spec, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(spec, "kernel.json"),
		[]byte(`{"argv":["/bin/sh","-c","trap '' TERM; : > up.$$; while :; do sleep 0.05; done","{connection_file}"],"display_name":"x","language":"x"}`), 0o600))
	env := readEnvironment([]string{"HOME=" + home, "PATH=/usr/bin:/bin"})
	c := defaultConfig(env)
	c.KernelHost = inProcess
	c.Port, c.RootDir, c.StateDir, c.Auth.Token = 0, home, filepath.Join(home, "state"), "t"
	runtime, err := os.MkdirTemp("", "nb") // short: a socket's path has 107 bytes
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(runtime) })
	c.Kernels.RuntimeDir = filepath.Join(runtime, "r")
	c.given = map[string]bool{"token": true}
	if change != nil {
		change(&c)
	}
	require.NoError(t, c.resolve())
	require.NoError(t, c.validate())
	r := &running{client: &http.Client{Transport: &http.Transport{}}, done: make(chan struct{}), logged: &lockedBuffer{}}
	r.server, err = newServer(c, slog.New(slog.NewTextHandler(r.logged, nil)))
	require.NoError(t, err)
	for _, w := range wrap {
		r.ln = w(r.ln)
	}
	stop, cancelStop := context.WithCancel(context.Background())
	kill, cancelKill := context.WithCancel(context.Background())
	r.stop, r.kill = cancelStop, cancelKill
	go func() {
		r.err = r.Run(stop, kill)
		close(r.done)
	}()
	t.Cleanup(func() {
		r.client.CloseIdleConnections()
		cancelStop()
		cancelKill()
		<-r.done
	})
	return r
}

func (r *running) url(path string) string { return "http://" + r.ln.Addr().String() + path }

// do sends one request with the token and gives status and body.
func (r *running) do(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, r.url(path), strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Authorization", "token t")
	resp, err := r.client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(b)
}

// startKernel starts a stubborn kernel and gives its id.
func (r *running) startKernel(t *testing.T) string {
	t.Helper()
	up := func() int {
		files, err := filepath.Glob(filepath.Join(r.cfg.RootDir, "up.*"))
		require.NoError(t, err)
		return len(files)
	}
	before := up()
	code, body := r.do(t, "POST", "/api/kernels", `{"name":"stubborn"}`)
	require.Equal(t, http.StatusCreated, code, body)
	var k struct{ ID string }
	require.NoError(t, json.Unmarshal([]byte(body), &k))
	require.Eventually(t, func() bool { return up() > before }, time.Minute, 5*time.Millisecond, "it ignores SIGTERM now")
	return k.ID
}

func (r *running) requireStopped(t *testing.T, within time.Duration) {
	t.Helper()
	select {
	case <-r.done:
	case <-time.After(within):
		t.Fatalf("still running after %v:\n%s", within, r.logged)
	}
}

// P15: a stop closes WebSockets with 1001, ends kernels that do not want to end, and is over in time.
func TestStopIsBounded_P15(t *testing.T) {
	r := start(t, func(c *Config) { c.StopTimeout = 4 * time.Second; c.Kernels.ShutdownWait = 200 * time.Millisecond })
	id := r.startKernel(t)
	r.startKernel(t)
	conn, resp, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(r.url("/api/kernels/"+id+"/channels"), "http"),
		http.Header{"Authorization": {"token t"}})
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	defer conn.Close()
	closed := make(chan error, 1)
	go func() {
		for {
			if _, _, err := conn.ReadMessage(); err != nil {
				closed <- err
				return
			}
		}
	}()
	r.stop()
	require.True(t, websocket.IsCloseError(<-closed, websocket.CloseGoingAway))
	r.requireStopped(t, 30*time.Second)
	require.NoError(t, r.err)
	_, err = net.Dial("tcp", r.ln.Addr().String())
	require.Error(t, err, "nothing new is taken")
	require.Empty(t, processesNaming(t, r.cfg.Kernels.RuntimeDir))
}

// P15: kernels that take longer than there is time are killed, which is no failure of the server.
func TestStopKillsAtTheDeadline_P15(t *testing.T) {
	r := start(t, func(c *Config) { c.StopTimeout = time.Second; c.Kernels.ShutdownWait = time.Minute })
	r.startKernel(t)
	r.stop()
	r.requireStopped(t, 30*time.Second)
	require.NoError(t, r.err)
	require.Contains(t, r.logged.String(), "kernels had to be killed")
	require.Empty(t, processesNaming(t, r.cfg.Kernels.RuntimeDir))
}

// P15: a second SIGINT does not wait.
func TestSecondInterruptEndsAtOnce_P15(t *testing.T) {
	r := start(t, func(c *Config) { c.StopTimeout = time.Minute; c.Kernels.ShutdownWait = time.Minute })
	r.startKernel(t)
	signals := make(chan os.Signal)
	watched := make(chan struct{})
	over := make(chan struct{})
	go func() { watchSignals(signals, over, func() {}, r.stop, r.kill); close(watched) }()
	signals <- os.Interrupt
	signals <- syscall.SIGTERM // not a second SIGINT: the stop goes on
	select {
	case <-r.done:
		t.Fatal("the stop did not wait for the kernel")
	case <-time.After(100 * time.Millisecond):
	}
	signals <- os.Interrupt
	r.requireStopped(t, 30*time.Second)
	require.Empty(t, processesNaming(t, r.cfg.Kernels.RuntimeDir))
	close(over)
	<-watched
}

// processesNaming lists the processes with text in their command line.
func processesNaming(t *testing.T, text string) (found []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, f := range files {
		if raw, err := os.ReadFile(f); err == nil && bytes.Contains(raw, []byte(text)) {
			found = append(found, f)
		}
	}
	return found
}

// P15: a request that has begun is finished.
func TestStopFinishesRequests_P15(t *testing.T) {
	r := start(t, nil)
	c, err := net.Dial("tcp", r.ln.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	const body = `{"type":"file","format":"text","content":"whole"}`
	fmt.Fprintf(c, "PUT /api/contents/f.txt HTTP/1.1\r\nHost: localhost\r\nAuthorization: token t\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(body))
	in := bufio.NewReader(c)
	line, err := in.ReadString('\n') // the handler asks for the body: the request has begun
	require.NoError(t, err)
	require.Contains(t, line, "100 Continue")
	_, err = in.ReadString('\n')
	require.NoError(t, err)
	r.stop()
	require.Eventually(t, func() bool { return strings.Contains(r.logged.String(), "msg=stopping") }, time.Minute, time.Millisecond)
	_, err = io.WriteString(c, body)
	require.NoError(t, err)
	resp, err := http.ReadResponse(in, nil)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusCreated, resp.StatusCode)
	r.requireStopped(t, 30*time.Second)
	require.NoError(t, r.err)
	got, err := os.ReadFile(filepath.Join(r.cfg.RootDir, "f.txt"))
	require.NoError(t, err)
	require.Equal(t, "whole", string(got))
}

func TestShutdownByRequest(t *testing.T) {
	r := start(t, nil)
	code, _ := r.do(t, "POST", "/api/shutdown", "")
	require.Equal(t, http.StatusOK, code)
	r.requireStopped(t, 30*time.Second)
	require.NoError(t, r.err)
}

// S10: 200 connections that never finish their headers are cut, and meanwhile others are served.
func TestSlowConnectionsAreCut_S10(t *testing.T) {
	r := start(t, func(c *Config) { c.limits.readHeader = 500 * time.Millisecond })
	var slow []net.Conn
	for range 200 {
		c, err := net.Dial("tcp", r.ln.Addr().String())
		require.NoError(t, err)
		defer c.Close()
		_, err = io.WriteString(c, "GET /api HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
		require.NoError(t, err)
		slow = append(slow, c)
	}
	code, _ := r.do(t, "GET", "/api/status", "")
	require.Equal(t, http.StatusOK, code)
	for _, c := range slow {
		require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
		_, err := io.Copy(io.Discard, c)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	}
}

func TestHeadersAreBounded_S10(t *testing.T) {
	r := start(t, nil)
	req, err := http.NewRequest("GET", r.url("/api"), nil)
	require.NoError(t, err)
	req.Header.Set("X-Large", strings.Repeat("x", 2*maxHeaderBytes))
	resp, err := r.client.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, resp.StatusCode)
}

// noDescriptors is a listener in a process that has run out of file descriptors until enough is closed.
type noDescriptors struct {
	net.Listener
	accepts atomic.Int64
	enough  chan struct{}
}

func (l *noDescriptors) Accept() (net.Conn, error) {
	select {
	case <-l.enough:
		return l.Listener.Accept()
	default:
	}
	l.accepts.Add(1)
	return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
}

// S10: without descriptors the server neither spins nor floods its log, and serves again when there are some.
func TestOutOfDescriptors_S10(t *testing.T) {
	l := &noDescriptors{enough: make(chan struct{})}
	r := start(t, nil, func(ln net.Listener) net.Listener { l.Listener = ln; return l })
	select {
	case <-r.done:
		t.Fatal("the server gave up: ", r.err)
	case <-time.After(time.Second):
	}
	require.Less(t, l.accepts.Load(), int64(20), "it spins")
	lines := strings.Count(r.logged.String(), "too many open files")
	require.Greater(t, lines, 0)
	require.LessOrEqual(t, lines, httpLogBurst)
	close(l.enough)
	code, _ := r.do(t, "GET", "/api/status", "")
	require.Equal(t, http.StatusOK, code)
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	writePair(t, certFile, keyFile, "localhost")
	r := start(t, func(c *Config) { c.CertFile, c.KeyFile = certFile, keyFile })
	r.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	resp, err := r.client.Get("https://" + r.ln.Addr().String() + "/api")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "localhost", resp.TLS.PeerCertificates[0].Subject.CommonName)
	require.Equal(t, 1, resp.ProtoMajor, "WebSockets are upgrades of HTTP/1.1")
}
