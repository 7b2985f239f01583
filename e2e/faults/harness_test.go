package faults

import (
	"bytes"
	"context"
	"encoding/json"
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
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nbserv/nbserv/kernel/kerneltest"
)

// patience bounds every wait: only a failing test waits so long.
const patience = 60 * time.Second

// tick is how often a wait looks.
const tick = 20 * time.Millisecond

var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "nbserv-faults")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "nbserv")
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/nbserv").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	client.CloseIdleConnections()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// times is how often a fault is made: short, or in a soak long times.
func times(short, long int) int {
	if os.Getenv("NBSERV_SOAK") != "" {
		return long
	}
	return short
}

// plant is an nbserv on folders and an address of its own, whose server may be killed and started again.
type plant struct {
	t     *testing.T
	addr  string
	root  string
	state string
	args  []string
	env   []string
	logs  *os.File

	mu  sync.Mutex // guards cmd
	cmd *exec.Cmd
}

const token = "faults-token"

// build makes a plant with the kernelspec "synth", whose kernels are real processes that do as told, and starts it.
func build(t *testing.T, args ...string) *plant {
	t.Helper()
	p := prepare(t, args...)
	p.start()
	return p
}

// prepare makes a plant that is not started yet.
func prepare(t *testing.T, args ...string) *plant {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := ln.Addr().String()
	require.NoError(t, ln.Close())
	tmp, err := os.MkdirTemp("", "nf") // short: it will hold unix sockets
	require.NoError(t, err)
	logs, err := os.Create(filepath.Join(tmp, "log"))
	require.NoError(t, err)
	p := &plant{t: t, addr: addr, root: filepath.Join(tmp, "root"), state: filepath.Join(tmp, "state"), args: args, logs: logs}
	require.NoError(t, os.Mkdir(p.root, 0o700))
	kerneltest.WriteSpec(t, tmp, "synth", nil)
	p.env = append(os.Environ(), "HOME="+tmp, "JUPYTER_PATH="+tmp, "JUPYTER_DATA_DIR=", "JUPYTER_CONFIG_DIR="+tmp, "TMPDIR="+tmp)
	t.Cleanup(func() {
		if p.cmd != nil {
			p.stop()
		}
		raw, _ := os.ReadFile(logs.Name())
		if t.Failed() {
			t.Logf("the log:\n%s", raw[max(0, len(raw)-20_000):])
		}
		if bytes.Contains(raw, []byte("panic:")) {
			t.Error("the server panicked")
		}
		_ = logs.Close()
		_ = os.RemoveAll(tmp)
	})
	return p
}

// start runs the server and waits until it answers.
func (p *plant) start() {
	p.t.Helper()
	_, port, _ := net.SplitHostPort(p.addr)
	cmd := exec.Command(binary, append([]string{"--ip=127.0.0.1", "--port=" + port, "--port-retries=0", "--token=" + token, "--root-dir=" + p.root,
		"--state-dir=" + p.state, "--default-kernel=synth", "--delete-to-trash=false", "--log-level=warn"}, p.args...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, p.logs, p.logs
	require.NoError(p.t, cmd.Start())
	p.mu.Lock()
	p.cmd = cmd
	p.mu.Unlock()
	require.Eventually(p.t, func() bool {
		res, err := client.Get("http://" + p.addr + "/healthz")
		if err == nil {
			_ = res.Body.Close()
		}
		return err == nil
	}, patience, time.Millisecond, "the server does not answer")
}

// kill ends the server with no time to finish anything.
func (p *plant) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// stop ends the server and its kernels as a user does.
func (p *plant) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait()
}

// hostPID is the process of the kernel host, the parent of a kernel's process.
func (p *plant) hostPID(kernelPID int) int {
	p.t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", kernelPID))
	require.NoError(p.t, err)
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	ppid, err := strconv.Atoi(fields[1])
	require.NoError(p.t, err)
	return ppid
}

var client = &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}

// ask sends a request; its answer is decoded into v. A status below 100 says that no answer came.
func (p *plant) ask(ctx context.Context, method, path string, body, v any) (status int) {
	raw, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+p.addr+"/"+path, bytes.NewReader(raw))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Authorization", "token "+token)
	res, err := client.Do(req)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return 0 // the server died in the middle of it
	}
	if v != nil && res.StatusCode < 300 && json.Unmarshal(answer, v) != nil {
		return 0
	}
	return res.StatusCode
}

// must is ask for what has to succeed.
func (p *plant) must(method, path string, body, v any) {
	p.t.Helper()
	status := p.ask(p.t.Context(), method, path, body, v)
	require.True(p.t, status >= 200 && status < 300, "%s %s: %d", method, path, status)
}

// model is a session as this package reads it.
type model struct {
	ID     string `json:"id"`
	Path   string `json:"path"`
	Kernel struct {
		ID     string `json:"id"`
		State  string `json:"execution_state"`
		Reason string `json:"reason"`
	} `json:"kernel"`
}

func session(path string) map[string]any {
	return map[string]any{"path": path, "type": "notebook", "kernel": map[string]any{"name": "synth"}}
}
