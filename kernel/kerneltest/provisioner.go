package kerneltest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

// firstPID numbers the processes of a Provisioner from above what any system gives out, so that a signal
// that is sent to one by mistake reaches nobody.
const firstPID = 1 << 30

var lastPID atomic.Int64

// Provisioner is a kernel.Provisioner that runs scripted kernels in this process. Signals and exit codes are
// simulated: Interrupt interrupts the execution, Terminate ends a kernel that does not hang, Kill every one.
// It is safe for concurrent use.
type Provisioner struct {
	options func(kernel.Launch) (Options, error) // immutable

	mu       sync.Mutex
	launched []process // guarded by mu
}

var _ kernel.Provisioner = (*Provisioner)(nil)

// NewProvisioner makes a Provisioner whose kernels all have the same Options and end with the test.
func NewProvisioner(t testing.TB, o Options) *Provisioner {
	return NewProvisionerFunc(t, func(kernel.Launch) (Options, error) { return o, nil })
}

// NewProvisionerFunc makes a Provisioner that asks for the Options of each kernel; an error fails the launch.
// options runs on the goroutine of Launch.
func NewProvisionerFunc(t testing.TB, options func(kernel.Launch) (Options, error)) *Provisioner {
	p := &Provisioner{options: options}
	t.Cleanup(func() {
		for _, k := range p.Kernels() {
			k.Close()
		}
	})
	return p
}

const (
	bindTries = 100
	bindPause = 10 * time.Millisecond
)

// Launch starts a kernel on the launch's connection file.
func (p *Provisioner) Launch(ctx context.Context, l kernel.Launch) (kernel.Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	o, err := p.options(l)
	if err != nil {
		return nil, err
	}
	if o.Cwd == "" {
		o.Cwd = l.Cwd
	}
	if o.Getenv == nil {
		o.Getenv = launchEnv(l)
	}
	if l.Release != nil {
		l.Release()
	}
	k, err := Serve(l.ConnectionFile, o)
	// A child that is being forked for somebody else holds the released ports until it has exec'ed. A process
	// would die of that and be started again; here there is none.
	for range bindTries {
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
		<-time.After(bindPause)
		k, err = Serve(l.ConnectionFile, o)
	}
	if err != nil {
		return nil, err
	}
	pid := firstPID + int(lastPID.Add(1))
	made := process{Kernel: k, record: kernel.Record{PID: pid, PGID: pid, StartTime: uint64(pid), Boot: boot, Mark: l.Mark}}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.launched = append(p.launched, made)
	return made, nil
}

// boot is the run of a machine that has never been restarted.
const boot = "kerneltest"

// Adopt finds a kernel of this Provisioner by its PID, or by its mark where the record has none.
func (p *Provisioner) Adopt(_ context.Context, r kernel.Record) (kernel.Process, error) {
	if r.PID != 0 && r.Boot != boot {
		return nil, fault.New(fault.Gone, "the machine was restarted")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, q := range p.launched {
		if q.record.PID == r.PID || r.PID == 0 && q.record.Mark == r.Mark {
			if q.isEnding() {
				break
			}
			return q, nil
		}
	}
	return nil, fault.New(fault.Gone, "the kernel ended while nobody watched")
}

// EndStrays ends the kernels of this Provisioner whose marks nobody keeps.
func (p *Provisioner) EndStrays(prefix string, keep map[string]bool) (marks []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, q := range p.launched {
		mark := q.record.Mark
		if strings.HasPrefix(mark, prefix) && !keep[mark] && !q.isEnding() {
			q.Die(killed)
			marks = append(marks, mark)
		}
	}
	return marks
}

// Kernels are all kernels launched so far, oldest first, the ended ones too.
func (p *Provisioner) Kernels() []*Kernel {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*Kernel, len(p.launched))
	for i, q := range p.launched {
		all[i] = q.Kernel
	}
	return all
}

// launchEnv is the environment a launch asks for, without this process's own.
func launchEnv(l kernel.Launch) func(string) string {
	return func(name string) string {
		if v, ok := l.Env[name]; ok {
			return v
		}
		return l.Spec.Env[name]
	}
}

// process is a Kernel with the face of a process.
type process struct {
	*Kernel
	record kernel.Record
}

var _ kernel.Process = process{}

func (p process) Record() kernel.Record { return p.record }
func (p process) Interrupt() error      { p.Kernel.Interrupt(); return nil }
func (p process) Terminate() error      { p.Kernel.Terminate(); return nil }
func (p process) Kill() error           { p.Kernel.Die(killed); return nil }
func (p process) Release()              {}

// Usage is not known: a scripted kernel is part of this process.
func (p process) Usage() (kernel.Usage, bool) { return kernel.Usage{}, false }

// Memory is not known either.
func (p process) Memory() (used int64, kills uint64, ok bool) { return 0, 0, false }
