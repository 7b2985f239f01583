//go:build !linux

package kernel

import (
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// adoptOrphans does nothing: only Linux hands orphans to an ancestor other than init.
func adoptOrphans() {}

// awaitExit blocks until the child pid has ended, and leaves it to be waited for.
func awaitExit(pid int) {
	kq, err := unix.Kqueue()
	if err != nil {
		return
	}
	defer unix.Close(kq)
	ev := []unix.Kevent_t{{}}
	unix.SetKevent(&ev[0], pid, unix.EVFILT_PROC, unix.EV_ADD|unix.EV_ONESHOT)
	ev[0].Fflags = unix.NOTE_EXIT
	for {
		// A process that has ended already cannot be registered, and that is an answer too.
		if _, err := unix.Kevent(kq, ev, ev, nil); !errors.Is(err, syscall.EINTR) {
			return
		}
	}
}

// outputPipe makes the pipe for a kernel's output. After this process's death a kernel that writes to its own
// stdout gets SIGPIPE here; what it prints for clients goes another way.
func outputPipe() (child, r *os.File, err error) {
	r, child, err = os.Pipe()
	return child, r, err
}

// startTime is not known here.
func startTime(int) uint64 { return 0 }

// member would be a process of the tree outside of the kernel's group: none is known here.
type member struct{ pgid int }

func (p *localProcess) members() []member { return nil }
func (p *localProcess) reapMembers()      {}
func (p *localProcess) remember()         {}
func (m member) signal(syscall.Signal)    {}
func (m member) close()                   {}
func awaitMembers([]member, time.Time)    {}
