package kernel

import (
	"context"
	"maps"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// orphanGrace is how long a child of this process may be dead before Run takes it for an orphan that nobody
// waits for. Whoever starts a process waits for it at once.
const orphanGrace = 30 * time.Second

// Run waits for orphans that kernels left to this process, until ctx ends; without it they stay as zombies
// until their kernel is killed. A child that its owner leaves waiting for longer than 30 seconds is taken from
// it.
func (l *Local) Run(ctx context.Context) {
	tick := time.NewTicker(orphanGrace)
	defer tick.Stop()
	var before map[int]uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			before = reapOrphans(before)
		}
	}
}

// reapOrphans waits for the dead children that were dead before, too, and gives the others.
func reapOrphans(before map[int]uint64) (dead map[int]uint64) {
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != nil || info.Signo == 0 {
		return nil // no child is dead
	}
	dead = map[int]uint64{}
	for _, q := range readProcs() {
		if q.dead && q.ppid == os.Getpid() {
			dead[q.pid] = q.start
		}
	}
	maps.DeleteFunc(dead, func(pid int, start uint64) bool {
		if before[pid] != start {
			return false
		}
		_, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
		return err == nil
	})
	return dead
}
