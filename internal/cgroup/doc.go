// Package cgroup gives a process tree a cgroup of its own, where this machine allows it, to limit it, to see what it
// uses, and to end every process of it.
//
// A Tree is the place of one server's groups: the unified hierarchy (cgroup v2) as far as it is delegated to us
// (https://systemd.io/CGROUP_DELEGATION/), and v1 hierarchies for the controllers that v2 does not have. A Group is
// one folder in each. A process is in its group before it runs its first instruction: it is cloned into a v2 group,
// and for v1 it is started by a thread that is in the group.
// https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/
//
// Nothing here runs by itself. A Tree is safe for concurrent use; of a Group, Close comes last.
package cgroup

import (
	"errors"
	"time"
)

// ErrNone says that this machine has no cgroups for us; the error that wraps it says why.
var ErrNone = errors.New("no cgroup can be made here")

// ErrJoin says that a process could not be started in a group because nobody may join it.
var ErrJoin = errors.New("the cgroup cannot be joined")

// ErrBusy says that processes of a group could not be ended in time.
var ErrBusy = errors.New("processes of the cgroup cannot be ended")

// Limits bound the processes of a group together; a zero field is no limit.
type Limits struct {
	MemoryBytes int64
	CPUs        float64 // of one processor's time
	Processes   int     // threads count as processes
}

// Usage is what the processes of a group use together.
type Usage struct {
	MemoryBytes int64         // without the file cache that the system can drop at once
	CPU         time.Duration // processor time since the group was made; 0 where nobody counts it
	Processes   int           // threads included; 0 where nobody counts them
}
