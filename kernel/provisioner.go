package kernel

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/nbserv/nbserv/internal/cgroup"
	"github.com/nbserv/nbserv/internal/fault"
)

// LocalConfig configures a Local.
type LocalConfig struct {
	// Environ is the server's environment ("NAME=value"), from which kernels get theirs, except for what is
	// the server's own: see CheckEnv.
	Environ []string
	// Secrets names further variables of Environ that kernels must not see.
	Secrets []string
	// StateDir is the server's state folder, which names the cgroups of its kernels: see EndStrays. "" makes none,
	// so that limits on CPU and processes cannot be kept.
	StateDir string
	Logger   *slog.Logger // default: discards
}

// Local is the Provisioner of plain processes on this machine. Safe for concurrent use.
type Local struct {
	environ  atomic.Pointer[map[string]string] // without secrets; the maps are immutable
	oomFiles []string                          // immutable
	groups   *cgroup.Tree                      // immutable; nil where there are no cgroups for us
	log      *slog.Logger                      // immutable

	mu      sync.Mutex
	adopted map[string]bool // guarded by mu: folders of the cgroups of adopted processes
}

// NewLocal makes a Local, and this process fit to have kernels as children: descriptors are closed in them,
// an ignored SIGINT is not ignored by them, and on Linux their orphans come back to us.
func NewLocal(cfg LocalConfig) (*Local, error) {
	if err := closeOnExec(); err != nil {
		return nil, fault.Wrap(fault.Internal, err, "close descriptors in kernels")
	}
	// A server started in the background by a shell ignores SIGINT, and its kernels would inherit that and
	// could not be interrupted. A signal that is caught is reset by exec; one that nobody receives from the
	// channel is dropped, so the server itself goes on ignoring it.
	if signal.Ignored(syscall.SIGINT) {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGINT)
	}
	adoptOrphans()
	l := &Local{oomFiles: oomFiles(), log: cfg.Logger, adopted: map[string]bool{}}
	l.SetEnviron(cfg.Environ, cfg.Secrets)
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	l.openGroups(cfg.StateDir)
	return l, nil
}

// SetEnviron replaces LocalConfig's Environ and Secrets for the kernels that are started from now on.
func (l *Local) SetEnviron(environ, secrets []string) {
	env := kernelEnviron(environ, secrets)
	l.environ.Store(&env)
}

// Launch implements Provisioner. The kernel gets a session and a process group of its own and outlives this
// process; its stdin is empty, and the end of what it writes to stdout and stderr is kept for Exit.
func (l *Local) Launch(ctx context.Context, a Launch) (Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := CheckEnv(a.Env); err != nil {
		return nil, err
	}
	if err := checkCwd(a.Cwd); err != nil {
		return nil, err
	}
	if err := a.Sandbox.Validate(); err != nil {
		return nil, err
	}
	mark := a.Mark
	if mark == "" {
		mark = randomHex(markBytes)
	}
	argv, path, err := l.command(a)
	if err != nil {
		return nil, err
	}
	if a.Sandbox != nil {
		if argv, path, err = l.confine(a, argv, path); err != nil {
			return nil, err
		}
	}
	out, err := newOutput()
	if err != nil {
		return nil, fault.Wrap(fault.Busy, err, "no pipe for the kernel's output")
	}
	build := func() *exec.Cmd {
		return &exec.Cmd{
			Path: path, Args: argv, Dir: a.Cwd, Env: l.env(a, mark), Stdout: out.child, Stderr: out.child,
			// As jupyter_client: a session, not only a group, because some kernels run interactive shells.
			SysProcAttr: &syscall.SysProcAttr{Setsid: true},
		}
	}
	group := l.newGroup(a)
	if a.Release != nil {
		a.Release()
	}
	cmd, group, err := l.startIn(group, build)
	if err != nil {
		out.abandon()
		return nil, startFault(err, a.Spec)
	}
	r := Record{PID: cmd.Process.Pid, PGID: cmd.Process.Pid, Boot: bootID(), Mark: mark, Output: out.inode(), Wrapped: a.Sandbox.wraps()}
	if s := a.Sandbox; s != nil && s.DiskBytes > 0 {
		r.Folders, r.DiskBytes = s.folders(filepath.Dir(a.ConnectionFile)), s.DiskBytes
	}
	r.Enforced = l.enforce(r.PID, group, a)
	if group != nil {
		r.Cgroup = group.Paths()
	}
	return l.watch(cmd, out, r)
}

// watch takes over a process that was just started.
func (l *Local) watch(cmd *exec.Cmd, out *output, r Record) (Process, error) {
	end, err := watchPID(r.PID)
	if err != nil { // a child is there until it is waited for
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		out.abandon()
		if g := cgroup.Load(r.Cgroup); g != nil {
			_ = g.Close()
		}
		return nil, fault.Wrap(fault.Internal, err, "the kernel's process cannot be watched")
	}
	r.StartTime = end.start
	p := newProcess(r, end, out, l.oomFiles)
	p.child = cmd
	p.start()
	return p, nil
}

// checkCwd makes a missing working folder a clear error: exec would report it as if the command was missing.
func checkCwd(dir string) error {
	if dir == "" {
		return nil
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() || !filepath.IsAbs(dir) {
		return fault.Wrap(fault.Unstartable, err, "the kernel cannot start: its working folder is not there")
	}
	return nil
}

// startFault names the command that could not be run, and why.
func startFault(err error, s Spec) error {
	cmd := ""
	if len(s.Argv) > 0 {
		cmd = s.Argv[0]
	}
	why := "it cannot be executed"
	switch {
	case errors.Is(err, exec.ErrNotFound):
		why = "no such command"
	case errors.Is(err, syscall.ENOENT): // it was found, so it is what exec looked for in its name
		why = "the interpreter that its first line names is not there"
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		why = "it is not executable for the server"
	case errors.Is(err, syscall.ENOEXEC):
		why = "it is neither a program of this machine nor a script with a #! line"
	case errors.Is(err, syscall.E2BIG):
		why = "its arguments and environment are too large"
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ENOMEM), fault.OutOfDescriptors(err),
		errors.Is(err, syscall.EBADF): // the new process has no numbers left for its descriptors
		return fault.Wrap(fault.Busy, err, "the server has no resources for another process")
	}
	return fault.Wrap(fault.Unstartable, err, "kernelspec %s cannot start: command %q: %s", s.Name, cmd, why)
}

// closeOnExec marks the descriptors that this process was born with. Those that Go opens are marked already.
func closeOnExec() error {
	names, err := os.ReadDir("/dev/fd")
	if err != nil {
		return err
	}
	for _, n := range names {
		if fd, err := strconv.Atoi(n.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
	return nil
}
