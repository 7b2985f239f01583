package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// fixedPort gives s a port that it keeps over its restarts.
func (s *server) fixedPort() {
	s.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(s.t, err)
	defer ln.Close()
	s.args = append(s.args, fmt.Sprintf("--port=%d", ln.Addr().(*net.TCPAddr).Port), "--port-retries=0")
}

// lastWord is what a kernel prints after all numbers.
const lastWord = "that was all"

// listener is a page that reads what a counting kernel prints, and connects again, as pages do, when it is cut.
type listener struct {
	s       *server
	kernel  string
	session string
	seen    atomic.Int64 // the last number that came
	when    atomic.Int64 // when that was, in nanoseconds
	over    bool         // the last word came
	again   int          // numbers that came more than once
	missed  int          // numbers that did not come
	codes   []int        // with which it was cut
}

// listen reads until the last word.
func (l *listener) listen() error {
	for began := time.Now(); !l.over; {
		if time.Since(began) > 4*patience {
			return fmt.Errorf("client %s got no further than %d", l.session, l.seen.Load())
		}
		conn, _, err := l.s.upgrade(l.kernel+"/channels?session_id="+l.session, l.s.bearer())
		if err != nil {
			time.Sleep(20 * time.Millisecond) // a page waits longer
			continue
		}
		l.read(conn)
		conn.Close()
	}
	return nil
}

func (l *listener) read(conn *websocket.Conn) {
	c := socket{Conn: conn, t: l.s.t}
	for !l.over {
		m, err := c.next()
		if err != nil {
			if closed, ok := err.(*websocket.CloseError); ok {
				l.codes = append(l.codes, closed.Code)
			}
			return
		}
		text := strings.TrimSpace(m.Content.Text)
		l.over = text == lastWord
		n, err := strconv.ParseInt(text, 10, 64)
		if m.Header.MsgType != "stream" || err != nil {
			continue
		}
		if n <= l.seen.Load() {
			l.again++
			continue
		}
		l.missed += int(n - l.seen.Load() - 1)
		l.seen.Store(n)
		l.when.Store(time.Now().UnixNano())
	}
}

// listeners are many of them on one kernel.
type listeners struct {
	all []*listener
	wg  sync.WaitGroup
}

// listenAll connects n of them, and has the kernel count.
func (s *server) listenAll(n int, kernel string, pause time.Duration) *listeners {
	s.t.Helper()
	ls := &listeners{}
	for i := range n {
		l := &listener{s: s, kernel: kernel, session: fmt.Sprintf("page-%d", i)}
		l.seen.Store(-1)
		ls.all = append(ls.all, l)
		ls.wg.Go(func() {
			if err := l.listen(); err != nil {
				s.t.Error(err)
			}
		})
	}
	s.eventually(func() bool {
		var k struct {
			Connections int `json:"connections"`
		}
		s.call("GET", "api/kernels/"+kernel, nil, &k)
		return k.Connections == n
	})
	s.dial(s.t, kernel).begin("count " + pause.String())
	ls.readOn(s.t, time.Now())
	return ls
}

// end stops the counting, and sees to it that every client got every number.
func (ls *listeners) end(s *server, kernel string) {
	s.t.Helper()
	require.Equal(s.t, 204, s.call("POST", "api/kernels/"+kernel+"/interrupt", nil, nil).StatusCode)
	s.dial(s.t, kernel).execute("print " + lastWord)
	ls.wg.Wait()
	last, twice := ls.all[0].seen.Load(), 0
	for _, l := range ls.all {
		require.Zero(s.t, l.missed, "client %s lost numbers", l.session)
		require.Equal(s.t, last, l.seen.Load(), "client %s lost the end", l.session)
		twice += l.again
	}
	s.t.Logf("%d clients got %d numbers each, and %d in all twice", len(ls.all), last+1, twice)
}

// readOn waits until each has got something after since, and says how long that took the last of them.
func (ls *listeners) readOn(t *testing.T, since time.Time) (slowest time.Duration) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, l := range ls.all {
			if l.when.Load() <= since.UnixNano() {
				return false
			}
		}
		return true
	}, patience, time.Millisecond)
	return time.Since(since)
}

// Killed again and again under load, a server comes back to kernels that never noticed, and every client of the
// kernel reads on where it was: nothing is lost. What a client without positions got while the server died may come
// twice; it is never more than the server had in its hands.
func TestServerKilledUnderLoad_P3_P4(t *testing.T) {
	const clients, kills = 50, 3
	s := prepareSynth(t)
	s.fixedPort()
	s.run()
	made := s.create("a.ipynb", "synth")
	pid, host := s.kernelProcess(made.Kernel.ID).pid, s.host()
	ls := s.listenAll(clients, made.Kernel.ID, 10*time.Millisecond)
	for i := range kills {
		s.stop(syscall.SIGKILL)
		began := time.Now()
		s.run()
		t.Logf("kill %d: all %d clients read on after %v", i, clients, ls.readOn(t, began))
	}
	ls.end(s.server, made.Kernel.ID)
	require.Equal(t, pid, s.kernelProcess(made.Kernel.ID).pid)
	require.Equal(t, host, s.host())
}

// nbserv runs the program and gives what it printed.
func nbserv(program string, args ...string) (string, error) {
	out, err := exec.Command(program, args...).CombinedOutput()
	return string(out), err
}

// upgraded is the program as of another version.
func upgraded(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nbserv")
	out, err := nbserv("go", "build", "-o", path, "-ldflags=-X main.version=2.0-test", "../cmd/nbserv")
	require.NoError(t, err, out)
	return path
}

// nbserv restart replaces a server by another version of it: no request is refused meanwhile, those under way are
// finished, pages are told to come back and miss nothing, and the kernels never noticed.
func TestRestartUpgradesTheServer_P3_P4_P15(t *testing.T) {
	const clients = 20
	s := prepareSynth(t)
	s.binary = filepath.Join(t.TempDir(), "nbserv")
	require.NoError(t, os.Link(binary, s.binary))
	out, err := nbserv(s.binary, "restart", "--state-dir="+s.state)
	require.Error(t, err)
	require.Contains(t, out, "no server runs with the state folder "+s.state)
	s.run()
	made := s.create("a.ipynb", "synth")
	pid, host := s.kernelProcess(made.Kernel.ID).pid, s.host()

	next := upgraded(t)
	broken := filepath.Join(t.TempDir(), "broken")
	require.NoError(t, os.WriteFile(broken, []byte("half a program"), 0o755))
	require.NoError(t, os.Rename(broken, s.binary))
	out, err = nbserv(next, "restart", "--state-dir="+s.state)
	require.Error(t, err)
	require.Contains(t, out, "the server goes on as it was")
	require.Equal(t, 200, s.call("GET", "api/kernels", nil, nil).StatusCode)

	ls := s.listenAll(clients, made.Kernel.ID, 5*time.Millisecond)
	over, stopAsking := make(chan struct{}), make(chan struct{})
	go func() { // every request is a new connection
		defer close(over)
		fresh := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
		for {
			select {
			case <-stopAsking:
				return
			default:
			}
			req, _ := http.NewRequest("GET", s.url+"api/kernels/"+made.Kernel.ID, nil)
			req.Header = s.bearer()
			resp, err := fresh.Do(req)
			if err != nil {
				t.Errorf("a request failed: %v", err)
				return
			}
			resp.Body.Close()
			if resp.StatusCode != 200 {
				t.Errorf("a request got %s", resp.Status)
				return
			}
		}
	}()
	body, feed := io.Pipe()
	upload := make(chan error, 1)
	go func() {
		req, _ := http.NewRequest("PUT", s.url+"api/contents/slow.txt", body)
		req.Header = s.bearer()
		resp, err := client.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode != 201 {
				err = fmt.Errorf("%s", resp.Status)
			}
		}
		upload <- err
	}()
	_, err = io.WriteString(feed, `{"type":"file","format":"text",`)
	require.NoError(t, err)

	require.NoError(t, os.Rename(next, s.binary))
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		time.Sleep(100 * time.Millisecond) // the restart has begun
		_, _ = io.WriteString(feed, `"content":"whole"}`)
		feed.Close()
	}()
	out, err = nbserv(s.binary, "restart", "--state-dir="+s.state)
	require.NoError(t, err, out)
	require.Contains(t, out, "was replaced by nbserv 2.0-test")
	require.Contains(t, out, "kernels that went on: 1")
	<-finished
	require.NoError(t, <-upload)
	t.Logf("%s; all %d clients read on after %v", strings.TrimSpace(out), clients, ls.readOn(t, time.Now()))
	close(stopAsking)
	<-over
	ls.end(s.server, made.Kernel.ID)
	for _, l := range ls.all {
		require.Equal(t, []int{websocket.CloseServiceRestart}, l.codes)
	}
	require.Equal(t, pid, s.kernelProcess(made.Kernel.ID).pid)
	require.Equal(t, host, s.host(), "the kernel host of the version before goes on")
	var again session
	s.call("GET", "api/sessions/"+made.ID, nil, &again)
	require.Equal(t, made.Kernel.ID, again.Kernel.ID)

	// The next kernel host is of the new version, and has the kernels, too.
	require.NoError(t, syscall.Kill(host, syscall.SIGKILL))
	s.eventually(func() bool {
		status := s.call("GET", "api/kernels/"+made.Kernel.ID, nil, nil).StatusCode
		require.Contains(t, []int{200, 503}, status)
		return s.host() != host && s.host() != 0 && status == 200
	})
	c := s.dial(t, made.Kernel.ID)
	require.Equal(t, "works\n", c.execute("print works").text)
	require.Equal(t, pid, s.kernelProcess(made.Kernel.ID).pid)
}

// A page does not notice more of the end of the kernel host than a pause.
func TestKernelHostKilled_P3_P4(t *testing.T) {
	s := startSynth(t)
	made := s.create("a.ipynb", "synth")
	pid, host := s.kernelProcess(made.Kernel.ID).pid, s.host()
	c := s.dial(t, made.Kernel.ID)
	c.execute("echo warm")
	long := c.begin("print before\nsleep 1s\nprint after")
	require.NoError(t, syscall.Kill(host, syscall.SIGKILL))
	began := time.Now()
	r, err := c.collect(long) // over the same WebSocket
	require.NoError(t, err)
	require.Contains(t, r.text, "after\n", "it ran on, and is heard by the next")
	require.Equal(t, "works\n", c.execute("print works").text)
	t.Logf("went on after %v, of which the kernel worked for 1 s", time.Since(began))
	require.NotEqual(t, host, s.host())
	require.Equal(t, pid, s.kernelProcess(made.Kernel.ID).pid)
	require.Equal(t, 200, s.call("GET", "api/sessions/"+made.ID, nil, nil).StatusCode)
	require.Equal(t, 204, s.call("DELETE", "api/sessions/"+made.ID, nil, nil).StatusCode)
	s.eventually(func() bool { return len(s.processes()) == 0 })
}

// What the kernel host had not read when it died never reaches the kernel, and is said to have ended.
func TestRequestThatDiedWithTheKernelHostEnds_P6(t *testing.T) {
	s := startSynth(t)
	made := s.create("a.ipynb", "synth")
	host := s.host()
	c := s.dial(t, made.Kernel.ID)
	c.execute("echo warm")
	came := func() float64 { return s.metric("nbserv_websocket_messages_total", `direction="in"`) }
	before := came()
	require.NoError(t, syscall.Kill(host, syscall.SIGSTOP))
	lost := c.request("shell", "execute_request", code("print never"))
	c.request("shell", "kernel_info_request", map[string]any{}) // once that has come the first was handed on
	s.eventually(func() bool { return came() == before+2 })
	require.NoError(t, syscall.Kill(host, syscall.SIGKILL))
	r, err := c.collect(lost)
	require.NoError(t, err)
	require.Equal(t, "error", r.reply.Content.Status)
	require.Equal(t, "works\n", c.execute("print works").text)
}

func TestKeepKernels_P3_P15(t *testing.T) {
	for _, role := range []string{"spawn", "inprocess"} {
		t.Run(role, func(t *testing.T) {
			s := startSynth(t, "--keep-kernels", "--kernel-host="+role)
			made := s.create("a.ipynb", "synth")
			c := s.dial(t, made.Kernel.ID)
			c.execute("echo warm")
			pid := s.kernelProcess(made.Kernel.ID).pid
			s.stop(syscall.SIGTERM)
			require.Equal(t, 0, s.cmd.ProcessState.ExitCode())
			require.Equal(t, pid, s.kernelProcess(made.Kernel.ID).pid)
			require.Equal(t, role == "spawn", s.host() != 0)
			s.run()
			again := s.create("a.ipynb", "synth")
			require.Equal(t, made.ID, again.ID)
			require.Equal(t, made.Kernel.ID, again.Kernel.ID)
			c = s.dial(t, made.Kernel.ID)
			require.Equal(t, "works\n", c.execute("print works").text)
			require.Equal(t, 204, s.call("DELETE", "api/sessions/"+made.ID, nil, nil).StatusCode)
			s.eventually(func() bool { return len(s.processes()) == 0 })
		})
	}
}

// A state folder has one server, and its kernels one place.
func TestOneServerAndOneHost(t *testing.T) {
	s := startSynth(t)
	made := s.create("a.ipynb", "synth")
	again := func(args ...string) string {
		cmd := exec.Command(binary, append([]string{"--port=0", "--root-dir=" + s.root, "--state-dir=" + s.state}, args...)...)
		cmd.Env = append(os.Environ(), s.env...)
		out, err := cmd.CombinedOutput()
		require.Error(t, err)
		return string(out)
	}
	require.Contains(t, again(), "another server uses "+s.state)
	out, err := nbserv(binary, "host", "--state-dir="+s.state)
	require.Error(t, err)
	require.Contains(t, out, "another kernel host")
	s.stop(syscall.SIGKILL)
	require.Contains(t, again("--kernel-host=inprocess"), fmt.Sprintf("process %d", s.host()))
	s.run()
	require.Equal(t, 200, s.call("GET", "api/kernels/"+made.Kernel.ID, nil, nil).StatusCode)
}

// A kernel host that somebody else runs is used, not ended; of no use any more, it goes by itself.
func TestKernelHostOfSomebodyElse(t *testing.T) {
	s := prepareSynth(t)
	path := filepath.Join(s.tmp, "own")
	require.NoError(t, os.Mkdir(path, 0o700))
	path = filepath.Join(path, "host.sock")
	cmd := exec.Command(binary, "host", "--state-dir="+s.state, "--socket="+path, "--linger=1s")
	cmd.Env = append(os.Environ(), s.env...)
	var log bytes.Buffer
	cmd.Stderr = &log
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	s.args = append(s.args, "--kernel-host="+path)
	s.run()
	made := s.create("a.ipynb", "synth")
	require.Equal(t, "works\n", s.dial(t, made.Kernel.ID).execute("print works").text)
	require.Equal(t, cmd.Process.Pid, s.host())
	s.stop(syscall.SIGTERM)
	require.Empty(t, s.processes(), "its kernels end with the server")
	s.run()
	s.create("a.ipynb", "synth")
	s.stop(syscall.SIGKILL)
	require.Len(t, s.processes(), 1, "a kernel keeps it")
	select {
	case <-ended:
		require.Fail(t, "the kernel host has left its kernel")
	case <-time.After(2 * time.Second):
	}
	require.NoError(t, syscall.Kill(s.processes()[0].pid, syscall.SIGKILL))
	s.run()
	s.stop(syscall.SIGTERM)
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(patience):
		require.Fail(t, "the kernel host stays for nobody", log.String())
	}
	require.Contains(t, log.String(), "neither a kernel nor a server")
	require.NoFileExists(t, filepath.Join(s.state, "host.json"))
}

// What the server knows and its kernels must not know is not with the kernel host either.
func TestKernelHostHasNoSecrets_S6(t *testing.T) {
	s := prepareSynth(t)
	s.tokenByEnv = true
	s.env = append(s.env, "JUPYTERHUB_API_TOKEN="+s.token)
	s.run()
	for _, file := range []string{"environ", "cmdline"} {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", s.host(), file))
		require.NoError(t, err)
		require.NotContains(t, string(raw), s.token)
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.host()))
	require.NoError(t, err)
	for _, fd := range fds {
		to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", s.host(), fd.Name()))
		require.NotContains(t, to, "nbserv.db")
		require.NotContains(t, to, "cookie")
	}
	log, err := os.ReadFile(filepath.Join(s.state, "host.log"))
	require.NoError(t, err)
	require.NotContains(t, string(log), s.token)
}
