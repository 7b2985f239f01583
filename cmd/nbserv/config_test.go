package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write golden files")

func TestMain(m *testing.M) {
	// net/http lets a connection that it refuses linger for half a second.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// configured is the Config that args, variables and a file in Jupyter's configuration folder make.
func configured(t *testing.T, args []string, vars map[string]string, file string) (Config, []string, error) {
	t.Helper()
	home := t.TempDir()
	env := environment{vars: map[string]string{"HOME": home, "JUPYTER_CONFIG_DIR": filepath.Join(home, "cfg")}}
	for k, v := range vars {
		env.vars[k] = v
	}
	if file != "" {
		require.NoError(t, os.MkdirAll(filepath.Join(home, "cfg"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(home, "cfg", jupyterConfigName), []byte(file), 0o600))
	}
	c := defaultConfig(env)
	flags := pflag.NewFlagSet("nbserv", pflag.ContinueOnError)
	addFlags(flags, &c)
	require.NoError(t, flags.Parse(args))
	notes, err := c.complete(flags, env)
	return c, notes, err
}

func TestFlagWinsOverVariableOverFileOverDefault(t *testing.T) {
	const file = `{"ServerApp": {"port": 3000}}`
	vars := map[string]string{"NBSERV_PORT": "2000"}
	for _, c := range []struct {
		args []string
		vars map[string]string
		file string
		want int
	}{
		{[]string{"--port=1000"}, vars, file, 1000},
		{nil, vars, file, 2000},
		{nil, nil, file, 3000},
		{nil, nil, `{"port": 4000, "ServerApp": {"port": 3000}}`, 4000},
		{nil, nil, "", 8888},
	} {
		got, notes, err := configured(t, c.args, c.vars, c.file)
		require.NoError(t, err)
		require.Empty(t, notes)
		require.Equal(t, c.want, got.Port)
	}
}

func TestJupyterTraits(t *testing.T) {
	c, notes, err := configured(t, nil, nil, `{
		"ServerApp": {"allow_origin": "https://a.example", "open_browser": false, "trust_me": 1,
			"MappingKernelManager": {"cull_idle_timeout": 90, "cull_connected": true},
			"AsyncMappingKernelManager": {"cull_interval": 0.5}},
		"MappingKernelManager": {"cull_idle_timeout": 10},
		"MultiKernelManager": {"default_kernel_name": "ir"},
		"AsyncMappingKernelManager": {"use_pending_kernels": true},
		"KernelManager": {"shutdown_wait_time": 2.5},
		"KernelSpecManager": {"allowed_kernelspecs": ["ir", "bash"]},
		"ContentsManager": {"allow_hidden": true},
		"FileContentsManager": {"delete_to_trash": false},
		"IdentityProvider": {"token": "", "cookie_name": "who"},
		"PasswordIdentityProvider": {"allow_password_change": false}
	}`)
	require.NoError(t, err)
	require.Equal(t, []string{"the setting ServerApp.trust_me is not known and has no effect"}, notes)
	require.Equal(t, "https://a.example", c.Auth.AllowOrigin)
	require.Equal(t, 90*time.Second, c.Kernels.CullIdleTimeout, "inside ServerApp is more specific")
	require.Equal(t, 500*time.Millisecond, c.Kernels.CullInterval)
	require.True(t, c.Kernels.CullConnected)
	require.Equal(t, "ir", c.DefaultKernel)
	require.True(t, c.Kernels.PendingKernels)
	require.Equal(t, 2500*time.Millisecond, c.Kernels.ShutdownWait)
	require.Equal(t, []string{"ir", "bash"}, c.AllowedKernels)
	require.True(t, c.Contents.AllowHidden)
	require.False(t, c.Contents.DeleteToTrash)
	require.Empty(t, c.Auth.Token)
	require.True(t, c.noAuth())
	require.Equal(t, "who", c.Auth.CookieName)
	require.False(t, c.Auth.AllowPasswordChange)
}

// Every setting that jupyter_server's own tests use is one of ours.
func TestTraitsOfTheConformanceSuiteAreKnown(t *testing.T) {
	known := map[string]bool{}
	for _, o := range options {
		for _, trait := range o.traits {
			require.False(t, known[trait], "%s is bound twice", trait)
			known[trait] = true
		}
	}
	for _, trait := range []string{
		"AsyncMappingKernelManager.cull_connected", "AsyncMappingKernelManager.cull_idle_timeout",
		"AsyncMappingKernelManager.cull_interval", "AsyncMappingKernelManager.use_pending_kernels",
		"ContentsManager.allow_hidden", "ContentsManager.preferred_dir", "IdentityProvider.cookie_name",
		"IdentityProvider.token", "KernelManager.shutdown_wait_time", "MappingKernelManager.cull_connected",
		"MappingKernelManager.cull_idle_timeout", "MappingKernelManager.cull_interval",
		"MultiKernelManager.default_kernel_name", "PasswordIdentityProvider.allow_password_change",
		"ServerApp.preferred_dir",
	} {
		require.True(t, known[trait], trait)
	}
}

func TestWrongSettingsAreNamed(t *testing.T) {
	for _, c := range []struct {
		args []string
		vars map[string]string
		file string
		want string
	}{
		{nil, map[string]string{"NBSERV_PORT": "many"}, "", "NBSERV_PORT"},
		{nil, map[string]string{"NBSERV_CULL_BUSY": "perhaps"}, "", "NBSERV_CULL_BUSY"},
		{nil, map[string]string{"NBSERV_CULL_INTERVAL": "1e300"}, "", "NBSERV_CULL_INTERVAL"},
		{nil, nil, `{"ServerApp": {"port": "8888"}}`, "ServerApp.port: should be a JSON whole number"},
		{nil, nil, `{"ServerApp": {"port": 1.5}}`, "ServerApp.port"},
		{nil, nil, `{"allow-hidden": "yes"}`, "allow-hidden: should be a JSON boolean"},
		{nil, nil, `{"cull-interval": true}`, "cull-interval"},
		{nil, nil, `{"ServerApp": 3}`, "ServerApp: should be a JSON object"},
		{nil, nil, `[]`, jupyterConfigName},
		{nil, nil, `{"a":`, jupyterConfigName},
		{[]string{"--port=70000"}, nil, "", "--port"},
		{[]string{"--ip=somewhere"}, nil, "", "--ip"},
		{[]string{"--certfile=x"}, nil, "", "--keyfile"},
		{[]string{"--root-dir=/does/not/exist"}, nil, "", "--root-dir"},
		{[]string{"--base-url=/a/../b"}, nil, "", "--base-url"},
		{[]string{"--base-url=/a%2Fb"}, nil, "", "--base-url"},
		{[]string{"--base-url=/a?b"}, nil, "", "--base-url"},
		{[]string{"--base-url=//evil"}, nil, "", "--base-url"},
		{[]string{`--base-url=/\evil`}, nil, "", "--base-url"},
		{[]string{"--config=/does/not/exist.json"}, nil, "", "--config"},
		{[]string{"--trusted-proxies=10.0.0.0/99"}, nil, "", "--trusted-proxies"},
		{[]string{"--allow-origin=nothing"}, nil, "", "allow_origin"},
		{[]string{"--allow-origin-pat=("}, nil, "", "allow_origin_pat"},
		{[]string{"--password=secret"}, nil, "", "password"},
		{[]string{"--cull-interval=-1"}, nil, "", "--cull-interval"},
	} {
		_, _, err := configured(t, c.args, c.vars, c.file)
		require.ErrorContains(t, err, c.want)
	}
}

func TestMissingJupyterFileIsANote(t *testing.T) {
	_, notes, err := configured(t, []string{"--config=/does/not/exist/" + jupyterConfigName}, nil, "")
	require.NoError(t, err)
	require.Len(t, notes, 1)
	require.Contains(t, notes[0], "does not exist")
}

func TestPythonConfigurationIsANote(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "jupyter_server_config.py"), []byte("c.ServerApp.port = 1"), 0o600))
	c, notes, err := configured(t, nil, map[string]string{"JUPYTER_CONFIG_DIR": dir}, "")
	require.NoError(t, err)
	require.Equal(t, 8888, c.Port)
	require.Len(t, notes, 1)
	require.Contains(t, notes[0], "jupyter_server_config.py is a Python program")
}

func TestPublicAddressAsksForAuthentication(t *testing.T) {
	for _, c := range []struct {
		args []string
		ok   bool
	}{
		{[]string{"--ip=*"}, true},
		{[]string{"--ip=*", "--token="}, false},
		{[]string{"--ip=0.0.0.0", "--token="}, false},
		{[]string{"--ip=::", "--token="}, false},
		{[]string{"--ip=192.0.2.1", "--token="}, false},
		{[]string{"--ip=192.0.2.1", "--token=", "--insecure-no-auth"}, true},
		{[]string{"--ip=192.0.2.1", "--token=t"}, true},
		{[]string{"--token="}, true},
		{[]string{"--ip=127.0.0.1", "--token="}, true},
		{[]string{"--ip=::1", "--token="}, true},
	} {
		_, _, err := configured(t, c.args, nil, "")
		if c.ok {
			require.NoError(t, err, c.args)
		} else {
			require.ErrorContains(t, err, "--insecure-no-auth", c.args)
		}
	}
}

func TestTokenByDefault(t *testing.T) {
	a, _, err := configured(t, nil, nil, "")
	require.NoError(t, err)
	b, _, err := configured(t, nil, nil, "")
	require.NoError(t, err)
	require.Len(t, a.Auth.Token, 48)
	require.NotEqual(t, a.Auth.Token, b.Auth.Token)
	j, _, err := configured(t, nil, map[string]string{"JUPYTER_TOKEN": "known"}, "")
	require.NoError(t, err)
	require.Equal(t, "known", j.Auth.Token)
	none, _, err := configured(t, []string{"--token="}, map[string]string{"JUPYTER_TOKEN": "known"}, "")
	require.NoError(t, err)
	require.Empty(t, none.Auth.Token)
}

func TestBaseURLHasOneSpelling(t *testing.T) {
	for in, want := range map[string]string{
		"": "/", "/": "/", "a": "/a/", "/a": "/a/", "/a/": "/a/", "a/b": "/a/b/", "/a%40b/": "/a%40b/", "/a@b": "/a@b/", "/ä": "/%C3%A4/",
	} {
		got, err := normaliseBaseURL(in)
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
	}
}

// The exit codes and streams of the whole program.
func TestUsage(t *testing.T) {
	env := environment{vars: map[string]string{"HOME": t.TempDir()}}
	var out, errOut bytes.Buffer
	require.Equal(t, exitStopped, run([]string{"--help"}, env, &out, &errOut))
	for _, o := range options {
		require.Contains(t, out.String(), "--"+o.name+" ")
	}
	out.Reset()
	require.Equal(t, exitStopped, run([]string{"--version"}, env, &out, &errOut))
	require.Contains(t, out.String(), version)
	require.Empty(t, errOut.String())
	for _, args := range [][]string{{"--port=x"}, {"--nonsense"}, {"stray"}, {"--log-level=loud"}, {"--log-format=xml"}} {
		errOut.Reset()
		require.Equal(t, exitUsage, run(args, env, &out, &errOut), args)
		require.Contains(t, errOut.String(), "--help")
	}
}

// The README's table of flags is made from the options (refresh it with -update).
func TestReadmeTable(t *testing.T) {
	const file, begin, end = "../../README.md", "<!-- flags: made by go test ./cmd/nbserv -update -->\n", "<!-- /flags -->"
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(raw), begin)
	require.True(t, ok)
	table, after, ok := strings.Cut(rest, end)
	require.True(t, ok)
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(before+begin+flagsTable()+end+after), 0o644))
		return
	}
	require.Equal(t, flagsTable(), table)
}

func flagsTable() string {
	var b strings.Builder
	group := ""
	for _, o := range options {
		if o.group != group {
			group = o.group
			fmt.Fprintf(&b, "\n**%s**\n\n| flag | default | what it does | Jupyter's name |\n| --- | --- | --- | --- |\n", group)
		}
		traits := make([]string, len(o.traits))
		for i, trait := range o.traits {
			traits[i] = "`" + trait + "`"
		}
		def := o.defaultText()
		if def != "" {
			def = "`" + def + "`"
		}
		fmt.Fprintf(&b, "| `--%s` | %s | %s | %s |\n", o.name, def, strings.ReplaceAll(o.usage, "|", "\\|"), strings.Join(traits, " "))
	}
	return b.String() + "\n"
}
