package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience bounds every wait: only a failing test waits so long.
const patience = 60 * time.Second

var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "nbserv-e2e")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "nbserv")
	build := exec.Command("go", "build", "-o", binary, "../cmd/nbserv")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// server is a running nbserv.
type server struct {
	t     *testing.T
	url   string // without the token, ends with a slash
	token string
	root  string
	state string
	args  []string
	cmd   *exec.Cmd
	log   *logBuffer
	done  chan struct{} // closed when the process has ended
}

// logBuffer collects what the server writes to stderr.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start runs nbserv with an empty root folder and further arguments.
func start(t *testing.T, args ...string) *server {
	t.Helper()
	s := &server{t: t, token: "e2e-token", root: t.TempDir(), state: t.TempDir(), args: args}
	s.run()
	t.Cleanup(func() {
		s.stop(syscall.SIGTERM)
		if t.Failed() {
			t.Logf("the server's log:\n%s", s.log)
		}
	})
	return s
}

// run starts the process, once more after a kill, on the same folders.
func (s *server) run() {
	s.t.Helper()
	args := append([]string{"--port=0", "--token=" + s.token, "--root-dir=" + s.root, "--state-dir=" + s.state}, s.args...)
	s.cmd = exec.Command(binary, args...)
	s.log, s.done = &logBuffer{}, make(chan struct{})
	out, err := s.cmd.StderrPipe()
	require.NoError(s.t, err)
	s.cmd.Stdout = s.log
	require.NoError(s.t, s.cmd.Start())
	found := make(chan string, 1)
	go func() { // ends with the process's stderr
		defer close(s.done)
		lines := bufio.NewScanner(io.TeeReader(out, s.log))
		for lines.Scan() {
			if i := strings.Index(lines.Text(), "http"); i >= 0 && len(found) == 0 {
				found <- strings.Fields(lines.Text()[i:])[0]
			}
		}
		_ = s.cmd.Wait()
	}()
	select {
	case raw := <-found:
		u, err := url.Parse(raw)
		require.NoError(s.t, err)
		u.RawQuery = ""
		s.url = u.String()
	case <-s.done:
		require.FailNow(s.t, "the server did not start", s.log.String())
	case <-time.After(patience):
		require.FailNow(s.t, "the server printed no address", s.log.String())
	}
}

// stop signals the server and waits for its end.
func (s *server) stop(sig syscall.Signal) {
	_ = s.cmd.Process.Signal(sig)
	select {
	case <-s.done:
	case <-time.After(patience):
		_ = s.cmd.Process.Kill()
		<-s.done
		s.t.Errorf("the server did not end after %v", sig)
	}
}

// call sends a request with the token and decodes a JSON answer into v, unless v is nil.
func (s *server) call(method, path string, body, v any) *http.Response {
	s.t.Helper()
	var r io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		require.NoError(s.t, err)
		r = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, r)
	require.NoError(s.t, err)
	req.Header.Set("Authorization", "token "+s.token)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	if v != nil {
		require.NoError(s.t, json.Unmarshal(raw, v), "%s %s: %s: %s", method, path, resp.Status, raw)
	}
	return resp
}

// python runs one of the programs in clients against s.
func (s *server) python(script string, args ...string) string {
	s.t.Helper()
	exe := os.Getenv("NBSERV_TEST_PYTHON")
	if exe == "" {
		s.t.Skip("NBSERV_TEST_PYTHON is not set: make test prepares it")
	}
	cmd := exec.CommandContext(s.t.Context(), exe, append([]string{filepath.Join("clients", script)}, args...)...)
	cmd.Env = append(os.Environ(), "NBSERV_URL="+s.url, "NBSERV_TOKEN="+s.token)
	out, err := cmd.CombinedOutput()
	require.NoError(s.t, err, "%s:\n%s", script, out)
	return string(out)
}
