package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

const (
	// token is both servers' token: their authentication is part of what is measured.
	token = "bench-0123456789abcdef0123456789abcdef"
	// startWait bounds how long a server may take to answer.
	startWait = 30 * time.Second
	// stopWait bounds a graceful stop; then the process group is killed.
	stopWait = 15 * time.Second
	// startPoll is how often a starting server is asked; refused connections cost it nothing.
	startPoll = 500 * time.Microsecond
)

// server is one of the servers under test, running.
type server struct {
	name  contestant
	addr  string // host:port
	root  string
	state string // nbserv's state folder
	args  []string
	cmd   *exec.Cmd
	done  chan struct{} // closed when the process has ended
	began time.Duration // how long the first answer took
	log   string        // path
}

// startServer starts a contestant, with more arguments, and waits for its first answer.
func (b *bench) startServer(c contestant, more ...string) (*server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	b.started++
	s := &server{
		name: c, addr: net.JoinHostPort("127.0.0.1", port), root: filepath.Join(b.dir, "root"),
		log: filepath.Join(b.dir, fmt.Sprintf("server-%d.log", b.started)),
	}
	switch c {
	case peer:
		s.args = b.peerArgs(port, s.root)
	case lab:
		s.args = b.labArgs(port, s.root)
	default:
		s.state = filepath.Join(b.dir, fmt.Sprintf("state-%d", b.started))
		s.args = b.nbservArgs(port, s.root, s.state)
	}
	if c == inProcess {
		s.args = append(s.args, "--kernel-host=inprocess")
	}
	s.args = append(s.args, more...)
	b.servers = append(b.servers, s)
	return s, b.run(s)
}

// run starts s, once more after a kill, and waits for its first answer.
func (b *bench) run(s *server) error {
	logFile, err := os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer logFile.Close()
	s.cmd = exec.Command(s.args[0], s.args[1:]...)
	s.cmd.Env = b.environ()
	s.cmd.Dir = s.root
	s.cmd.Stdout, s.cmd.Stderr = logFile, logFile
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	began := time.Now()
	if err := s.cmd.Start(); err != nil {
		return err
	}
	cmd, done := s.cmd, make(chan struct{})
	s.done = done
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(done)
	}()
	if err := s.awaitAnswer(); err != nil {
		return err
	}
	s.began = time.Since(began)
	return nil
}

// nbservArgs is nbserv as it comes.
func (b *bench) nbservArgs(port, root, state string) []string {
	return []string{
		b.nbserv, "--ip=127.0.0.1", "--port=" + port, "--port-retries=0", "--token=" + token, "--root-dir=" + root,
		"--state-dir=" + state,
	}
}

// peerArgs is jupyter_server as it comes, but for the limits on output, which would discard most of the load.
func (b *bench) peerArgs(port, root string) []string {
	return []string{
		b.python, "-m", "jupyter_server", "--allow-root", "--ServerApp.open_browser=False",
		"--ServerApp.ip=127.0.0.1", "--ServerApp.port=" + port, "--ServerApp.port_retries=0",
		"--IdentityProvider.token=" + token, "--ServerApp.root_dir=" + root,
		"--ZMQChannelsWebsocketConnection.iopub_msg_rate_limit=0",
		"--ZMQChannelsWebsocketConnection.iopub_data_rate_limit=0",
	}
}

// freePort is a port that nobody listens on right now.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port), nil
}

func (s *server) awaitAnswer() error {
	deadline := time.Now().Add(startWait)
	for time.Now().Before(deadline) {
		select {
		case <-s.done:
			return fmt.Errorf("%s ended: %s", s.name, s.lastWords())
		default:
		}
		if h, err := s.dialHTTP(); err == nil {
			_, err = h.do("GET", "/api", nil)
			h.close()
			if err == nil {
				return nil
			}
		}
		time.Sleep(startPoll)
	}
	return fmt.Errorf("%s did not answer within %v: %s", s.name, startWait, s.lastWords())
}

// lastWords is the end of the server's log.
func (s *server) lastWords() string {
	raw, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	return string(raw[max(0, len(raw)-500):])
}

// cpu is the CPU time that the server has used; none without a server.
func (s *server) cpu() (time.Duration, error) {
	if s == nil {
		return 0, nil
	}
	return s.cpuTime()
}

func (s *server) pid() int { return s.cmd.Process.Pid }

// pids are the processes of which the server is made: its kernel host is one of them.
func (s *server) pids() []int {
	all := []int{s.pid()}
	var host struct {
		PID int `json:"pid"`
	}
	if raw, err := os.ReadFile(filepath.Join(s.state, "host.json")); err == nil && json.Unmarshal(raw, &host) == nil {
		all = append(all, host.PID)
	}
	return all
}

func (s *server) cpuTime() (sum time.Duration, err error) {
	for _, pid := range s.pids() {
		one, err := cpuTime(pid)
		if err != nil {
			return 0, err
		}
		sum += one
	}
	return sum, nil
}

// memory is what all its processes have resident now, in bytes.
func (s *server) memory() (float64, error) { return memoryOfAll(s.pids()) }

// stopServers ends every server that runs, and its kernels.
func (b *bench) stopServers() {
	for _, s := range b.servers {
		s.stop()
	}
	b.servers = nil
}

func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-s.done:
	case <-time.After(stopWait):
		_ = syscall.Kill(-s.pid(), syscall.SIGKILL)
		<-s.done
	}
}

// session is what the bench needs of a session's model.
type session struct {
	ID     string `json:"id"`
	Kernel struct {
		ID string `json:"id"`
	} `json:"kernel"`
}

// createSession starts a kernel under a name.
func (s *server) createSession(spec, name string) (v session, err error) {
	body, err := json.Marshal(map[string]any{
		"path": name + ".ipynb", "name": name, "type": "notebook", "kernel": map[string]string{"name": spec},
	})
	if err != nil {
		return v, err
	}
	answer, err := s.request("POST", "/api/sessions", body)
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal(answer, &v)
}

func (s *server) deleteSession(v session) error {
	_, err := s.request("DELETE", "/api/sessions/"+v.ID, nil)
	return err
}

// request makes one request on a connection of its own.
func (s *server) request(method, path string, body []byte) ([]byte, error) {
	h, err := s.dialHTTP()
	if err != nil {
		return nil, err
	}
	defer h.close()
	answer, err := h.do(method, path, body)
	return bytes.Clone(answer), err
}

// settle waits until the process has stopped working: three looks in a row at almost no CPU.
func (s *server) settle(ctx context.Context) error {
	const look, quiet, most = 200 * time.Millisecond, 4 * time.Millisecond, 100
	calm := 0
	before, err := s.cpuTime()
	for range most {
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(look):
		}
		var now time.Duration
		now, err = s.cpuTime()
		if now-before > quiet {
			calm = 0
		} else if calm++; calm == 3 {
			return err
		}
		before = now
	}
	return errors.Join(err, fmt.Errorf("%s does not come to rest", s.name))
}
