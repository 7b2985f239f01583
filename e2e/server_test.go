package e2e

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
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
	client.CloseIdleConnections()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// server is a running nbserv.
type server struct {
	t     *testing.T
	url   string // without the token, ends with a slash
	token string
	// tokenByEnv tells the server its token by NBSERV_TOKEN, not on its command line, which everybody may read.
	tokenByEnv bool
	root       string
	state      string
	args       []string
	env        []string // added to this process's own; later ones win
	binary     string   // the program; "" is the one under test
	wrap       []string // a command that runs the server with its arguments, such as a shell that sets limits first
	cmd        *exec.Cmd
	log        *logBuffer
	done       chan struct{} // closed when the process has ended
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
	s := prepare(t, args...)
	s.run()
	return s
}

// prepare is start without the start, for tests that change more than arguments.
func prepare(t *testing.T, args ...string) *server {
	t.Helper()
	s := &server{t: t, token: "e2e-token", root: t.TempDir(), state: t.TempDir(), args: args}
	t.Cleanup(func() {
		if s.cmd == nil {
			return
		}
		defer s.removeCgroups()
		s.stop(syscall.SIGTERM)
		s.endHost()
		// P13, S12: whatever a test did, no handler may have fallen over it.
		if log := s.log.String(); strings.Contains(log, "panic") || strings.Contains(log, "goroutine ") {
			t.Errorf("the server panicked")
		}
		if t.Failed() {
			t.Logf("the server's log:\n%s", tail(s.log.String(), 20_000))
		}
	})
	return s
}

// tail is the end of a long text.
func tail(text string, n int) string { return text[max(0, len(text)-n):] }

// run starts the process, once more after a kill, on the same folders.
func (s *server) run() {
	s.t.Helper()
	argv := append(slices.Clone(s.wrap), cmp.Or(s.binary, binary), "--port=0", "--root-dir="+s.root, "--state-dir="+s.state)
	env := append(os.Environ(), s.env...)
	if s.tokenByEnv {
		env = append(env, "NBSERV_TOKEN="+s.token)
	} else {
		argv = append(argv, "--token="+s.token)
	}
	argv = append(argv, s.args...)
	s.cmd = exec.Command(argv[0], argv[1:]...)
	s.cmd.Env = env
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
		if s.url != u.String() { // it may be the same one, and being read, when the port is fixed
			s.url = u.String()
		}
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

// host is the process of the server's kernel host; 0 if there is none.
func (s *server) host() int {
	var note struct {
		PID int `json:"pid"`
	}
	if raw, err := os.ReadFile(filepath.Join(s.state, "host.json")); err == nil {
		_ = json.Unmarshal(raw, &note)
	}
	if note.PID > 0 && syscall.Kill(note.PID, 0) != nil {
		return 0
	}
	return note.PID
}

// endHost ends a kernel host that was left, with its kernels.
func (s *server) endHost() {
	pid := s.host()
	if pid == 0 {
		return
	}
	_ = syscall.Kill(pid, syscall.SIGTERM)
	for deadline := time.Now().Add(patience); s.host() == pid; {
		if time.Now().After(deadline) {
			s.t.Errorf("the kernel host does not end")
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// call sends a request with the token and decodes a JSON answer into v, unless v is nil.
func (s *server) call(method, path string, body, v any) *http.Response {
	s.t.Helper()
	var raw []byte
	if body != nil {
		var err error
		raw, err = json.Marshal(body)
		require.NoError(s.t, err)
	}
	a, err := s.ask(method, path, raw, s.bearer())
	require.NoError(s.t, err)
	if v != nil {
		require.NoError(s.t, json.Unmarshal(a.body, v), "%s %s: %s: %s", method, path, a.Status, a.body)
	}
	return a.Response
}

// answer is a response whose body has been read.
type answer struct {
	*http.Response
	body []byte
}

// client follows no redirect, and waits for no server for ever.
var client = &http.Client{
	Timeout:       patience,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
}

// ask sends a request as it is, without credentials of its own. A header "Host" names the host. It may be used
// by goroutines that are not the test's.
func (s *server) ask(method, path string, body []byte, header http.Header) (answer, error) {
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for name, values := range header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	req.Host = req.Header.Get("Host")
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return answer{resp, raw}, err
}

// bearer is the header of a client that has the token.
func (s *server) bearer() http.Header { return http.Header{"Authorization": {"token " + s.token}} }

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
