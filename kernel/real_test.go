package kernel_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
)

// realFixture is a Manager of real kernels; the test is skipped where the kernelspec is not installed, and
// fails where NBSERV_REQUIRE_KERNELS says that it must be.
func realFixture(t *testing.T, spec string) *fixture {
	t.Helper()
	return realFixtureWith(t, spec, kernel.Config{}, kernel.LocalConfig{})
}

func realFixtureWith(t *testing.T, spec string, cfg kernel.Config, local kernel.LocalConfig) *fixture {
	t.Helper()
	specs := kernel.NewSpecs(kernel.SpecsConfig{Environ: os.Environ()})
	if _, err := specs.Find(spec); err != nil {
		for required := range strings.SplitSeq(os.Getenv("NBSERV_REQUIRE_KERNELS"), ",") {
			require.NotEqual(t, spec, strings.TrimSpace(required), "kernel %s is required", spec)
		}
		t.Skipf("kernel %s is not installed", spec)
	}
	local.Environ = os.Environ()
	prov, err := kernel.NewLocal(local)
	require.NoError(t, err)
	t.Cleanup(prov.Close)
	dir, err := os.MkdirTemp("", "r")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	f := &fixture{t: t}
	cfg.RuntimeDir, cfg.RootDir = dir, t.TempDir()
	f.Manager = kernel.NewManager(cfg, specs, prov, nil)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		require.NoError(t, f.Close(ctx))
	})
	return f
}

func (f *fixture) startReal(spec string) string {
	f.t.Helper()
	s, err := f.Start(f.t.Context(), kernel.StartOptions{Spec: spec})
	require.NoError(f.t, err)
	return s.ID
}

// stdout joins what was printed.
func stdout(t *testing.T, list []kernel.Entry) string {
	t.Helper()
	var text strings.Builder
	for i, e := range list {
		if e.Message != nil && e.Message.Header.MsgType == "stream" {
			text.WriteString(fmt.Sprint(content(t, list[i:i+1], "stream")["text"]))
		}
	}
	return text.String()
}

func TestRealKernels(t *testing.T) {
	for _, k := range []struct {
		spec, print, fail, loop, ename string
	}{
		{"python3", "print(6*7)", "1/0", "import time\ntime.sleep(60)", "ZeroDivisionError"},
		{"ir", "cat(6*7)", "stop('no')", "Sys.sleep(60)", ""},
		{"bash", "echo $((6*7))", "", "sleep 60", ""},
	} {
		t.Run(k.spec, func(t *testing.T) {
			f := realFixture(t, k.spec)
			id := f.startReal(k.spec)
			c := f.attach(id)
			require.Contains(t, stdout(t, c.until(ended(c.run(k.print)))), "42")
			f.waitState(id, "idle")
			if k.fail != "" {
				failed := c.until(ended(c.run(k.fail)))
				require.Equal(t, "error", content(t, failed, "execute_reply")["status"])
				if k.ename != "" {
					require.Equal(t, k.ename, content(t, failed, "error")["ename"])
				}
			}
			long := c.run(k.loop)
			c.until(func(e kernel.Entry) bool {
				return e.Message != nil && e.Message.Header.MsgType == "execute_input" && e.Message.Parent.MsgID == long.Header.MsgID
			})
			looks := 0
			require.Eventually(t, func() bool { // the first signal may come before the sleep begins
				if looks++; looks%20 == 1 { // but one that hits R between two executions ends it
					require.NoError(t, f.Interrupt(t.Context(), id))
				}
				s, err := f.Get(id)
				require.NoError(t, err)
				return s.ExecutionState == "idle"
			}, patience, 200*time.Millisecond)
			c.until(ended(long))
			require.NoError(t, f.Restart(t.Context(), id))
			require.Contains(t, stdout(t, c.until(ended(c.run(k.print)))), "42")
			require.NoError(t, f.Shutdown(t.Context(), id))
		})
	}
}

func TestPythonDeathIsExplainedAndTheNextProcessServes_P6_P12(t *testing.T) {
	f := realFixture(t, "python3")
	id := f.startReal("python3")
	c := f.attach(id)
	for code, want := range map[string]string{
		"import os; os._exit(7)":                                  "exit code 7",
		"import os, signal; os.kill(os.getpid(), signal.SIGKILL)": "SIGKILL",
	} {
		m := c.run("print('before', flush=True)\n" + code)
		all := c.until(ended(m))
		require.Contains(t, content(t, all, "error")["evalue"], want)
		require.Contains(t, stdout(t, c.until(ended(c.run("print(6*7)")))), "42")
	}
}

func TestPythonKeepsItsVariablesPerKernel(t *testing.T) {
	f := realFixture(t, "python3")
	a, b := f.attach(f.startReal("python3")), f.attach(f.startReal("python3"))
	a.until(ended(a.run("x = 1")))
	failed := b.until(ended(b.run("x")))
	require.Equal(t, "NameError", content(t, failed, "error")["ename"])
}

func TestPythonInputAndWidgets(t *testing.T) {
	f := realFixture(t, "python3")
	c := f.attach(f.startReal("python3"))
	m := c.run("print(input('name? '))")
	asked := c.until(func(e kernel.Entry) bool { return e.Message != nil && e.Message.Header.MsgType == "input_request" })
	require.Equal(t, "name? ", content(t, asked, "input_request")["prompt"])
	require.NoError(t, c.Send(request(t, kernel.Stdin, c.session, "input_reply", map[string]string{"value": "Grace"})))
	require.Contains(t, stdout(t, c.until(ended(m))), "Grace")
}

func TestPythonSubshellRunsBesideABusyShell(t *testing.T) {
	f := realFixture(t, "python3")
	id := f.startReal("python3")
	c := f.attach(id)
	c.until(ended(c.run("import time")))
	create := request(t, kernel.Control, c.session, "create_subshell_request", struct{}{})
	require.NoError(t, c.Send(create))
	made := content(t, c.until(ended(create)), "create_subshell_reply")
	long := c.run("time.sleep(60)")
	c.until(func(e kernel.Entry) bool { return state(e) == "busy" && e.Message.Parent.MsgID == long.Header.MsgID })

	header := fmt.Sprintf(`{"msg_id":%q,"msg_type":"execute_request","session":%q,"version":"5.5","subshell_id":%q}`,
		uuid.NewString(), c.session, made["subshell_id"])
	m, err := kernel.NewMessage(kernel.Shell, [4]json.RawMessage{json.RawMessage(header), json.RawMessage("{}"), json.RawMessage("{}"), json.RawMessage(`{"code":"print(6*7)"}`)}, nil)
	require.NoError(t, err)
	require.NoError(t, c.Send(m))
	require.Contains(t, stdout(t, c.until(ended(m))), "42")
	s, err := f.Get(id)
	require.NoError(t, err)
	require.Equal(t, "busy", s.ExecutionState, "the subshell's idle does not hide the busy shell")
	require.NoError(t, f.Interrupt(t.Context(), id))
	c.until(ended(long))
}
