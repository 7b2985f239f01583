package cgroup

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Start starts cmd in the group: it is in it before its first instruction. cmd must not have been started, and its
// SysProcAttr be set. An error may be the cgroup's, not only ErrJoin: the system says EBUSY, for one.
func (g *Group) Start(cmd *exec.Cmd) error {
	if g.v2 != "" {
		fd, err := unix.Open(g.v2, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrJoin, err)
		}
		defer unix.Close(fd)
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, fd
	}
	if len(g.v1) == 0 {
		return cmd.Start()
	}
	done := make(chan error)
	go func() { done <- startFrom(g.v1, cmd) }()
	return <-done
}

// startFrom starts cmd from a thread that is in the v1 groups of the folders dirs: a child begins where the thread
// was that made it. It takes a goroutine of its own.
func startFrom(dirs []string, cmd *exec.Cmd) error {
	runtime.LockOSThread()
	if unix.Gettid() == os.Getpid() { // memory is charged where this thread is: it stays
		done := make(chan error)
		go func() { done <- startFrom(dirs, cmd) }()
		err := <-done
		runtime.UnlockOSThread()
		return err
	}
	tid := strconv.Itoa(unix.Gettid())
	var back []string
	defer func() {
		for _, tasks := range back {
			if write(tasks, tid) != nil {
				return // still locked: the thread ends with this goroutine
			}
		}
		runtime.UnlockOSThread()
	}()
	for _, dir := range dirs {
		if err := write(filepath.Join(dir, "tasks"), tid); err != nil {
			return fmt.Errorf("%w: %w", ErrJoin, err)
		}
		back = append(back, filepath.Join(filepath.Dir(filepath.Dir(dir)), "tasks"))
	}
	return cmd.Start()
}

// PIDs lists the processes of the group and of those that its processes made below it.
func (g *Group) PIDs() []int {
	seen := map[int]bool{}
	var all []int
	for _, dir := range g.Paths() {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return nil
			}
			pids, _ := readPids(path) // gone meanwhile
			for _, pid := range pids {
				if !seen[pid] {
					seen[pid] = true
					all = append(all, pid)
				}
			}
			return nil
		})
	}
	return all
}

func readPids(dir string) ([]int, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	var pids []int
	for line := range strings.Lines(string(raw)) {
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// Seal lets nobody in the group fork any more, as the first step of its end: who is seen in it from now on are all.
func (g *Group) Seal() {
	if dir := g.has["pids"]; dir != "" {
		_ = write(filepath.Join(dir, "pids.max"), "1") // there may be more; no further one is let in
	} else if g.v2 != "" {
		_ = write(filepath.Join(g.v2, "cgroup.freeze"), "1") // SIGKILL is taken by the frozen, too
	}
}

// killStep is how long Kill waits before it looks again: processes take milliseconds to end.
const killStep = 2 * time.Millisecond

// Kill ends every process of the group by SIGKILL, and returns when none is left, or with ErrBusy after wait.
// Nothing can escape it by forking.
func (g *Group) Kill(wait time.Duration) error {
	deadline := time.Now().Add(wait)
	g.Seal()
	for {
		pids := g.PIDs()
		if len(pids) == 0 {
			return nil
		}
		if g.v2 == "" || write(filepath.Join(g.v2, "cgroup.kill"), "1") != nil { // before Linux 5.14
			g.killEach(pids)
		}
		if time.Now().After(deadline) {
			return ErrBusy
		}
		time.Sleep(killStep)
	}
}

// killEach kills those of pids that are in the group. Each is held by a descriptor while that is looked up, so that
// no signal meets another process that got its number.
func (g *Group) killEach(pids []int) {
	held := map[int]int{}
	for _, pid := range pids {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			held[pid] = fd
		}
	}
	for _, pid := range g.PIDs() {
		if fd, ok := held[pid]; ok {
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		} else if len(held) == 0 { // before Linux 5.3
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
	for _, fd := range held {
		_ = unix.Close(fd)
	}
}
