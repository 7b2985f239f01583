package kernel_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

// requireSandbox skips where kernels cannot be confined, and fails where NBSERV_REQUIRE_SANDBOX says they can.
func requireSandbox(t *testing.T) {
	t.Helper()
	if err := kernel.CheckSandbox(t.Context(), os.Getenv("PATH")); err != nil {
		require.Empty(t, os.Getenv("NBSERV_REQUIRE_SANDBOX"), "a sandbox is required: %v", err)
		t.Skipf("kernels cannot be confined here: %v", err)
	}
}

// confined starts a kernel in a sandbox.
func (f *fixture) confined(spec string, change func(*kernel.StartOptions)) (id string, box *kernel.Sandbox) {
	f.t.Helper()
	box = &kernel.Sandbox{Folder: f.t.TempDir(), Mount: "/mnt/data", Home: f.t.TempDir()}
	o := kernel.StartOptions{Spec: spec, Sandbox: box}
	if change != nil {
		change(&o)
	}
	s, err := f.Start(f.t.Context(), o)
	require.NoError(f.t, err)
	return s.ID, box
}

// says runs code and gives what it printed; an error in it fails the test.
func (c *frontend) says(code string) string {
	c.t.Helper()
	list := c.until(ended(c.run(code)))
	for i, e := range list {
		if e.Message != nil && e.Message.Header.MsgType == "error" {
			c.t.Fatalf("%s: %v", code, content(c.t, list[i:i+1], "error"))
		}
	}
	var text strings.Builder
	for i, e := range list {
		if e.Message == nil || e.Message.Header.MsgType != "stream" {
			continue
		}
		if m := content(c.t, list[i:i+1], "stream"); m["name"] == "stdout" {
			text.WriteString(m["text"].(string))
		}
	}
	return text.String()
}

func TestConfinedPython(t *testing.T) {
	requireSandbox(t)
	f := realFixture(t, "python3")
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("s3cret"), 0o600))
	t.Setenv("NBSERV_TOKEN", "s3cret")
	id, box := f.confined("python3", nil)
	other, _ := f.confined("python3", nil)
	c := f.attach(id)

	t.Run("sees its folder as its own", func(t *testing.T) {
		require.Equal(t, "/mnt/data", c.says("import os; print(os.getcwd(), end='')"))
		c.says("open('/mnt/data/a.txt', 'w').write('héllo')")
		text, err := os.ReadFile(filepath.Join(box.Folder, "a.txt"))
		require.NoError(t, err)
		require.Equal(t, "héllo", string(text))
		require.NoError(t, os.WriteFile(filepath.Join(box.Folder, "b.txt"), []byte("from outside"), 0o600))
		require.Equal(t, "from outside", c.says("os.chdir('/mnt/data'); print(open('b.txt').read(), end='')"))
	})
	t.Run("sees nothing of the server's and of others", func(t *testing.T) {
		for _, path := range []string{secret, filepath.Dir(secret), box.Folder, "/etc/shadow", "/root/.ssh", "/sys", "/var", "/boot"} {
			require.Equal(t, "False", c.says("print(os.path.exists("+quote(path)+"), end='')"), path)
		}
		// Of /tmp it sees its own connection's folder, and what it runs, should that be there.
		require.Equal(t, "[]", c.says(`import sys
from ipykernel.connect import get_connection_file
connection = os.path.dirname(get_connection_file())
needed = {p.split('/')[2] for p in (connection, sys.prefix, sys.base_prefix, `+quote(specDir(t, "python3"))+`) if p.startswith('/tmp/')}
print([d for d in os.listdir('/tmp') if d not in needed], end='')`))
		require.Equal(t, "1", c.says("print(len(os.listdir(os.path.dirname(connection))), end='')"))
		require.NotContains(t, c.says("print(dict(os.environ))"), "s3cret")
		require.NotContains(t, c.says("print(open('/proc/1/environ').read())"), "s3cret")
		st, err := f.Get(other)
		require.NoError(t, err)
		require.True(t, st.Alive())
		// Its own process numbers: the first is bubblewrap, nobody else's are there.
		require.NotContains(t, c.says("print([open(f'/proc/{p}/cmdline').read() for p in os.listdir('/proc') if p.isdigit()])"), other)
	})
	t.Run("cannot change the system", func(t *testing.T) {
		for _, path := range []string{"/x", "/usr/x", "/etc/x", "/dev/x", "/mnt/x", "/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches"} {
			require.Equal(t, "no", c.says("try:\n    open("+quote(path)+", 'w'); print('yes', end='')\nexcept OSError: print('no', end='')"), path)
		}
		require.Contains(t, c.says("print(open('/proc/self/status').read())"), "CapEff:\t0000000000000000")
		require.NotEqual(t, "0", c.says("print(os.getuid(), end='')"))
		require.NotContains(t, c.says("import subprocess; print(subprocess.run(['unshare', '-Ur', 'id'], capture_output=True).stdout.decode())"), "uid=0")
	})
	t.Run("has no network", func(t *testing.T) {
		require.Equal(t, "lo", c.says("import socket; print(*[n for _, n in socket.if_nameindex()], end='')"))
		require.Equal(t, "no", c.says("try:\n    socket.create_connection(('192.0.2.1', 80), 3); print('yes', end='')\nexcept OSError: print('no', end='')"))
		require.Equal(t, "no", c.says("try:\n    socket.getaddrinfo('example.com', 80); print('yes', end='')\nexcept OSError: print('no', end='')"))
	})
	t.Run("is interrupted", func(t *testing.T) {
		run := c.run("import time\nprint('go', flush=True)\ntry:\n    time.sleep(60)\nfinally:\n    print('stopped')")
		c.until(func(e kernel.Entry) bool { return e.Message != nil && e.Message.Header.MsgType == "stream" })
		require.NoError(t, f.Interrupt(t.Context(), id))
		list := c.until(ended(run))
		require.Equal(t, "KeyboardInterrupt", content(t, list, "error")["ename"])
		require.Equal(t, "7", c.says("print(7, end='')"))
	})
	t.Run("has little memory to fill", func(t *testing.T) {
		require.Equal(t, "28", c.says("try:\n    open('/tmp/big', 'wb').write(bytes(300 << 20)); print('all', end='')\nexcept OSError as e: print(e.errno, end='')"))
	})
	t.Run("is restarted and keeps its folder", func(t *testing.T) {
		require.NoError(t, f.Restart(t.Context(), id))
		require.Equal(t, "True", c.says("import os; print(os.path.exists('/mnt/data/a.txt'), end='')"))
	})
	t.Run("leaves nothing", func(t *testing.T) {
		c.says("import subprocess; subprocess.run(['setsid', '--fork', 'sleep', '987654'], env={})")
		require.Eventually(t, func() bool { return len(pidsOf(t, "987654")) > 0 }, patience, time.Millisecond)
		require.NoError(t, f.Shutdown(t.Context(), id))
		require.Empty(t, pidsOf(t, "987654"))
	})
}

func quote(s string) string { return "'" + s + "'" }

// specDir is the folder of an installed kernelspec.
func specDir(t *testing.T, name string) string {
	t.Helper()
	spec, err := kernel.NewSpecs(kernel.SpecsConfig{Environ: os.Environ()}).Find(name)
	require.NoError(t, err)
	return spec.Dir
}

// pidsOf are the processes with a word in their command line.
func pidsOf(t *testing.T, word string) (pids []string) {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, name := range names {
		line, _ := os.ReadFile(name)
		if strings.Contains(string(line), "\x00"+word+"\x00") {
			pids = append(pids, name)
		}
	}
	return pids
}

func TestConfinedViews(t *testing.T) {
	requireSandbox(t)
	f := realFixture(t, "python3")
	shown := t.TempDir()
	for _, name := range []string{"hidden/x", "file", "open"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(shown, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(shown, name), []byte("text"), 0o644))
	}
	id, box := f.confined("python3", func(o *kernel.StartOptions) {
		o.Sandbox.ReadOnly = []string{shown}
		o.Sandbox.Hide = []string{filepath.Join(shown, "hidden"), filepath.Join(shown, "file"), filepath.Join(shown, "missing"), "/elsewhere"}
		o.Sandbox.Mount = ""
	})
	c := f.attach(id)
	require.Equal(t, box.Folder, c.says("import os; print(os.getcwd(), end='')"))
	c.says("os.chdir('" + shown + "')")
	require.Equal(t, "['file', 'hidden', 'open'] [] text", c.says("print(sorted(os.listdir()), os.listdir('hidden'), open('open').read(), end='')"))
	require.Equal(t, "no", c.says("try:\n    open('file'); print('yes', end='')\nexcept OSError: print('no', end='')"))
}

// A virtual environment below /tmp, which is the sandbox's own, is seen all the same, and nothing beside it.
func TestConfinedInterpreterBelowTmp(t *testing.T) {
	requireSandbox(t)
	realFixture(t, "python3") // skips where there is none
	base, err := kernel.NewSpecs(kernel.SpecsConfig{Environ: os.Environ()}).Find("python3")
	require.NoError(t, err)
	dir, err := os.MkdirTemp("/tmp", "venv")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	venv := filepath.Join(dir, "venv")
	out, err := exec.CommandContext(t.Context(), base.Argv[0], "-m", "venv", "--without-pip", venv).CombinedOutput()
	require.NoError(t, err, "%s", out)
	packages, err := exec.CommandContext(t.Context(), base.Argv[0], "-c", "import os, ipykernel; print(os.path.dirname(os.path.dirname(ipykernel.__file__)), end='')").Output()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "beside"), []byte("x"), 0o600))
	spec := filepath.Join(dir, "kernels", "below-tmp")
	require.NoError(t, os.MkdirAll(spec, 0o755))
	text, err := json.Marshal(map[string]any{
		"argv":         []string{filepath.Join(venv, "bin", "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"},
		"display_name": "Below", "language": "python", "env": map[string]string{"PYTHONPATH": string(packages)},
	})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(spec, "kernel.json"), text, 0o600))
	t.Setenv("JUPYTER_PATH", dir)

	f := realFixture(t, "below-tmp")
	id, _ := f.confined("below-tmp", func(o *kernel.StartOptions) { o.Sandbox.ReadOnly = []string{string(packages)} })
	c := f.attach(id)
	require.Equal(t, venv, c.says("import os, sys; print(sys.prefix, end='')"))
	require.Equal(t, "['kernels', 'venv']", c.says("print(sorted(os.listdir("+quote(dir)+")), end='')"))
}

func TestConfinedBash(t *testing.T) {
	requireSandbox(t)
	f := realFixture(t, "bash")
	id, _ := f.confined("bash", func(o *kernel.StartOptions) { o.Sandbox.Home = "" })
	c := f.attach(id)
	require.Equal(t, "/mnt/data /home/session\n", strings.ReplaceAll(c.says(`echo "$PWD $HOME"`), "\r", ""))
	require.Equal(t, "1\n", strings.ReplaceAll(c.says(`grep -c : /proc/net/dev`), "\r", ""))
	run := c.run("sleep 60")
	f.waitState(id, "busy")
	require.NoError(t, f.Interrupt(t.Context(), id))
	c.until(ended(run))
}

func TestConfinedDisk(t *testing.T) {
	requireSandbox(t)
	f := realFixture(t, "python3")
	id, _ := f.confined("python3", func(o *kernel.StartOptions) { o.Sandbox.DiskBytes = 8 << 20 })
	c := f.attach(id)
	require.Equal(t, "27", c.says("try:\n    open('big', 'wb').write(bytes(9 << 20)); print('all', end='')\nexcept OSError as e: print(e.errno, end='')"))
	c.says("import os; os.remove('big')")
	const fill = "import time\nfor i in range(10000):\n    open(f'f{i}', 'wb').write(bytes(1 << 20)); time.sleep(0.02)"
	list := c.until(ended(c.run(fill)))
	require.Equal(t, "KeyboardInterrupt", content(t, list, "error")["ename"])
	c.says("import os\nfor n in os.listdir(): os.remove(n)")
	const stubborn = "while True:\n    try:\n        for i in range(i, 10000):\n            open(f'g{i}', 'wb').write(bytes(1 << 20)); time.sleep(0.02)\n    except KeyboardInterrupt: pass"
	list = c.until(ended(c.run(stubborn)))
	require.Contains(t, content(t, list, "error")["evalue"], "disk", "P12")
}

// A confined kernel's death is told as that of any other is.
func TestConfinedDeath_P12(t *testing.T) {
	requireSandbox(t)
	f := realFixture(t, "python3")
	id, _ := f.confined("python3", nil)
	c := f.attach(id)
	list := c.until(ended(c.run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")))
	require.Contains(t, content(t, list, "error")["evalue"], "SIGKILL")
	list = c.until(ended(c.run("import os; os._exit(7)")))
	require.Contains(t, content(t, list, "error")["evalue"], "exit code 7")
}

func TestSandboxRuntime(t *testing.T) {
	f := realFixture(t, "python3")
	seen := filepath.Join(t.TempDir(), "seen")
	id, box := f.confined("python3", func(o *kernel.StartOptions) {
		o.Sandbox.Runtime = []string{"/bin/sh", "-c", `echo "$0 $1 $2 $3" > ` + seen + `; cd "$0"; shift 3; exec "$@"`,
			"{folder}", "{mount}", "{network}", "{connection_dir}"}
	})
	c := f.attach(id)
	require.Equal(t, box.Folder, c.says("import os; print(os.getcwd(), end='')"))
	text, err := os.ReadFile(seen)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(text), box.Folder+" /mnt/data none /"), string(text))
	run := c.run("import time; print('go', flush=True); time.sleep(60)")
	c.until(func(e kernel.Entry) bool { return e.Message != nil && e.Message.Header.MsgType == "stream" })
	require.NoError(t, f.Interrupt(t.Context(), id))
	c.until(ended(run))
}

func TestSandboxesThatMakeNoSense(t *testing.T) {
	for name, box := range map[string]*kernel.Sandbox{
		"no folder": {}, "relative": {Folder: "x"}, "root": {Folder: "/"}, "mount at root": {Folder: "/x", Mount: "/"},
		"relative mount": {Folder: "/x", Mount: "data"}, "relative view": {Folder: "/x", ReadOnly: []string{"y"}},
		"negative": {Folder: "/x", DiskBytes: -1}, "NUL": {Folder: "/x", Hide: []string{"/a\x00b"}},
	} {
		require.Equal(t, fault.Invalid, fault.KindOf(box.Validate()), name)
	}
	require.NoError(t, (*kernel.Sandbox)(nil).Validate())
	prov, err := kernel.NewLocal(kernel.LocalConfig{Environ: os.Environ()})
	require.NoError(t, err)
	tcp := kernel.Spec{Name: "x", Argv: []string{"/bin/true"}}
	_, err = prov.Launch(t.Context(), kernel.Launch{Spec: tcp, Cwd: "/", Sandbox: &kernel.Sandbox{Folder: t.TempDir()}})
	require.ErrorContains(t, err, "TCP")
	_, err = prov.Launch(t.Context(), kernel.Launch{Spec: tcp, Cwd: "/", Sandbox: &kernel.Sandbox{Folder: t.TempDir(), Runtime: []string{"nbserv-no-such-runtime"}}})
	require.Equal(t, fault.Unstartable, fault.KindOf(err))
	require.Error(t, kernel.CheckSandbox(t.Context(), "/nonexistent"))
}
