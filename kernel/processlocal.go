package kernel

import (
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
)

// killWait is how long Kill waits for a tree to be gone. Ending a process with SIGKILL takes milliseconds;
// what takes longer hangs in the operating system (a dead network disk) and may take for ever.
const killWait = 2 * time.Second

// localProcess is a Process of this machine.
type localProcess struct {
	// immutable
	cmd    *exec.Cmd
	record Record
	output *output
	oom    oomCounter
	done   chan struct{}

	mu     sync.Mutex
	ended  bool           // guarded by mu: the process was waited for, its PID may be another's
	killed bool           // guarded by mu: by us
	seen   map[int]uint64 // guarded by mu: start times of members of the tree by PID
	exit   Exit           // written before done is closed
}

// watchProcess takes over a process that was just started.
func watchProcess(cmd *exec.Cmd, out *output, mark string, oomFiles []string) *localProcess {
	pid := cmd.Process.Pid
	p := &localProcess{
		cmd: cmd, output: out, done: make(chan struct{}), seen: map[int]uint64{}, oom: newOOMCounter(oomFiles),
		record: Record{PID: pid, PGID: pid, StartTime: startTime(pid), Mark: mark},
	}
	out.start()
	go p.watch() // ends with the process; Done tells
	return p
}

// watch waits for the process to end.
func (p *localProcess) watch() {
	awaitExit(p.record.PID)
	// As long as it is not waited for, the PID names its group and session: the last moment to see who is in
	// them.
	p.remember()

	p.mu.Lock()
	_ = p.cmd.Wait() // an exit code that is not 0 is an error too; State tells more
	p.ended = true
	killed := p.killed
	p.mu.Unlock()

	p.exit = newExit(p.cmd.ProcessState.Sys().(syscall.WaitStatus))
	p.exit.State = p.cmd.ProcessState
	p.exit.Stderr = p.output.finish()
	p.exit.OutOfMemory = p.exit.Signal == syscall.SIGKILL && !killed && p.oom.rose()
	close(p.done)
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

func (p *localProcess) Interrupt() error {
	alive, err := p.signalGroup(syscall.SIGINT)
	if !alive {
		return fault.New(fault.Gone, "the kernel's process has ended")
	}
	return err
}

func (p *localProcess) Terminate() error {
	alive, err := p.signalGroup(syscall.SIGTERM)
	for _, m := range p.members() {
		if !alive || m.pgid != p.record.PGID {
			m.signal(syscall.SIGTERM)
		}
		m.signal(syscall.SIGCONT) // a stopped process takes nothing but SIGKILL
		m.close()
	}
	return err
}

func (p *localProcess) Kill() error {
	p.mu.Lock()
	p.killed = p.killed || !p.ended
	p.mu.Unlock()
	_, groupErr := p.signalGroup(syscall.SIGKILL)
	deadline := time.Now().Add(killWait)
	for {
		alive := p.members()
		if len(alive) == 0 {
			break
		}
		if time.Now().After(deadline) {
			closeAll(alive)
			return fault.Wrap(fault.Timeout, groupErr, "%d processes of the kernel cannot be ended", len(alive))
		}
		for _, m := range alive {
			m.signal(syscall.SIGKILL)
		}
		awaitMembers(alive, deadline)
		closeAll(alive)
	}
	select {
	case <-p.done:
	case <-time.After(time.Until(deadline)):
		return fault.New(fault.Timeout, "the kernel's process cannot be ended")
	}
	p.reapMembers()
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
	if err := syscall.Kill(-p.record.PGID, sig); err != nil {
		return true, fault.Wrap(fault.Internal, err, "signal the kernel's process group")
	}
	return true, nil
}

func closeAll(ms []member) {
	for _, m := range ms {
		m.close()
	}
}
