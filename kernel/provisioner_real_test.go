package kernel

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"

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
	l := &Local{environ: kernelEnviron(os.Environ(), nil)}
	_, _, err := l.command(Launch{Spec: s})
	return err
}

func TestIPykernelStarts(t *testing.T) {
	spec := requireKernel(t, "python3")
	l, err := NewLocal(LocalConfig{Environ: os.Environ()})
	require.NoError(t, err)
	c, err := NewConnection(shortDir(t), "k-1", spec.Name, spec.Transport())
	require.NoError(t, err)
	defer c.Close()
	p, err := l.Launch(t.Context(), Launch{KernelID: "k-1", Spec: spec, ConnectionFile: c.File, Release: c.Release, Cwd: t.TempDir()})
	require.NoError(t, err)
	defer p.Kill()
	require.Eventually(t, func() bool {
		conn, err := net.Dial("unix", strings.TrimPrefix(c.Info.Endpoint(Shell), "ipc://"))
		if err == nil {
			conn.Close()
		}
		return err == nil
	}, 30*time.Second, 10*time.Millisecond)
	require.NoError(t, p.Kill())
	<-p.Done()
}

// shortDir is a t.TempDir whose path leaves room for the names of unix sockets.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "nb")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
