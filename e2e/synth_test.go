package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel/kerneltest"
)

// synth is a server whose kernels are the synthkernel program: each starts in milliseconds and does as told.
type synth struct {
	*server
	data string // its kernelspecs are in kernels/
	tmp  string // its temporary folder, kernels' runtime folders included
	mark string // a variable that every process of its kernels inherits
}

// startSynth runs a server with the kernelspec "synth" as its default.
func startSynth(t *testing.T, args ...string) *synth {
	t.Helper()
	s := prepareSynth(t, args...)
	s.run()
	return s
}

// prepareSynth is startSynth without the start.
func prepareSynth(t *testing.T, args ...string) *synth {
	t.Helper()
	tmp, err := os.MkdirTemp("", "e") // short: it will hold unix sockets
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(tmp) })
	s := &synth{data: t.TempDir(), tmp: tmp, mark: fmt.Sprintf("E2E_MARK=%d-%s", os.Getpid(), filepath.Base(tmp))}
	t.Cleanup(s.killKernels) // after the server's end
	s.server = prepare(t, append([]string{"--default-kernel=synth"}, args...)...)
	home := t.TempDir()
	s.env = []string{"JUPYTER_PATH=" + s.data, "HOME=" + home, "JUPYTER_DATA_DIR=", "JUPYTER_CONFIG_DIR=" + home, "TMPDIR=" + tmp, s.mark}
	kerneltest.WriteSpec(t, s.data, "synth", nil)
	return s
}

// wrapSpec writes a kernelspec that runs synthkernel from a shell script, in which exec_kernel starts it.
func (s *synth) wrapSpec(name, script string) {
	s.t.Helper()
	program := kerneltest.BuildProgram(s.t)
	script = strings.ReplaceAll(script, "exec_kernel", `exec "$0" -f "$1"`)
	kerneltest.WriteSpec(s.t, s.data, name, map[string]any{"argv": []string{"sh", "-c", script, program, "{connection_file}"}})
}

// badSpec writes a kernelspec whose kernel misbehaves by its arguments.
func (s *synth) badSpec(name string, args ...string) {
	s.t.Helper()
	kerneltest.WriteSpec(s.t, s.data, name, nil, args...)
}

// resource writes a file beside a kernelspec's kernel.json.
func (s *synth) resource(spec, name, content string) {
	s.t.Helper()
	require.NoError(s.t, os.WriteFile(filepath.Join(s.data, "kernels", spec, name), []byte(content), 0o644))
}

// session is what this package reads of a session's model.
type session struct {
	ID     string `json:"id"`
	Path   string `json:"path"`
	Name   string `json:"name"`
	Type   string `json:"type"`
	Kernel struct {
		ID             string `json:"id"`
		Name           string `json:"name"`
		ExecutionState string `json:"execution_state"`
		Reason         string `json:"reason"`
	} `json:"kernel"`
}

// create makes a session with a kernel of a kernelspec.
func (s *synth) create(path, spec string) session {
	s.t.Helper()
	var made session
	resp := s.call("POST", "api/sessions", map[string]any{
		"path": path, "type": "notebook", "kernel": map[string]any{"name": spec}}, &made)
	require.Equal(s.t, 201, resp.StatusCode, path)
	return made
}

// metric reads the sum of a metric's series that have all the given labels, written name="value".
func (s *server) metric(name string, labels ...string) float64 {
	s.t.Helper()
	a, err := s.ask("GET", "metrics", nil, s.bearer())
	require.NoError(s.t, err)
	sum, found := 0.0, false
	for line := range strings.Lines(string(a.body)) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		base, rest, _ := strings.Cut(series, "{")
		if base != name || !containsAll(rest, labels) {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		require.NoError(s.t, err)
		sum, found = sum+v, true
	}
	require.True(s.t, found, "no metric %s %v", name, labels)
	return sum
}

func containsAll(text string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(text, p) {
			return false
		}
	}
	return true
}

// process is one that this server's kernels have left running, as Linux shows it.
type process struct {
	pid     int
	cmdline string
	environ string
}

var procFolder = regexp.MustCompile(`^/proc/\d+$`)

// processes lists the living processes of the kernels, grandchildren included, by the mark in their environment.
func (s *synth) processes() (list []process) {
	s.t.Helper()
	if runtime.GOOS != "linux" {
		s.t.Skip("it counts processes in /proc, which is Linux's")
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(s.t, err)
	for _, dir := range dirs {
		if !procFolder.MatchString(dir) {
			continue
		}
		environ, err := os.ReadFile(dir + "/environ") // empty for a zombie
		if err != nil || !bytes.Contains(environ, []byte(s.mark+"\x00")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		require.NoError(s.t, err)
		if s.cmd != nil && pid == s.cmd.Process.Pid || pid == s.host() {
			continue
		}
		cmdline, err := os.ReadFile(dir + "/cmdline")
		look := bytes.HasSuffix(cmdline, []byte("\x00/usr/bin/env\x00true\x00")) // a starting server's, whether bubblewrap works
		if err == nil && len(cmdline) > 0 && !look {
			list = append(list, process{pid, strings.ReplaceAll(string(cmdline), "\x00", " "), string(environ)})
		}
	}
	return list
}

// kernelProcess is the process of one kernel, found by its connection file.
func (s *synth) kernelProcess(kernelID string) process {
	s.t.Helper()
	for _, p := range s.processes() {
		if strings.Contains(p.cmdline, kernelID) && !strings.HasPrefix(p.cmdline, "sh ") {
			return p
		}
	}
	require.FailNow(s.t, "no process", "of kernel %s", kernelID)
	return process{}
}

// killKernels ends what a server that was killed has left, process by process.
func (s *synth) killKernels() {
	if runtime.GOOS != "linux" {
		return
	}
	for _, p := range s.processes() {
		_ = syscall.Kill(p.pid, syscall.SIGKILL)
	}
	s.removeCgroups()
}

// eventually waits until what holds.
func (s *server) eventually(what func() bool, msgAndArgs ...any) {
	s.t.Helper()
	require.Eventually(s.t, what, patience, 10*time.Millisecond, msgAndArgs...)
}
