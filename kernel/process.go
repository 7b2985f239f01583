package kernel

import (
	"context"
	"os"
	"syscall"
)

// Provisioner starts kernel processes.
type Provisioner interface {
	// Launch starts a process that outlives ctx, which bounds the call only. A process that cannot be
	// started is Unstartable, an Env that clients may not set Invalid.
	Launch(ctx context.Context, l Launch) (Process, error)
	// Adopt finds a process that an earlier Provisioner launched, and watches over it as over its own. A Record
	// without PID is found by its mark. A process that has ended is Gone, with a message that says what is
	// known of its end; what was left of its tree has been ended then. Another fault says nothing of the process.
	Adopt(ctx context.Context, r Record) (Process, error)
	// EndStrays ends the processes whose marks begin with prefix, but for those whose marks are in keep, and
	// gives the marks it found.
	EndStrays(prefix string, keep map[string]bool) []string
}

// Launch is everything a Provisioner needs to start one incarnation of a kernel.
type Launch struct {
	KernelID       string
	Mark           string // for Record; "" makes one
	Spec           Spec
	ConnectionFile string            // absolute path of a file already written for it
	Release        func()            // gives up what is held for the kernel, its ports, right before it starts; may be nil
	Cwd            string            // absolute; "" is the server's own
	Env            map[string]string // the client's additions: see CheckEnv
	Limits         Limits            // of the process tree
	Sandbox        *Sandbox          // what the process tree may see and do; nil for all
}

// Process is one incarnation of a kernel: a process tree. Safe for concurrent use.
type Process interface {
	Record() Record
	// Interrupt sends SIGINT to the kernel's process group. A process that has ended is Gone.
	Interrupt() error
	// Terminate sends SIGTERM to the whole process tree. It does nothing when there is none left.
	Terminate() error
	// Kill ends the whole process tree, also members that left its group or session, and returns when they
	// are gone, or with Timeout when some could not be ended in two seconds. It may be called after Done, and
	// the owner always does: then it ends what the kernel left behind.
	Kill() error
	// Done is closed when the kernel's process has ended and been waited for.
	Done() <-chan struct{}
	// Exit tells how it ended; valid once Done is closed.
	Exit() Exit
	// Usage is what the process tree uses now; false where that is not known.
	Usage() (Usage, bool)
	// Memory is, for who asks often, what of its limit the process tree uses, and how many processes of it the
	// system has ended for want of memory; false where there is no limit, or nothing known.
	Memory() (used int64, kills uint64, ok bool)
	// Release gives the process up, which lives on for whoever adopts it: from then on it is not watched, and
	// Done may never be closed. It is called once, and nothing after it.
	Release()
}

// Record is what a later server needs to find a process again.
type Record struct {
	PID       int
	PGID      int
	StartTime uint64 // to tell a reused PID: in clock ticks since boot on Linux, in microseconds since 1970 on macOS
	Boot      string // names the run of the machine that PID and StartTime belong to
	Mark      string // the value of NBSERV_KERNEL_PROCESS in the environment of every process of the tree
	Output    uint64 // on Linux the inode of the pipe that it was given as stdout and stderr; 0 if there is none
	Wrapped   bool   // PID is the one that confines the kernel: signals that ask for something are not for it
	// Folders are those in which it may keep no more than DiskBytes; 0 is no bound.
	Folders   []string
	DiskBytes int64
	Cgroup    []string // the folders of its own cgroup, one in each hierarchy; none where there is no cgroup
	Enforced  Enforced
}

// Exit is how a process ended.
type Exit struct {
	Code        int            // exit code; -1 when a signal ended it
	Signal      syscall.Signal // 0 when it exited by itself
	CoreDumped  bool
	OutOfMemory bool   // the system ended it to free memory
	MemoryLimit int64  // the limit that it had reached then; 0 when it was the machine's memory that was full
	OverDisk    bool   // we ended it: it kept more on the disk than its Sandbox lets it
	Unknown     bool   // nobody could tell: it was another server's child. Code is -1 then
	Stderr      string // the last 64 KiB it wrote to stdout and stderr, for the log and the death notice
	State       *os.ProcessState
}
