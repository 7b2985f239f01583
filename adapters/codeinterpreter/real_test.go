package codeinterpreter

import (
	"encoding/base64"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
)

// python serves a pool of real, confined Pythons.
func python(t *testing.T, change func(*Config)) *server {
	t.Helper()
	m := realMachine(t, "python3")
	check := sandbox(t)
	return m.serve(func(c *Config) {
		c.Pools = []PoolConfig{{Name: "python", Kernel: "python3"}}
		c.CheckSandbox = check
		if change != nil {
			change(c)
		}
	})
}

// value runs code and gives what it came to, as the families since 2024-10-02 tell it.
func (s *server) value(identifier, code string) string {
	s.t.Helper()
	r := s.run(identifier, code)
	require.Equal(s.t, "Succeeded", r.Status, "%s: %s", code, r.Result.Stderr)
	return string(r.Result.ExecutionResult)
}

func TestPython(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("s3cret"), 0o600))
	t.Setenv("NBSERV_TOKEN", "s3cret")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
	s := python(t, nil)

	t.Run("values", func(t *testing.T) {
		for code, want := range map[string]string{
			"6*7": "42", "1.5": "1.5", "'héllo 🎉\\n'": `"héllo 🎉\n"`, "True": "true", "None": `""`, "x = 1": `""`, "2**100": "1267650600228229401496703205376",
			"float('nan')": `"nan"`, "[float('inf'), -float('inf')]": `["inf","-inf"]`, "{'a': (1, None)}": `{"a":[1,null]}`, "{1: 2}": `"{1: 2}"`,
			"object": `"object"`, "b'x'": `"b'x'"`, "'\\ud800'": `"'\\ud800'"`, "import numpy as np; np.float64(0.5)": "0.5", "import numpy as np; np.int8(3)": "3", "import numpy as np; np.arange(2)": `"array([0, 1])"`,
			"[1]*100000": "",
		} {
			got := s.value("values", code)
			if want != "" {
				require.JSONEq(t, want, got, code)
			}
		}
		require.JSONEq(t, `"values"`, s.value("values", "kept = 'values'; kept"))
		require.JSONEq(t, `"values"`, s.value("values", "kept"))
	})
	t.Run("plots", func(t *testing.T) {
		r := s.run("plots", "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()")
		p := decode[picture](t, string(r.Result.ExecutionResult))
		require.Equal(t, "image", p.Type)
		require.Equal(t, "png", p.Format)
		raw, err := base64.StdEncoding.DecodeString(p.Base64)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(string(raw), "\x89PNG"))
		require.Empty(t, r.Result.Stderr)
	})
	t.Run("errors", func(t *testing.T) {
		r := s.run("values", "print('before'); 1/0")
		require.Equal(t, "Failed", r.Status)
		require.Equal(t, "before\n", r.Result.Stdout)
		require.Contains(t, r.Result.Stderr, "ZeroDivisionError: division by zero")
		require.NotContains(t, r.Result.Stderr, "\x1b")
		require.Equal(t, "ZeroDivisionError: division by zero", r.Error.Message)
		// The very next one, at once.
		require.JSONEq(t, "7", s.value("values", "7"))
		for range 3 { // and behind a cell of JupyterLab's, after which the kernel aborts what it has been sent already
			r := s.behindAFailure("values", "import time; time.sleep(0.3); 1/0", "8")
			require.JSONEq(t, "8", string(r.Result.ExecutionResult), "%+v", r)
		}
		r = s.run("values", "this is no Python")
		require.Contains(t, r.Result.Stderr, "SyntaxError")
	})
	t.Run("timeout", func(t *testing.T) {
		r := s.execute("values", map[string]any{"code": "import time; time.sleep(60)", "timeoutInSeconds": 1})
		require.Equal(t, codeTimeout, r.Error.Code)
		require.JSONEq(t, `"values"`, s.value("values", "kept"))
	})
	t.Run("the first output is the code's own", func(t *testing.T) {
		r := s.run("first output", "1")
		require.Empty(t, r.Result.Stdout+r.Result.Stderr)
	})
	t.Run("files", func(t *testing.T) {
		require.Equal(t, http.StatusOK, s.uploadFile("values", "/mnt/data/in.txt", "from outside").code)
		require.JSONEq(t, `"from outside"`, s.value("values", "import os; os.chdir('/mnt/data'); open('in.txt').read()"))
		s.value("values", "os.makedirs('/mnt/data/sub', exist_ok=True); open('/mnt/data/sub/out.txt', 'w').write('from inside')")
		require.Equal(t, "from inside", s.ask("GET", "files/sub/out.txt/content?identifier=values&api-version=2025-10-02", "").body)
		require.JSONEq(t, `"/mnt/data"`, s.value("values", "os.getcwd()"))
	})
	t.Run("isolation", func(t *testing.T) {
		s.value("other", "open('/mnt/data/mine.txt', 'w').write('private'); x = 'private'")
		require.JSONEq(t, "false", s.value("values", "os.path.exists('/mnt/data/mine.txt') or 'private' in globals()"))
		for _, path := range []string{secret, s.dir, s.machine.db, "/etc/shadow", "/root", "/home/session/../../var"} {
			require.JSONEq(t, `"no"`, s.value("values", "try:\n    r = open('"+path+"').read() if not os.path.isdir('"+path+"') else os.listdir('"+path+"')\n"+
				"    r = 'yes' if r and '"+path+"' != '/root' else 'no'\nexcept OSError: r = 'no'\nr"), path)
		}
		require.JSONEq(t, "false", s.value("values", "'s3cret' in str(dict(os.environ)) + open('/proc/1/environ').read() + open('/proc/self/environ').read()"))
		require.JSONEq(t, `["lo"]`, s.value("values", "import socket; [n for _, n in socket.if_nameindex()]"))
		require.JSONEq(t, `"no"`, s.value("values", "try:\n    socket.getaddrinfo('example.com', 80); r = 'yes'\nexcept OSError: r = 'no'\nr"))
		require.JSONEq(t, `"no"`, s.value("values", "try:\n    socket.create_connection(('192.0.2.1', 80), 2); r = 'yes'\nexcept OSError: r = 'no'\nr"))
		require.JSONEq(t, `"no"`, s.value("values", reach(s.url)), "the server itself")
		// Other sessions' processes and sockets are not there.
		require.JSONEq(t, "1", s.value("values", "sum('ipykernel' in open(f'/proc/{p}/cmdline').read() and 'bwrap' not in open(f'/proc/{p}/cmdline').read() "+
			"for p in os.listdir('/proc') if p.isdigit())"))
		require.JSONEq(t, "1", s.value("values", "from ipykernel.connect import get_connection_file as mine; len(os.listdir(os.path.dirname(os.path.dirname(mine()))))"))
	})
	t.Run("shell commands", func(t *testing.T) {
		r := s.execute("values", map[string]any{"shellCommand": "cat; echo err >&2; exit 3", "stdin": "héllo\n"})
		require.Equal(t, "3", r.Status)
		require.Equal(t, "héllo\n", r.Result.Stdout)
		require.Equal(t, "err\n", r.Result.Stderr)
		r = s.execute("values", map[string]any{"shellCommand": "sleep 60", "timeoutInSeconds": 1})
		require.Equal(t, "124", r.Status)
		r = s.execute("values", map[string]any{"shellCommand": "kill -9 $$"})
		require.Equal(t, "137", r.Status)
	})
	t.Run("pictures for tools", func(t *testing.T) {
		c := s.tools()
		const id = "plots" // any session is an environment
		r := call1(t, c, "runPythonCodeInRemoteEnvironment", map[string]any{"environmentId": id,
			"pythonCode": "import matplotlib.pyplot as plt\nfor i in range(2):\n    plt.figure(); plt.plot([i]); plt.show()\n'drawn'"})
		require.Len(t, r.Content, 3)
		require.Equal(t, "drawn", r.StructuredContent.(map[string]any)["result"])
		r = call1(t, c, "runShellCommandInRemoteEnvironment", map[string]any{"environmentId": id, "shellCommand": "echo out; exit 4"})
		require.Equal(t, "4", r.StructuredContent.(map[string]any)["status"])
	})
	t.Run("metadata", func(t *testing.T) {
		m := decode[metadataAnswer](t, s.ask("GET", "metadata", "").body)
		require.Equal(t, "python", m.Runtimes[0].Name)
		require.Equal(t, "ipython", m.Kernel.Name)
		require.Contains(t, string(encode(m.Packages)), `"ipykernel"`)
		require.Equal(t, isolationBubblewrap, m.Pool.Isolation.Kind)
		require.False(t, m.Pool.Isolation.Network)
		require.NotZero(t, m.Pool.InForce.Disk)
		require.Equal(t, m.Pool.Limits.Memory, m.Pool.InForce.Memory)
	})
	t.Run("a restart by Jupyter's API", func(t *testing.T) {
		x, err := s.pools["python"].find("values")
		require.NoError(t, err)
		require.NoError(t, s.kernels.Restart(t.Context(), x.kernel()))
		require.JSONEq(t, `[false, "/mnt/data", 1.5]`, s.value("values", "['kept' in globals(), __import__('os').getcwd(), 1.5]"))
	})
}

// reach is code that tells whether a server on this machine can be reached.
func reach(url string) string {
	host, port, _ := strings.Cut(strings.TrimPrefix(url, "http://"), ":")
	return "import socket\ntry:\n    socket.create_connection(('" + host + "', " + port + "), 5).close(); r = 'yes'\nexcept OSError: r = 'no'\nr"
}

// What a pool allows and what it bounds.
func TestPythonLimits(t *testing.T) {
	s := python(t, func(c *Config) {
		c.Pools[0].Network = true
		c.Pools[0].Limits = kernel.Limits{MemoryBytes: 512 << 20, Processes: 40}
	})
	require.JSONEq(t, `"yes"`, s.value("limited", reach(s.url)), "the pool has the network")
	m := decode[metadataAnswer](t, s.ask("GET", "metadata", "").body)
	require.True(t, m.Pool.Isolation.Network)

	if m.Pool.InForce.Processes > 0 {
		r := s.run("limited", "import subprocess\nall = []\ntry:\n    for i in range(100): all.append(subprocess.Popen(['sleep', '60']))\n"+
			"finally:\n    for p in all: p.kill(); p.wait()")
		require.Contains(t, r.Result.Stderr, "BlockingIOError", "no more processes than the pool allows")
	}
	if m.Pool.InForce.Memory > 0 {
		r := s.run("limited", "x = b'x' * (1 << 30)")
		require.Equal(t, "Failed", r.Status)
		require.Regexp(t, "MemoryError|memory", r.Result.Stderr)
	}
	require.JSONEq(t, "7", s.value("limited", "7"), "the session can be used again")
}

// A session that fills its disk is stopped, and can be used again once it has made room.
func TestPythonDisk(t *testing.T) {
	s := python(t, func(c *Config) { c.Pools[0].Disk = 32 << 20 })
	r := s.run("full", "import time\nfor i in range(1000):\n    open(f'f{i}', 'wb').write(bytes(4 << 20)); time.sleep(0.05)")
	require.Equal(t, "Failed", r.Status)
	require.Contains(t, r.Result.Stderr, "KeyboardInterrupt")
	refused(t, s.uploadFile("full", "more.bin", "x"), http.StatusInsufficientStorage, "InsufficientStorage")
	s.value("full", "import os\nfor n in os.listdir(): os.remove(n)")
	require.Equal(t, http.StatusOK, s.uploadFile("full", "more.bin", "x").code)
}

// Without a sandbox: absolute paths below /mnt/data lead Python code to its own folder all the same.
func TestPythonUnconfined(t *testing.T) {
	s := realMachine(t, "python3").serve(func(c *Config) {
		c.Pools = []PoolConfig{{Name: "python", Kernel: "python3", Isolation: isolationNone}}
	})
	require.Equal(t, http.StatusOK, s.uploadFile("one.", "in.txt", "one").code)
	require.Equal(t, http.StatusOK, s.uploadFile("two.", "in.txt", "two").code)
	for _, id := range []string{"one", "two"} {
		for _, code := range []string{
			"open('/mnt/data/in.txt').read()", "import os; os.chdir('/mnt/data'); open('in.txt').read()", "import pathlib; pathlib.Path('/mnt/data/in.txt').read_text()",
			"import io; io.open('/mnt/data/in.txt', 'rb').read().decode()", "fd = os.open('/mnt/data/in.txt', os.O_RDONLY); os.read(fd, 9).decode()",
			"import numpy as np; np.save('/mnt/data/a.npy', [1]); np.load('/mnt/data/a.npy'); '" + id + "'",
		} {
			require.JSONEq(t, `"`+id+`"`, s.value(id+".", code), code)
		}
		require.JSONEq(t, `["a.npy", "in.txt"]`, s.value(id+".", "sorted(os.listdir('/mnt/data'))"))
		require.JSONEq(t, `["/mnt/data", true, false, 2]`, s.value(id+".", "[os.getcwd(), os.path.isfile('/mnt/data/in.txt'), os.path.exists('/mnt/data/none'), "+
			"len(list(os.walk('/mnt/data'))[0][2])]"))
		s.value(id+".", "os.makedirs('/mnt/data/x/y'); os.rename('/mnt/data/a.npy', '/mnt/data/x/b.npy'); os.remove('/mnt/data/x/b.npy'); import shutil; shutil.rmtree('/mnt/data/x')")
	}
	s.value("one.", "import matplotlib.pyplot as plt; plt.plot([1]); plt.savefig('/mnt/data/p.png'); plt.close()")
	m := decode[metadataAnswer](t, s.ask("GET", "metadata", "").body)
	require.Equal(t, isolationNone, m.Pool.Isolation.Kind)
	require.NotEmpty(t, m.Pool.Isolation.Reason)
	require.True(t, m.Pool.Isolation.Network)
	require.Zero(t, m.Pool.InForce.Disk)
}

func TestShell(t *testing.T) {
	m := realMachine(t, "bash")
	check := sandbox(t)
	s := m.serve(func(c *Config) {
		c.Pools = []PoolConfig{{Name: "shell", Kernel: "bash", Shell: true}}
		c.CheckSandbox = check
	})
	sh := func(command string) resource {
		return s.execute("shell session", map[string]any{"shellCommand": command})
	}
	for _, c := range []struct{ command, status, stdout, stderr string }{
		{"echo out; echo err >&2", "0", "out\n", "err\n"},
		{"cd /tmp; export A='b c'; f() { echo \"f $1\"; }", "0", "", ""},
		{"pwd; echo $A; f x", "0", "/tmp\nb c\nf x\n", ""},
		{"false", "1", "", ""},
		{"(exit 42)", "42", "", ""},
		{"if true; then\n  echo \"multi\n  line\"\nfi", "0", "multi\n  line\n", ""},
		{"echo 'it'\\''s' \"$((6*7))\" ünï !", "0", "it's 42 ünï !\n", ""},
		{"cat <<'EOF'\n$A `x`\nEOF", "0", "$A `x`\n", ""},
		{"echo " + strings.Repeat("x", 20000) + " | wc -c", "0", "20001\n", ""},
		{"echo trailing \\", "0", "trailing\n", ""},
		{"# nothing", "0", "", ""},
		{"", "0", "", ""},
		{"cat /mnt/data/up.txt", "1", "", "cat: /mnt/data/up.txt: No such file or directory\n"},
	} {
		r := sh(c.command)
		require.Equal(t, resource{ID: r.ID, Identifier: "shell session", ExecutionType: "Synchronous", Status: c.status,
			Result: &resourceResult{Stdout: c.stdout, Stderr: c.stderr, Milliseconds: r.Result.Milliseconds}}, r, c.command)
	}
	require.Equal(t, "2", sh("if then").Status, "a syntax error")
	require.Equal(t, http.StatusOK, s.uploadFile("shell+session", "up.txt", "up\n").code)
	require.Equal(t, "up\n", sh("cat /mnt/data/up.txt").Result.Stdout)
	r := s.execute("shell session", map[string]any{"shellCommand": "read a b; echo $b", "stdin": "1 2\n"})
	require.Equal(t, "2\n", r.Result.Stdout)
	r = s.execute("shell session", map[string]any{"execCommandAndArgs": []string{"printf", "%s|", "a b", "$A"}})
	require.Equal(t, "a b|$A|", strings.TrimSpace(r.Result.Stdout))
	r = s.execute("shell session", map[string]any{"shellCommand": "echo x; sleep 60", "timeoutInSeconds": 3})
	require.Equal(t, "124", r.Status)
	require.Equal(t, "x\n", strings.TrimRight(r.Result.Stdout, "\n")+"\n")
	r = sh("echo before; exit 7")
	require.Equal(t, "7", r.Status)
	require.Equal(t, "before\n", r.Result.Stdout)
	require.Equal(t, "\n", sh("echo $A").Result.Stdout, "the shell that was exited is another one")
	require.Empty(t, strings.TrimSpace(sh("ls ~/"+handOver+" | grep -v err$ | grep -v sh$").Result.Stdout), "nothing is left of the commands before")

	raw := s.ask("POST", "code/execute?identifier=shell+session", `{"properties":{"shellCommand":"echo ok"}}`)
	require.Equal(t, "Success", decode[propertiesAnswer](t, raw.body).Properties.Status)
	meta := decode[metadataAnswer](t, s.ask("GET", "metadata", "").body)
	require.Equal(t, "bash_kernel", meta.Kernel.Name)
	var names []string
	c := s.tools()
	list, err := c.ListTools(t.Context(), nil)
	require.NoError(t, err)
	for _, tool := range list.Tools {
		names = append(names, tool.Name)
	}
	require.ElementsMatch(t, []string{"launchShell", "runShellCommandInRemoteEnvironment"}, names)
}

// A confined kernel that its server has left is the next server's: its code goes on, and can be interrupted.
func TestConfinedKernelsOutliveTheServer_P3(t *testing.T) {
	m := realMachine(t, "python3")
	check := sandbox(t)
	serve := func() *server {
		return m.serve(func(c *Config) { c.Pools, c.CheckSandbox = []PoolConfig{{Name: "python", Kernel: "python3"}}, check })
	}
	s := serve()
	s.value("stay", "kept = 5")
	s.execute("stay", map[string]any{"code": "import time\nprint('a', flush=True); time.sleep(3); print('b'); kept + 1", "executionType": "asynchronous"}, "operation-id", "op")
	require.Eventually(t, func() bool { return m.kernels.List()[0].ExecutionState == "busy" }, patience, tick)
	s.stop()
	s = serve()
	var r resource
	require.Eventually(t, func() bool {
		r = decode[resource](t, s.ask("GET", "executions/op?identifier=stay", "").body)
		return r.Status == "Succeeded"
	}, patience, tick)
	require.Equal(t, "a\nb\n", r.Result.Stdout)
	require.JSONEq(t, "6", string(r.Result.ExecutionResult))
	require.JSONEq(t, "5", s.value("stay", "kept"))
}
