package sessions_test

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/kernel/kerneltest"
	"github.com/nbserv/nbserv/sessions"
)

// realHost is a kernel.Manager with scripted kernels on real sockets, of the kernelspecs "synth" and "broken".
func realHost(t *testing.T) (*kernel.Manager, *kerneltest.Provisioner) {
	t.Helper()
	data := t.TempDir()
	for _, name := range []string{"synth", "broken"} {
		dir := filepath.Join(data, "kernels", name)
		require.NoError(t, os.MkdirAll(dir, 0o755))
		spec := `{"argv": ["synth", "{connection_file}"], "display_name": "Synth", "language": "none",
			"metadata": {"nbserv": {"transport": "ipc"}}}`
		require.NoError(t, os.WriteFile(filepath.Join(dir, "kernel.json"), []byte(spec), 0o644))
	}
	prov := kerneltest.NewProvisionerFunc(t, func(l kernel.Launch) (kerneltest.Options, error) {
		if l.Spec.Name == "broken" {
			return kerneltest.Options{}, fault.New(fault.Unstartable, "no such program")
		}
		return kerneltest.Options{}, nil
	})
	specs := kernel.NewSpecs(kernel.SpecsConfig{DataDirs: []string{data}, DefaultName: "synth"})
	m := kernel.NewManager(kernel.Config{RootDir: t.TempDir(), RestartLimit: -1}, specs, prov, nil)
	t.Cleanup(func() { require.NoError(t, m.Close(context.Background())) })
	return m, prov
}

func TestSessionsOfRealKernels(t *testing.T) {
	host, prov := realHost(t)
	m := manager(t, host)
	s := create(t, m, notebook("a.ipynb"))
	require.Equal(t, "synth", s.Kernel.Spec)
	var ends bool
	for e, err := range m.Execute(t.Context(), s.ID, kernel.ExecuteRequest{Code: "echo hello"}) {
		require.NoError(t, err)
		ends = ends || e.Message != nil && e.Message.Header.MsgType == "execute_reply"
	}
	require.True(t, ends)
	for _, name := range []string{"broken", "unknown"} {
		_, err := m.Create(t.Context(), sessions.CreateRequest{Path: "b", Type: "file", KernelName: name})
		require.Equal(t, fault.Unstartable, kind(err), "%v", err)
		_, err = m.Update(t.Context(), s.ID, sessions.Patch{KernelName: name})
		require.Equal(t, fault.Unstartable, kind(err), "%v", err)
	}
	require.Len(t, host.List(), 1)

	changed := patch(t, m, s.ID, sessions.Patch{KernelName: "synth"})
	require.NotEqual(t, s.Kernel.ID, changed.Kernel.ID)
	require.Len(t, host.List(), 1)
	<-prov.Kernels()[0].Done()

	require.NoError(t, host.Shutdown(t.Context(), changed.Kernel.ID))
	require.Empty(t, m.List(t.Context()))
}

func TestADeadRealKernelIsReplaced(t *testing.T) {
	host, _ := realHost(t)
	m := manager(t, host)
	s := create(t, m, notebook("a.ipynb"))
	for _, err := range m.Execute(t.Context(), s.ID, kernel.ExecuteRequest{Code: "die 3"}) {
		require.NoError(t, err)
	}
	// The reply in the dead kernel's place comes with its death, or just before the state says so.
	require.Eventually(t, func() bool {
		got, err := m.Get(t.Context(), s.ID)
		return err == nil && got.Kernel.ExecutionState == kernel.StateDead && got.Kernel.Reason != ""
	}, patience, tick)
	next := create(t, m, notebook("a.ipynb"))
	require.Equal(t, s.ID, next.ID)
	require.True(t, next.Kernel.Alive())
	require.Len(t, host.List(), 1)
}

func TestACrowdOnRealKernels_P1_P11(t *testing.T) {
	host, prov := realHost(t)
	m := manager(t, host)
	failures := make(chan error, crowd*2)
	var wg sync.WaitGroup
	for range crowd {
		wg.Go(func() {
			s, err := m.Create(context.Background(), notebook([]string{"p", "q"}[rand.IntN(2)]))
			if err != nil {
				failures <- err
				return
			}
			switch rand.IntN(30) {
			case 0:
				err = m.Delete(context.Background(), s.ID)
			case 1:
				_, err = m.Update(context.Background(), s.ID, sessions.Patch{Path: ptr("q")})
			case 2:
				_, err = m.Update(context.Background(), s.ID, sessions.Patch{KernelName: "synth"})
			case 3:
				err = host.Shutdown(context.Background(), s.Kernel.ID)
			default:
				err = noTwins(m.List(context.Background()))
			}
			if k := fault.KindOf(err); err != nil && k != fault.NotFound && k != fault.Gone && k != fault.Conflict {
				failures <- err
			}
		})
	}
	wg.Wait()
	close(failures)
	for err := range failures {
		require.NoError(t, err)
	}
	require.Len(t, host.List(), len(m.List(t.Context())))
	for _, s := range m.List(t.Context()) {
		require.NoError(t, m.Delete(t.Context(), s.ID))
	}
	require.Empty(t, host.List())
	for _, k := range prov.Kernels() {
		<-k.Done()
	}
}
