package rserver

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nbserv/nbserv/kernel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	patience = 30 * time.Second
	tick     = 5 * time.Millisecond
)

// kernelspec is the installed kernelspec of a runtime.
var kernelspec = map[*runtime]string{runtimeR: "ir", runtimePython: "python3"}

// realHost runs the installed kernels. The test is skipped without the runtimes' ones, or fails where
// NBSERV_REQUIRE_KERNELS says that they must be there.
func realHost(t testing.TB, need ...*runtime) *kernel.Manager {
	t.Helper()
	specs := kernel.NewSpecs(kernel.SpecsConfig{Environ: os.Environ(), DefaultName: "ir"})
	for _, r := range need {
		if _, err := specs.Find(kernelspec[r]); err != nil {
			for required := range strings.SplitSeq(os.Getenv("NBSERV_REQUIRE_KERNELS"), ",") {
				require.NotEqual(t, kernelspec[r], strings.TrimSpace(required), "kernel %s is required: %v", kernelspec[r], err)
			}
			t.Skipf("kernel %s is not installed: %v", kernelspec[r], err)
		}
	}
	prov, err := kernel.NewLocal(kernel.LocalConfig{Environ: os.Environ()})
	require.NoError(t, err)
	host := kernel.NewManager(kernel.Config{RootDir: t.TempDir()}, specs, prov, nil)
	t.Cleanup(func() { require.NoError(t, host.Close(context.Background())) })
	return host
}

// newWorker starts a kernel with the helper.
func newWorker(t testing.TB, host kernel.Host, r *runtime) *worker {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "w")
	require.NoError(t, makeFolders(dir))
	st, err := host.Start(t.Context(), kernel.StartOptions{Spec: kernelspec[r], Cwd: filepath.Join(dir, "work")})
	require.NoError(t, err)
	require.NoError(t, host.Ready(t.Context(), st.ID))
	w := &worker{host: host, kernelID: st.ID, runtime: r, dir: dir}
	require.NoError(t, w.inject(t.Context()))
	return w
}
