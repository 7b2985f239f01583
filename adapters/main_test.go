package adapters

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/kernel/kerneltest"
	"github.com/nbserv/nbserv/sessions"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what another goroutine does, and tick how often it looks.
const (
	patience = 60 * time.Second
	tick     = time.Millisecond
)

// memory is a sessions.Store that keeps nothing.
type memory struct{}

func (memory) Load(context.Context) ([]sessions.Row, error) { return nil, nil }
func (memory) Apply(context.Context, sessions.Change) error { return nil }

// fixture is sessions over scripted kernels on real sockets, of the kernelspec "synth".
type fixture struct {
	*sessions.Manager
	host *kernel.Manager
	prov *kerneltest.Provisioner
}

func newFixture(t *testing.T, options func(kernel.Launch) (kerneltest.Options, error)) fixture {
	t.Helper()
	data := t.TempDir()
	kerneltest.WriteSpec(t, data, "synth", map[string]any{
		"argv": []string{"synth", "{connection_file}"}, "metadata": map[string]any{"nbserv": map[string]any{"transport": "ipc"}},
	})
	if options == nil {
		options = func(kernel.Launch) (kerneltest.Options, error) { return kerneltest.Options{}, nil }
	}
	prov := kerneltest.NewProvisionerFunc(t, options)
	specs := kernel.NewSpecs(kernel.SpecsConfig{DataDirs: []string{data}, DefaultName: "synth"})
	host := kernel.NewManager(kernel.Config{RootDir: t.TempDir(), RestartLimit: -1}, specs, prov, nil)
	t.Cleanup(func() { require.NoError(t, host.Close(context.Background())) })
	return fixture{manager(t, host), host, prov}
}

// realFixture is sessions over the installed kernels. The test is skipped without name, or fails where
// NBSERV_REQUIRE_KERNELS says that it must be there.
func realFixture(t *testing.T, name string) *sessions.Manager {
	t.Helper()
	specs := kernel.NewSpecs(kernel.SpecsConfig{Environ: os.Environ(), DefaultName: name})
	if _, err := specs.Find(name); err != nil {
		for required := range strings.SplitSeq(os.Getenv("NBSERV_REQUIRE_KERNELS"), ",") {
			require.NotEqual(t, name, strings.TrimSpace(required), "kernel %s is required: %v", name, err)
		}
		t.Skipf("kernel %s is not installed: %v", name, err)
	}
	prov, err := kernel.NewLocal(kernel.LocalConfig{Environ: os.Environ()})
	require.NoError(t, err)
	host := kernel.NewManager(kernel.Config{RootDir: t.TempDir()}, specs, prov, nil)
	t.Cleanup(func() { require.NoError(t, host.Close(context.Background())) })
	return manager(t, host)
}

func manager(t *testing.T, host kernel.Host) *sessions.Manager {
	t.Helper()
	m, err := sessions.New(t.Context(), sessions.Config{}, host, memory{})
	require.NoError(t, err)
	return m
}

// run makes the session "s", if needed, and runs code in it.
func run(t *testing.T, e Executor, code string, l Limits) Result {
	t.Helper()
	s, err := e.Create(t.Context(), sessions.CreateRequest{Path: "s", Type: "test"})
	require.NoError(t, err)
	r, err := Collect(e.Execute(t.Context(), s.ID, kernel.ExecuteRequest{Code: code, StoreHistory: true}), l)
	require.NoError(t, err)
	return r
}
