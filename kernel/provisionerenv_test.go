package kernel

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
)

func TestClientEnvIsChecked_S11(t *testing.T) {
	for _, name := range []string{
		"LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES", "GLIBC_TUNABLES", "GCONV_PATH", "BASH_ENV", "ENV", "PS4",
		"PYTHONHOME", "PYTHONSTARTUP", "PERL5OPT", "NODE_OPTIONS", "JAVA_TOOL_OPTIONS", "BASH_FUNC_ls%%", "BASH_FUNC_ls()",
		"NBSERV_TOKEN", "NBSERV_KERNEL_PROCESS", "JPY_PARENT_PID", "NOTIFY_SOCKET", "JUPYTER_TOKEN",
		"", "A=B", "1A", "A B", "A-B", "A\x00B", "Ä", "A\nB", strings.Repeat("A", 257),
	} {
		err := CheckEnv(map[string]string{"FINE": "x", name: "x"})
		require.Equal(t, fault.Invalid, fault.KindOf(err), "%q", name)
	}
	require.Equal(t, fault.Invalid, fault.KindOf(CheckEnv(map[string]string{"A": "x\x00y"})))
	require.Equal(t, fault.Invalid, fault.KindOf(CheckEnv(map[string]string{"A": strings.Repeat("x", 128<<10)})))
	require.NoError(t, CheckEnv(map[string]string{
		"KERNEL_USERNAME": "x", "JPY_SESSION_NAME": "/a/ä.ipynb", "PATH": "/x", "_a1": "", "PYTHONPATH": "/p", "LDFLAGS": "-g",
		"HTML": "<$(id)> ${HOME} `id` {connection_file}\n",
	}))
	require.NoError(t, CheckEnv(nil))
}

func TestKernelEnviron_S6(t *testing.T) {
	env := kernelEnviron([]string{
		"PATH=/bin", "HOME=/h", "NBSERV_TOKEN=s", "NBSERV_PASSWORD=s", "JUPYTER_TOKEN=s", "JUPYTERHUB_API_TOKEN=s", "CONFIGPROXY_AUTH_TOKEN=s",
		"JPY_PARENT_PID=1", "NOTIFY_SOCKET=/s", "LISTEN_FDS=1", "MY_DB_PASSWORD=s", "AWS_TOKEN=user's", "EMPTY=", "=bad", "worse", "A=1", "A=2",
	}, []string{"MY_DB_PASSWORD"})
	require.Equal(t, map[string]string{"PATH": "/bin", "HOME": "/h", "AWS_TOKEN": "user's", "EMPTY": "", "A": "2"}, env)
}

func TestKernelEnvIsMerged(t *testing.T) {
	l := localWith(map[string]string{"PATH": "/bin", "HOME": "/h", "PYTHONEXECUTABLE": "/x"})
	spec := Spec{Language: "python", Env: map[string]string{"PATH": "/spec:${PATH}", "B": "$HOME/$$x/${MISSING}/$", "C": "${CLIENT}"}}
	env := l.env(Launch{KernelID: "id", Spec: spec, Cwd: "/w", Env: map[string]string{"PATH": "/client", "CLIENT": "${HOME}", "KERNEL_USERNAME": "me"}}, "m")
	slices.Sort(env)
	require.Equal(t, []string{
		"B=/h/$x/${MISSING}/$", "C=${CLIENT}", "CLIENT=${HOME}", "HOME=/h", "KERNEL_USERNAME=me",
		"NBSERV_KERNEL_ID=id", "NBSERV_KERNEL_PROCESS=m", "PATH=/spec:/bin", "PWD=/w",
	}, env, "the kernelspec has the last word, and nobody's values but its own are templates")

	env = l.env(Launch{Spec: Spec{Language: "R"}, Env: map[string]string{"PATH": "/client"}}, "m")
	require.Contains(t, env, "PATH=/client")
	require.Contains(t, env, "PYTHONEXECUTABLE=/x")
	require.Equal(t, "/bin", (*l.environ.Load())["PATH"], "nothing is shared")
}

func FuzzExpandVars(f *testing.F) {
	f.Add("${A}:$B:$$C:${", "A", "1")
	f.Add("$$$$A${A}", "A", "$A")
	f.Fuzz(func(t *testing.T, s, name, value string) {
		got := expandVars(s, map[string]string{name: value})
		if !strings.Contains(s, "$") {
			require.Equal(t, s, got)
		}
		require.LessOrEqual(t, len(got), len(s)+strings.Count(s, "$")*len(value))
	})
}

func TestCheckEnvNamesOneAlways(t *testing.T) {
	env := map[string]string{"LD_PRELOAD": "", "LD_AUDIT": "", "ZZ": ""}
	for range 20 {
		require.ErrorContains(t, CheckEnv(maps.Clone(env)), "LD_AUDIT", "the same request gets the same answer")
	}
}

// localWith is a Local of which the kernels inherit env.
func localWith(env map[string]string) *Local {
	l := &Local{}
	l.environ.Store(&env)
	return l
}

func TestEnvironmentIsReplaced_S6(t *testing.T) {
	l, err := NewLocal(LocalConfig{Environ: []string{"A=1", "NBSERV_TOKEN=secret"}})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"A": "1"}, l.specEnv(Spec{}, nil))
	l.SetEnviron([]string{"B=2", "JUPYTER_TOKEN=secret", "MINE=secret"}, []string{"MINE"})
	require.Equal(t, map[string]string{"B": "2"}, l.specEnv(Spec{}, nil))
	require.Equal(t, []string{"B=2", "C=3"}, Inherited([]string{"C=3", "JUPYTER_TOKEN=secret", "B=2", "NBSERV_X=y"}, nil))
}
