package main_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nbserv/nbserv/kernel/kerneltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const deadline = 60 * time.Second

// requirePython finds a Python that has jupyter_client.
func requirePython(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"python3", "python"} {
		path, err := exec.LookPath(name)
		if err == nil && exec.Command(path, "-c", "import jupyter_client").Run() == nil {
			return path
		}
	}
	t.Skip("no python on the PATH has jupyter_client")
	return ""
}

// A real client takes the program for a kernel, over both transports and both ways to interrupt.
func TestJupyterClientDrivesIt(t *testing.T) {
	python := requirePython(t)
	for _, mode := range []struct{ transport, interrupt string }{{"tcp", "signal"}, {"ipc", "message"}} {
		t.Run(mode.transport+" "+mode.interrupt, func(t *testing.T) {
			data := t.TempDir()
			kerneltest.WriteSpec(t, data, "synth", map[string]any{"interrupt_mode": mode.interrupt})
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			cmd := exec.CommandContext(ctx, python, filepath.Join("testdata", "client.py"))
			runtimeDir, err := os.MkdirTemp("", "r") // short: it holds unix sockets
			require.NoError(t, err)
			defer os.RemoveAll(runtimeDir)
			cmd.Env = append(os.Environ(), "JUPYTER_PATH="+data, "JUPYTER_RUNTIME_DIR="+runtimeDir,
				"SYNTH_TRANSPORT="+mode.transport)
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.Equal(t, []string{"kernel_info", "execute", "input", "buffers", "interrupt", "heartbeat", "restart", "shutdown"},
				strings.Fields(string(out)), "%s", out)
		})
	}
}

// start runs the program on a connection file of its own until the test ends.
func start(t testing.TB, o kerneltest.Options, args ...string) (cmd *exec.Cmd, file string) {
	t.Helper()
	file = kerneltest.WriteConnectionFile(t, o)
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	t.Cleanup(cancel)
	cmd = exec.CommandContext(ctx, kerneltest.BuildProgram(t), append([]string{"-f", file}, args...)...)
	cmd.Stderr = new(strings.Builder)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd, file
}

// waitBound waits until the program chose its ports and wrote them down, and gives the connection file's fields.
func waitBound(t testing.TB, file string) map[string]any {
	t.Helper()
	var fields map[string]any
	require.Eventually(t, func() bool {
		b, err := os.ReadFile(file)
		return err == nil && json.Unmarshal(b, &fields) == nil && fields["hb_port"] != 0.0
	}, deadline, time.Millisecond)
	return fields
}

func TestDeadAtStartSaysWhy(t *testing.T) {
	cmd, _ := start(t, kerneltest.Options{}, "-startup", "dead")
	require.ErrorContains(t, cmd.Wait(), "exit status 1")
	require.Contains(t, cmd.Stderr.(*strings.Builder).String(), "told to die")
}

func TestTermEndsIt(t *testing.T) {
	cmd, file := start(t, kerneltest.Options{})
	waitBound(t, file)
	for range 100 {
		require.NoError(t, cmd.Process.Signal(syscall.SIGINT)) // interrupts nothing
	}
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.ErrorContains(t, cmd.Wait(), "signal: terminated")
}
