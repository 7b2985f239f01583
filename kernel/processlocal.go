package kernel

import (
	"errors"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/nbserv/nbserv/internal/cgroup"
	"github.com/nbserv/nbserv/internal/fault"
)

// killWait is how long Kill waits for a tree to be gone. Ending a process with SIGKILL takes milliseconds;
// what takes longer hangs in the operating system (a dead network disk) and may take for ever.
const killWait = 2 * time.Second

// localProcess is a Process of this machine.
type localProcess struct {
	// immutable
	child  *exec.Cmd // nil for one that another server started
	record Record
	end    *processWatch // nil for one that had ended when it was found
	output *output       // nil for one whose output cannot be read
	group  *cgroup.Group // nil where it has none of its own
	oom    oomCounter
	done   chan struct{}
	left   chan struct{} // closed when watch has ended without the process's end

	mu       sync.Mutex
	ended    bool           // guarded by mu: the process was waited for, its PID may be another's
	killed   bool           // guarded by mu: by us
	overDisk bool           // guarded by mu: killed by watchDisk
	seen     map[int]uint64 // guarded by mu: start times of members of the tree by PID
	exit     Exit           // written before done is closed
}

// newProcess makes a localProcess that nobody watches yet.
func newProcess(r Record, end *processWatch, out *output, oomFiles []string) *localProcess {
	group := cgroup.Load(r.Cgroup)
	if group != nil && group.OOMFile() != "" {
		oomFiles = []string{group.OOMFile()} // it counts no others
	}
	return &localProcess{
		record: r, end: end, output: out, group: group, oom: newOOMCounter(oomFiles), seen: map[int]uint64{},
		done: make(chan struct{}), left: make(chan struct{}),
	}
}

// start begins to watch. That ends with the process, or by Release.
func (p *localProcess) start() {
	if p.output != nil {
		p.output.start()
	}
	go p.watch()
	if p.record.DiskBytes > 0 {
		go p.watchDisk(p.record.Folders, p.record.DiskBytes)
	}
}

// watch waits for the process to end.
func (p *localProcess) watch() {
	if !p.end.await() {
		close(p.left)
		return
	}
	// As long as it is not waited for, or its session has members, the PID names its group and session: the last
	// moment to see who is in them.
	p.remember()

	p.mu.Lock()
	exit := p.status()
	p.ended = true
	killed, overDisk := p.killed, p.overDisk
	p.mu.Unlock()
	p.end.close()

	if p.output != nil {
		exit.Stderr = p.output.finish()
	}
	exit.OverDisk = overDisk
	exit.OutOfMemory = (exit.Signal == syscall.SIGKILL || exit.Code == shellKilled || exit.Unknown) && !killed && p.oom.rose()
	if exit.OutOfMemory && p.group != nil && p.group.LimitReached() {
		exit.MemoryLimit = p.record.Enforced.MemoryBytes
	}
	p.exit = exit
	close(p.done)
}

// shellKilled is the exit code by which a shell says that what it ran was ended by SIGKILL.
const shellKilled = 128 + int(syscall.SIGKILL)

// status waits for the process, which has ended. mu is held.
func (p *localProcess) status() (e Exit) {
	switch {
	case p.child != nil:
		_ = p.child.Wait()               // an exit code that is not 0 is an error too; State tells more
		if p.child.ProcessState == nil { // somebody else in this process has waited for it
			return Exit{Code: -1, Unknown: true}
		}
		e = newExit(p.child.ProcessState.Sys().(syscall.WaitStatus))
		e.State = p.child.ProcessState
	default:
		ws, ok := p.end.status()
		if !ok {
			return Exit{Code: -1, Unknown: true}
		}
		e = newExit(ws)
	}
	if p.record.Wrapped {
		e = e.unwrapped()
	}
	return e
}

func newExit(ws syscall.WaitStatus) Exit {
	if ws.Signaled() {
		return Exit{Code: -1, Signal: ws.Signal(), CoreDumped: ws.CoreDump()}
	}
	return Exit{Code: ws.ExitStatus()}
}

func (p *localProcess) Record() Record        { return p.record }
func (p *localProcess) Done() <-chan struct{} { return p.done }
func (p *localProcess) Exit() Exit            { return p.exit }

// Release implements Process.
func (p *localProcess) Release() {
	p.end.release()
	select {
	case <-p.done:
		return
	case <-p.left:
	}
	p.end.close()
	if p.output != nil {
		p.output.finish()
	}
	if p.child != nil {
		_ = p.child.Process.Release()
	}
}

func (p *localProcess) Interrupt() error {
	if p.record.Wrapped {
		return p.interruptInside()
	}
	alive, err := p.signalGroup(syscall.SIGINT)
	if !alive {
		return fault.New(fault.Gone, "the kernel's process has ended")
	}
	return err
}

func (p *localProcess) Terminate() error {
	tree := p.members() // before the signal: those whose parent it ends are harder to find
	defer closeAll(tree)
	if p.record.Wrapped {
		p.signalInside(tree, syscall.SIGTERM)
		return nil
	}
	alive, err := p.signalGroup(syscall.SIGTERM)
	for _, m := range tree {
		if !alive || m.pgid != p.record.PGID {
			m.signal(syscall.SIGTERM)
		}
		m.signal(syscall.SIGCONT) // a stopped process takes nothing but SIGKILL
	}
	return err
}

func (p *localProcess) Kill() error {
	p.mu.Lock()
	p.killed = p.killed || !p.ended
	p.mu.Unlock()
	deadline := time.Now().Add(killWait)
	if p.group != nil {
		p.group.Seal() // so that the dead can be told, whom nothing marks any more
	}
	p.remember() // while parents and sessions still tell
	if _, err := p.signalGroup(syscall.SIGKILL); err != nil {
		return err
	}
	if p.group != nil {
		_ = p.group.Kill(killWait) // what it cannot end is found below
	}
	// Once is not enough: a process between fork and exec cannot be told from others.
	for quiet := 0; quiet < 2; quiet++ {
		tree := p.members()
		if len(tree) > 0 {
			quiet = -1
		}
		for _, m := range tree {
			m.signal(syscall.SIGKILL)
		}
		awaitMembers(tree, deadline)
		closeAll(tree)
		select {
		case <-p.done:
		case <-time.After(time.Until(deadline)):
		}
		if quiet < 0 && time.Now().After(deadline) {
			return fault.New(fault.Timeout, "%d processes of the kernel cannot be ended", len(tree))
		}
	}
	select {
	case <-p.done:
	default:
		return fault.New(fault.Timeout, "the kernel's process cannot be ended")
	}
	if p.group != nil {
		if err := p.group.Close(); err != nil {
			return fault.Wrap(fault.Internal, err, "remove the kernel's cgroup")
		}
	}
	return nil
}

// signalGroup signals the kernel's process group; alive is false when the process is no more, and then its
// group's number may be another's.
func (p *localProcess) signalGroup(sig syscall.Signal) (alive bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return false, nil
	}
	if p.child != nil {
		err = syscall.Kill(-p.record.PGID, sig)
	} else if err = p.end.signalGroup(sig); errors.Is(err, syscall.ESRCH) {
		return false, nil // it ended this moment
	}
	if err != nil {
		return true, fault.Wrap(fault.Internal, err, "signal the kernel's process group")
	}
	return true, nil
}

func closeAll(ms []member) {
	for _, m := range ms {
		m.close()
	}
}
