package kerneltest_test

import (
	"context"
	"errors"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/kernel/kerneltest"
)

func launch(t *testing.T, p *kerneltest.Provisioner, l kernel.Launch) kernel.Process {
	t.Helper()
	l.ConnectionFile = kerneltest.WriteConnectionFile(t, kerneltest.Options{})
	proc, err := p.Launch(context.Background(), l)
	require.NoError(t, err)
	return proc
}

func TestProvisionedKernelsEndAsProcessesDo(t *testing.T) {
	p := kerneltest.NewProvisioner(t, kerneltest.Options{})
	for _, test := range []struct {
		end  func(kernel.Process, *client)
		want kernel.Exit
	}{
		{func(p kernel.Process, _ *client) { require.NoError(t, p.Terminate()) }, kernel.Exit{Code: -1, Signal: syscall.SIGTERM}},
		{func(p kernel.Process, _ *client) { require.NoError(t, p.Kill()) }, kernel.Exit{Code: -1, Signal: syscall.SIGKILL}},
		{func(_ kernel.Process, c *client) { c.execute("die 7") }, kernel.Exit{Code: 7}},
		{func(_ kernel.Process, c *client) { c.execute("die -11") }, kernel.Exit{Code: -1, Signal: syscall.SIGSEGV}},
		{func(_ kernel.Process, c *client) { c.send(kernel.Control, "shutdown_request", `{}`) }, kernel.Exit{}},
	} {
		proc := launch(t, p, kernel.Launch{})
		require.Positive(t, proc.Record().PID)
		require.ErrorIs(t, syscall.Kill(proc.Record().PID, 0), syscall.ESRCH) // nobody's
		kernels := p.Kernels()
		test.end(proc, dial(t, kernels[len(kernels)-1]))
		<-proc.Done()
		require.Equal(t, test.want, proc.Exit())
	}
	require.Len(t, p.Kernels(), 5)
}

func TestProvisionedKernelSeesItsLaunch(t *testing.T) {
	p := kerneltest.NewProvisioner(t, kerneltest.Options{})
	launch(t, p, kernel.Launch{Cwd: "/somewhere", Env: map[string]string{"A": "1"}})
	c := dial(t, p.Kernels()[0])
	out := c.outputs(c.execute("env A\ncwd"))
	require.Equal(t, "1\n", field(out[2], "text"))
	require.Equal(t, "/somewhere\n", field(out[3], "text"))
}

func TestProvisionerFailsAsTold(t *testing.T) {
	broken := errors.New("no such program")
	p := kerneltest.NewProvisionerFunc(t, func(l kernel.Launch) (kerneltest.Options, error) {
		switch l.KernelID {
		case "dead":
			return kerneltest.Options{Startup: kerneltest.StartupDead}, nil
		case "never":
			return kerneltest.Options{Startup: kerneltest.StartupNever}, nil
		}
		return kerneltest.Options{}, broken
	})
	_, err := p.Launch(context.Background(), kernel.Launch{})
	require.ErrorIs(t, err, broken)

	dead := launch(t, p, kernel.Launch{KernelID: "dead"})
	<-dead.Done()
	require.Equal(t, 1, dead.Exit().Code)
	require.NotEmpty(t, dead.Exit().Stderr)

	never := launch(t, p, kernel.Launch{KernelID: "never"})
	require.NoError(t, never.Interrupt())
	require.NoError(t, never.Kill())
	<-never.Done()
	require.Equal(t, syscall.SIGKILL, never.Exit().Signal)
}
