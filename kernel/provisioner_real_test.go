package kernel

import (
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// requireKernel finds an installed kernelspec by the environment's own rules. Without it the test is skipped,
// or fails where NBSERV_REQUIRE_KERNELS (a list with commas) says that it must be there.
func requireKernel(t *testing.T, name string) Spec {
	t.Helper()
	spec, err := NewSpecs(SpecsConfig{Environ: os.Environ()}).Find(name)
	if err == nil {
		err = checkStartable(spec)
	}
	if err == nil {
		return spec
	}
	for required := range strings.SplitSeq(os.Getenv("NBSERV_REQUIRE_KERNELS"), ",") {
		require.NotEqual(t, name, strings.TrimSpace(required), "kernel %s is required: %v", name, err)
	}
	t.Skipf("kernel %s is not installed: %v", name, err)
	return Spec{}
}

func checkStartable(s Spec) error {
	l := localWith(kernelEnviron(os.Environ(), nil))
	_, _, err := l.command(Launch{Spec: s})
	return err
}

func TestRealKernelsStart(t *testing.T) {
	for _, name := range []string{"python3", "ir"} {
		t.Run(name, func(t *testing.T) {
			spec := requireKernel(t, name)
			require.Equal(t, IPC, spec.Transport())
			l, err := NewLocal(LocalConfig{Environ: os.Environ()})
			require.NoError(t, err)
			base := shortDir(t)
			c, err := NewConnection(base, "0f3a", spec.Name, spec.Transport())
			require.NoError(t, err)
			p, err := l.Launch(t.Context(), Launch{
				KernelID: "0f3a", Spec: spec, ConnectionFile: c.File, Release: c.Release, Cwd: t.TempDir(),
			})
			require.NoError(t, err)
			defer p.Kill()
			for _, ep := range []string{c.Info.Endpoint(Shell), c.Info.Endpoint(IOPub), c.Info.Endpoint(Stdin), c.Info.Endpoint(Control), c.Info.Heartbeat()} {
				require.Eventually(t, func() bool {
					conn, err := net.Dial("unix", strings.TrimPrefix(ep, "ipc://"))
					if err != nil {
						return false
					}
					return conn.Close() == nil
				}, patience, waitTick, "%s %s", ep, "is not served")
			}
			require.NoError(t, p.Kill())
			require.Equal(t, syscall.SIGKILL, waitDone(t, p).Signal)
			require.NoError(t, c.Close())
			left, err := os.ReadDir(base)
			require.NoError(t, err)
			require.Empty(t, left, "P11")
		})
	}
}

// shortDir is a t.TempDir whose path leaves room for the names of unix sockets.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "nb")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
