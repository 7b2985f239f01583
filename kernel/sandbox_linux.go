package kernel

import (
	"syscall"

	"github.com/nbserv/nbserv/internal/fault"
)

// sandboxes tells whether this system can confine kernels.
const sandboxes = true

// bubblewrap is two processes around a kernel: the one we started, which a signal would end, and the first
// process of the kernel's own process numbers, which takes no signal but SIGKILL. So signals that ask for
// something go to the others. It passes on how the kernel ended as a shell does.

// interruptInside is Interrupt for a kernel that is confined.
func (p *localProcess) interruptInside() error {
	p.mu.Lock()
	ended := p.ended
	p.mu.Unlock()
	if ended {
		return fault.New(fault.Gone, "the kernel's process has ended")
	}
	tree := p.members()
	defer closeAll(tree)
	for _, m := range tree {
		if m.pgid == p.record.PGID && m.pid != p.record.PID {
			m.signal(syscall.SIGINT)
		}
	}
	return nil
}

// signalInside sends sig to all of tree but what confines it.
func (p *localProcess) signalInside(tree []member, sig syscall.Signal) {
	for _, m := range tree {
		if m.pid != p.record.PID {
			m.signal(sig)
			m.signal(syscall.SIGCONT) // a stopped process takes nothing but SIGKILL
		}
	}
}
