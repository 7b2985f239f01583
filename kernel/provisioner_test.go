package kernel

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
)

const (
	patience = 60 * time.Second
	waitTick = 2 * time.Millisecond
)

func newLocal(t testing.TB, environ ...string) *Local {
	t.Helper()
	l, err := NewLocal(LocalConfig{Environ: append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, environ...)})
	require.NoError(t, err)
	return l
}

// shell is a kernelspec whose kernel is a shell script; what it does in its working folder tests can see.
func shell(script string) Spec {
	return Spec{Name: "sh", Argv: []string{"/bin/sh", "-c", script}}
}

// launch starts a shell script as a kernel in a folder of its own and ends its tree after the test.
func launch(t testing.TB, l *Local, script string) (p Process, dir string) {
	t.Helper()
	dir = t.TempDir()
	p, err := l.Launch(t.Context(), Launch{KernelID: "id", Spec: shell(script), Cwd: dir})
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Kill() })
	return p, dir
}

func waitDone(t testing.TB, p Process) Exit {
	t.Helper()
	select {
	case <-p.Done():
		return p.Exit()
	case <-time.After(patience):
		t.Fatal("the process does not end")
		return Exit{}
	}
}

// waitFile waits for a file with a whole line and gives its text.
func waitFile(t testing.TB, parts ...string) string {
	t.Helper()
	var text []byte
	require.Eventually(t, func() bool {
		text, _ = os.ReadFile(filepath.Join(parts...))
		return strings.HasSuffix(string(text), "\n")
	}, patience, waitTick, parts)
	return strings.TrimSpace(string(text))
}

func waitPID(t testing.TB, parts ...string) int {
	t.Helper()
	pid, err := strconv.Atoi(waitFile(t, parts...))
	require.NoError(t, err)
	return pid
}

func TestCommandTemplates(t *testing.T) {
	dir := t.TempDir()
	exe := touch(t, filepath.Join(dir, "bin", "prog"), "#!/bin/sh\n")
	l := localWith(map[string]string{"HOME": "/h", "PATH": filepath.Dir(exe)})
	spec := Spec{Name: "x", Dir: "/specs/x", Prefix: "/p", Argv: []string{
		"prog", "-f", "{connection_file}", "{resource_dir}/a.jar", "--at={prefix}", "{unknown} {} {{connection_file}}", "~/b", "a~/b", "~",
	}}
	argv, path, err := l.command(Launch{Spec: spec, ConnectionFile: "/run/{prefix}.json"})
	require.NoError(t, err)
	require.Equal(t, exe, path)
	require.Equal(t, []string{
		"prog", "-f", "/run/{prefix}.json", "/specs/x/a.jar", "--at=/p", "{unknown} {} {/run/{prefix}.json}", "/h/b", "a~/b", "/h",
	}, argv)
	require.Equal(t, "{connection_file}", spec.Argv[2], "the kernelspec is not changed")

	for name, want := range map[string]string{"python": exe, "python3": exe, "python3.12": exe, "prog": "prog"} {
		argv, path, err = l.command(Launch{Spec: Spec{Argv: []string{name}, Python: exe}})
		require.NoError(t, err)
		require.Equal(t, want, argv[0])
		require.Equal(t, exe, path)
	}
}

func TestCannotStart(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	require.NoError(t, os.WriteFile(plain, []byte("x"), 0o644))
	badInterpreter := touch(t, filepath.Join(dir, "bad-interpreter"), "#!/nonexistent/interpreter\n")
	noFormat := touch(t, filepath.Join(dir, "no-format"), "\x01\x02\x03")
	l := newLocal(t)
	for name, c := range map[string]struct {
		spec Spec
		cwd  string
		say  string
	}{
		"no such command":  {Spec{Name: "x", Argv: []string{"no-such-command-nbserv"}}, dir, "no-such-command-nbserv"},
		"no such file":     {Spec{Name: "x", Argv: []string{"/nonexistent/prog"}}, dir, "/nonexistent/prog"},
		"not executable":   {Spec{Name: "x", Argv: []string{plain}}, dir, "not executable"},
		"a folder":         {Spec{Name: "x", Argv: []string{dir}}, dir, "not executable"},
		"bad interpreter":  {Spec{Name: "x", Argv: []string{badInterpreter}}, dir, "interpreter"},
		"no program":       {Spec{Name: "x", Argv: []string{noFormat}}, dir, "neither a program"},
		"empty argv":       {Spec{Name: "x"}, dir, "argv is empty"},
		"empty command":    {Spec{Name: "x", Argv: []string{""}}, dir, "command"},
		"zero byte":        {Spec{Name: "x", Argv: []string{"/bin/sh", "a\x00b"}}, dir, "/bin/sh"},
		"too long":         {Spec{Name: "x", Argv: []string{"/bin/sh", "-c", strings.Repeat("x", 4<<20)}}, dir, "too large"},
		"missing folder":   {shell("exit"), filepath.Join(dir, "missing"), "working folder"},
		"folder is a file": {shell("exit"), plain, "working folder"},
		"relative folder":  {shell("exit"), ".", "working folder"},
	} {
		_, err := l.Launch(t.Context(), Launch{Spec: c.spec, Cwd: c.cwd})
		require.Equal(t, fault.Unstartable, fault.KindOf(err), "%s: %v", name, err)
		require.Contains(t, fault.Message(err), c.say, name)
	}
	_, err := l.Launch(t.Context(), Launch{Spec: shell("exit"), Env: map[string]string{"LD_PRELOAD": "x"}})
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = l.Launch(ctx, Launch{Spec: shell("exit")})
	require.ErrorIs(t, err, context.Canceled)
}

func TestKernelSeesNoSecret_S6(t *testing.T) {
	// A descriptor as a supervisor hands one down: open across exec.
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	leaked, err := syscall.Dup(int(r.Fd()))
	require.NoError(t, err)
	defer syscall.Close(leaked)

	l := newLocal(t, "NBSERV_TOKEN=s3cret", "JUPYTER_TOKEN=s3cret", "FINE=yes")
	dir := t.TempDir()
	c, err := NewConnection(shortDir(t), "id", "sh", IPC)
	require.NoError(t, err)
	defer c.Close()
	spec := shell(`env > env; ls /dev/fd > fds; printf '%s\n' "$@" > args; readlink /dev/fd/0 > stdin; exit 0`)
	spec.Argv = append(spec.Argv, "sh", "{connection_file}")
	p, err := l.Launch(t.Context(), Launch{KernelID: "id", Spec: spec, ConnectionFile: c.File, Release: c.Release, Cwd: dir, Env: map[string]string{"KERNEL_X": "$(id) ${HOME}"}})
	require.NoError(t, err)
	require.Zero(t, waitDone(t, p).Code)

	env := waitFile(t, dir, "env")
	require.NotContains(t, env, "s3cret")
	require.NotContains(t, env, c.Info.Key)
	require.NotContains(t, env, "JPY_PARENT_PID")
	require.Contains(t, env, "FINE=yes")
	require.Contains(t, env, "KERNEL_X=$(id) ${HOME}", "S11: data")
	require.Contains(t, env, "NBSERV_KERNEL_ID=id")
	require.Equal(t, c.File, waitFile(t, dir, "args"))
	fds := strings.Fields(waitFile(t, dir, "fds")) // 0, 1, 2 and that of ls itself
	require.LessOrEqual(t, len(fds), 4, "descriptors reach the kernel: %v", fds)
	require.Equal(t, "/dev/null", waitFile(t, dir, "stdin"))
}

func TestClientsPathDoesNotChooseTheProgram_S11(t *testing.T) {
	good, evil := t.TempDir(), t.TempDir()
	touch(t, filepath.Join(good, "prog"), "#!/bin/sh\necho \"$PATH\" > path\n")
	touch(t, filepath.Join(evil, "prog"), "#!/bin/sh\necho evil > path\n")
	l, err := NewLocal(LocalConfig{Environ: []string{"PATH=" + good}})
	require.NoError(t, err)
	dir := t.TempDir()
	p, err := l.Launch(t.Context(), Launch{Spec: Spec{Argv: []string{"prog"}}, Cwd: dir, Env: map[string]string{"PATH": evil}})
	require.NoError(t, err)
	waitDone(t, p)
	require.Equal(t, evil, waitFile(t, dir, "path"))
}

func TestProcessOutlivesItsRequest(t *testing.T) {
	l := newLocal(t)
	ctx, cancel := context.WithCancel(t.Context())
	dir := t.TempDir()
	p, err := l.Launch(ctx, Launch{Spec: shell(`echo > ready; while [ ! -e go ]; do sleep 0.01; done; exit 4`), Cwd: dir})
	require.NoError(t, err)
	waitFile(t, dir, "ready")
	cancel()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go"), nil, 0o600))
	require.Equal(t, 4, waitDone(t, p).Code)
}

// A server that a shell started in the background ignores SIGINT. Its kernels must not.
func TestKernelTakesInterruptsUnderNohup(t *testing.T) {
	if os.Getenv("NBSERV_TEST_CHILD") == "" {
		runSelf(t, `trap "" INT; exec "$@"`, "NBSERV_TEST_CHILD=1")
		return
	}
	l := newLocal(t)
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGINT), "the server itself goes on ignoring it")
	p, dir := launch(t, l, `trap 'echo yes > interrupted; exit 7' INT; echo > ready; while :; do sleep 0.01; done`)
	waitFile(t, dir, "ready")
	require.NoError(t, p.Interrupt())
	require.Equal(t, 7, waitDone(t, p).Code)
}

// runSelf runs the calling test in a process of its own, under a shell script that gets the command as "$@".
func runSelf(t *testing.T, script string, env ...string) string {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command("/bin/sh", "-c", script, "sh", self, "-test.run=^"+t.Name()+"$", "-test.count=1")
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}
