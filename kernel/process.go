package kernel

import (
	"context"
	"os"
	"syscall"
)

// Provisioner starts kernel processes.
type Provisioner interface {
	// Launch starts a process that outlives ctx, which bounds the call only.
	Launch(ctx context.Context, l Launch) (Process, error)
}

// Launch is everything a Provisioner needs to start one incarnation of a kernel.
type Launch struct {
	KernelID       string
	Spec           Spec
	ConnectionFile string            // absolute path of a file already written for it
	Cwd            string            // absolute; "" is the server's own
	Env            map[string]string // the client's additions
}

// Process is one incarnation of a kernel: a process tree. Safe for concurrent use.
type Process interface {
	Record() Record
	// Interrupt sends SIGINT to the kernel's process group.
	Interrupt() error
	// Terminate sends SIGTERM to the whole process tree.
	Terminate() error
	// Kill ends the whole process tree, also members that left its group or session. It returns when the
	// signals are sent; Done tells when the kernel itself is gone.
	Kill() error
	// Done is closed when the kernel's process has ended and been waited for.
	Done() <-chan struct{}
	// Exit tells how it ended; valid once Done is closed.
	Exit() Exit
}

// Record is what a later server needs to find a process again.
type Record struct {
	PID       int
	PGID      int
	StartTime uint64 // in clock ticks since boot on Linux (/proc/PID/stat), to tell a reused PID; 0 if unknown
}

// Exit is how a process ended.
type Exit struct {
	Code       int            // exit code; -1 when a signal ended it
	Signal     syscall.Signal // 0 when it exited by itself
	CoreDumped bool
	Stderr     string // the last lines it wrote to stderr, for the log and the death notice; bounded
	State      *os.ProcessState
}
