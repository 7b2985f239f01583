package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/kernel/remote"
)

// The values of --kernel-host beside a socket's path.
const (
	inProcess = "inprocess"
	spawnHost = "spawn"
)

// kernels is where the kernels are, in this process or in another one, and the ways to part with them.
type kernels interface {
	kernel.Host
	kernel.Meter
	// Run does what has to be done for them by itself, until ctx ends.
	Run(ctx context.Context)
	// Close ends them. When ctx ends they are killed.
	Close(ctx context.Context) error
	// Leave parts without ending them, or after Close.
	Leave(ctx context.Context) error
}

// kernelSettings are what of the configuration is for those who run the kernels. They cross a socket as JSON.
type kernelSettings struct {
	Environ        []string      `json:"environ"`
	SpecDirs       []string      `json:"spec_dirs"` // further folders of kernelspecs
	DefaultKernel  string        `json:"default_kernel"`
	AllowedKernels []string      `json:"allowed_kernels"`
	NativeKernel   bool          `json:"native_kernel"`
	Kernels        kernel.Config `json:"kernels"` // without Logger and StateDir
}

func (c *Config) kernelSettings() kernelSettings {
	return kernelSettings{
		Environ: kernel.Inherited(c.env.list, nil), SpecDirs: c.labKernels(), DefaultKernel: c.DefaultKernel, AllowedKernels: c.AllowedKernels,
		NativeKernel: c.NativeKernel, Kernels: c.Kernels,
	}
}

func (k kernelSettings) specs(log *slog.Logger) *kernel.Specs {
	return kernel.NewSpecs(kernel.SpecsConfig{
		Environ: k.Environ, MoreDirs: k.SpecDirs, DefaultName: k.DefaultKernel, Allowed: k.AllowedKernels, NoNativeKernel: !k.NativeKernel, Log: log,
	})
}

// ownKernels are kernels of this process.
type ownKernels struct {
	*kernel.Manager
	local *kernel.Local
	log   *slog.Logger
}

// newOwnKernels takes over the kernels that are recorded in the folder state.
func newOwnKernels(ctx context.Context, k kernelSettings, state string, log *slog.Logger, reg prometheus.Registerer) (*ownKernels, error) {
	local, err := kernel.NewLocal(kernel.LocalConfig{Environ: k.Environ, StateDir: state, Logger: log})
	if err != nil {
		return nil, err
	}
	k.Kernels.Logger, k.Kernels.StateDir = log, state
	m := kernel.NewManager(k.Kernels, k.specs(log), local, reg)
	if err := m.Recover(ctx); err != nil {
		local.Close()
		return nil, fmt.Errorf("--state-dir: %w", err)
	}
	return &ownKernels{m, local, log}, nil
}

// configure changes how kernels are run from was to k. The notes say for which settings that takes a new kernel; what
// else there is, such as the environment, is no news to anybody.
func (o *ownKernels) configure(was, k kernelSettings) (notes []string) {
	if reflect.DeepEqual(was, k) {
		return nil
	}
	o.local.SetEnviron(k.Environ, nil)
	o.Configure(k.Kernels, k.specs(o.log))
	for _, s := range []struct {
		flag    string
		changed bool
	}{
		{"kernel-start-timeout", was.Kernels.StartTimeout != k.Kernels.StartTimeout},
		{"shutdown-wait", was.Kernels.ShutdownWait != k.Kernels.ShutdownWait},
		{"detached-ttl", was.Kernels.DetachedTTL != k.Kernels.DetachedTTL},
		{"kernel-memory-limit, --kernel-cpu-limit, --kernel-max-processes", was.Kernels.Limits != k.Kernels.Limits},
		{"journal-max-bytes", was.Kernels.Journal != k.Kernels.Journal},
		{"root-dir", was.Kernels.RootDir != k.Kernels.RootDir},
	} {
		if s.changed && len(o.List()) > 0 {
			notes = append(notes, "--"+s.flag+" is another now: the kernels that run already keep the old one")
		}
	}
	if was.Kernels.JournalsBytes != k.Kernels.JournalsBytes {
		notes = append(notes, "--journals-max-bytes is another now: that takes another kernel host")
	}
	return notes
}

// Leave parts with the kernels, and with the cgroups that none of them is in.
func (o *ownKernels) Leave(ctx context.Context) error {
	defer o.local.Close()
	return o.Manager.Leave(ctx)
}

func (o *ownKernels) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { o.Manager.Run(ctx) })
	wg.Go(func() { o.local.Run(ctx) })
	wg.Wait()
}

// hostLockFile is locked by who has the kernels of a state folder: a kernel host, or a server that has them itself.
const hostLockFile = "host.lock"

// lockedKernels are ownKernels of a server.
type lockedKernels struct {
	*ownKernels
	lock *os.File
}

func (k *lockedKernels) Leave(ctx context.Context) error {
	return errors.Join(k.ownKernels.Leave(ctx), k.lock.Close())
}

// otherKernels are kernels of another process.
type otherKernels struct {
	*remote.Host
	spawner *spawner // nil when somebody else started it
}

// Run has nothing to do.
func (k *otherKernels) Run(ctx context.Context) { <-ctx.Done() }

const (
	// hurryTime is how long a kernel host may take to kill its kernels.
	hurryTime = time.Second
	// awayTime is how long a server that stops waits for a kernel host that is away: the next one has its kernels.
	awayTime = 3 * time.Second
)

// Close ends the kernels, and the kernel host if it is ours.
func (k *otherKernels) Close(ctx context.Context) error {
	short, cancel := context.WithTimeout(ctx, awayTime)
	defer cancel()
	if err := k.Await(short); err != nil {
		return err
	}
	if k.spawner == nil {
		return k.shutdownAll(ctx)
	}
	timeout := time.Hour
	if deadline, ok := ctx.Deadline(); ok {
		timeout = time.Until(deadline) * 9 / 10 // the rest is for the answer
	}
	err := k.Stop(ctx, timeout)
	if ctx.Err() != nil { // it has its time, and shortens it when it is told to
		hurried, cancel := context.WithTimeout(context.WithoutCancel(ctx), hurryTime)
		defer cancel()
		err = k.Stop(hurried, 0)
	}
	return err
}

// shutdownAll ends each kernel of a kernel host that others may use.
func (k *otherKernels) shutdownAll(ctx context.Context) error {
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	for _, st := range k.List() {
		wg.Go(func() {
			if err := k.Shutdown(ctx, st.ID); err != nil && fault.KindOf(err) != fault.NotFound {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Leave disconnects.
func (k *otherKernels) Leave(context.Context) error {
	k.Host.Close()
	if k.spawner != nil {
		k.spawner.reap()
	}
	return nil
}

// elsewhere are metrics that are not in this process.
func (s *rooms) elsewhere() []prometheus.Gatherer {
	if k, ok := s.kernels.(*otherKernels); ok {
		return []prometheus.Gatherer{k.Host}
	}
	return nil
}

// reachTime is how long a kernel host may take to answer a server that starts.
const reachTime = 15 * time.Second

// openKernels finds or makes the place where the kernels are, for a server with the folder state.
func openKernels(ctx context.Context, c *Config, state string, log *slog.Logger, reg prometheus.Registerer) (kernels, error) {
	if c.KernelHost == inProcess {
		lock, err := lockFile(filepath.Join(state, hostLockFile))
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("--kernel-host=%s: the kernels of %s are with a kernel host (%s); end that first, or use --kernel-host=%s",
				inProcess, state, readHostNote(state), spawnHost)
		}
		if err != nil {
			return nil, err
		}
		own, err := newOwnKernels(ctx, c.kernelSettings(), state, log, reg)
		if err != nil {
			_ = lock.Close()
			return nil, err
		}
		return &lockedKernels{own, lock}, nil
	}
	o := remote.Options{Config: c.kernelSettings(), Logger: log, Socket: func() string { return c.KernelHost }}
	var sp *spawner
	if c.KernelHost == spawnHost {
		sp = newSpawner(c, state, log)
		o.Socket, o.Start = sp.socket, sp.start
	}
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	h, err := remote.Dial(ctx, o)
	if err == nil && sp != nil {
		h, err = sp.renew(ctx, h, o)
	}
	if err != nil {
		return nil, fmt.Errorf("--kernel-host=%s: %w", c.KernelHost, err)
	}
	reg.MustRegister(prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: "nbserv_kernel_host_reachable", Help: "1 while the kernel host can be reached."},
		func() float64 {
			if _, ok := h.Peer(); ok {
				return 1
			}
			return 0
		}))
	return &otherKernels{h, sp}, nil
}
