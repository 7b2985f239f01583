package kernel

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// adoptOrphans does nothing: only Linux hands orphans to an ancestor other than init.
func adoptOrphans() {}

// outputPipe makes the pipe for a kernel's output. After this process's death a kernel that writes to its own
// stdout gets SIGPIPE here; what it prints for clients goes another way.
func outputPipe() (child, r *os.File, err error) {
	r, child, err = os.Pipe()
	return child, r, err
}

// reopenOutput finds nothing: a pipe has no name here.
func reopenOutput(Record) *output { return nil }

// startTime is when a process started, in microseconds since 1970; 0 if there is none.
func startTime(pid int) uint64 {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil || int(info.Proc.P_pid) != pid {
		return 0
	}
	began := info.Proc.P_starttime
	return uint64(began.Sec)*1e6 + uint64(began.Usec)
}

// bootID names this run of the machine.
func bootID() string {
	id, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return ""
	}
	return id
}

// markOf is the mark in the environment of a process, which is not to be seen here.
func markOf(int) string { return "" }

// findMarked finds nothing: see markOf.
func findMarked(string) (pid int) { return 0 }

// strays finds nothing: see markOf.
func strays(string, map[string]bool) map[string]bool { return nil }

// member would be a process of the tree outside of the kernel's group: none is known here.
type member struct{ pgid int }

func (p *localProcess) members() []member { return nil }
func (p *localProcess) remember()         {}
func (m member) signal(syscall.Signal)    {}
func (m member) close()                   {}
func awaitMembers([]member, time.Time)    {}
