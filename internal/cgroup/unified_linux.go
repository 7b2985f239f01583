package cgroup

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// leaf is the cgroup of the server itself, where its own has to be free of processes.
const leaf = "nbserv-server"

var (
	errNotOurs = errors.New("the server's cgroup is not writable for it")
	errShared  = errors.New("other processes are in the server's cgroup, so that it can have no limited ones below it")
	errSystemd = errors.New("systemd has not delegated the server's cgroup: its unit wants Delegate=yes")
)

// openUnified finds the folder below which v2 groups can be made, given this process's own, and the controllers that
// they have. An error says why there are none, or no controllers.
func openUnified(own string, sys system) (base string, on []string, err error) {
	base = own
	if filepath.Base(base) == leaf { // an earlier process of this program moved us, or our parent
		base = filepath.Dir(base)
	}
	if !writable(base) || !writable(filepath.Join(base, "cgroup.procs")) {
		return "", nil, errNotOurs
	}
	if exists(sys.systemd) && !sys.delegated(base) {
		return "", nil, errSystemd
	}
	on, err = sys.enable(base)
	return base, on, err
}

// delegated tells whether systemd has left a cgroup to its processes. A user's is given to them by its owner.
func delegated(dir string) bool {
	if os.Geteuid() != 0 {
		return true
	}
	for _, attr := range []string{"user.delegate", "trusted.delegate"} {
		var v [8]byte
		if n, err := unix.Getxattr(dir, attr, v[:]); err == nil && string(v[:n]) == "1" {
			return true
		}
	}
	return false
}

// enable has the wanted controllers for the children of base, as far as they are to be had, and lists them.
func (sys system) enable(base string) (on []string, err error) {
	control := filepath.Join(base, "cgroup.subtree_control")
	on = among(control)
	var missing []string
	for _, c := range among(filepath.Join(base, "cgroup.controllers")) {
		if !slices.Contains(on, c) {
			missing = append(missing, c)
		}
	}
	if len(missing) == 0 {
		return on, nil
	}
	if exists(filepath.Join(base, "cgroup.type")) { // all but the root have one, and the root may hold processes
		if err := sys.vacate(base); err != nil {
			return on, err
		}
	}
	for _, c := range missing {
		if e := sys.write(control, "+"+c); e != nil {
			err = errors.Join(err, fmt.Errorf("controller %s: %w", c, e))
		}
	}
	return among(control), err
}

// among lists the wanted controllers that a file names.
func among(file string) []string {
	raw, _ := os.ReadFile(file)
	return slices.DeleteFunc(strings.Fields(string(raw)), func(c string) bool { return !slices.Contains(wanted, c) })
}

// vacate moves the processes of this program from base into a leaf below it. It moves none when others are there,
// too: they are not ours to move, and those of our own would move for nothing.
func (sys system) vacate(base string) error {
	pids, err := readPids(base)
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if !sys.ours(pid) {
			return errShared
		}
	}
	to := filepath.Join(base, leaf)
	if err := os.Mkdir(to, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	for _, pid := range pids {
		if err := sys.write(filepath.Join(to, "cgroup.procs"), strconv.Itoa(pid)); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

// runsUs tells whether a process runs this program: the server, and the host of its kernels.
func runsUs(pid int) bool {
	me, err := os.Readlink("/proc/self/exe")
	exe, _ := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
	return err == nil && exe == me
}

// cloneInto tells whether a process can be started inside a cgroup: from Linux 5.7 on, and where no filter of system
// calls forbids it. It asks for a cgroup by a descriptor that nobody has, and is told so if it is understood.
func cloneInto() bool {
	// https://man7.org/linux/man-pages/man2/clone.2.html: struct clone_args, 11 fields in its third version
	args := [11]uint64{0: unix.CLONE_INTO_CGROUP, 4: uint64(unix.SIGCHLD), 10: math.MaxInt32}
	pid, _, errno := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&args[0])), unsafe.Sizeof(args), 0)
	if errno == 0 { // a system that overlooks what it does not know, and has made a copy of us
		if pid == 0 {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
		_, _ = unix.Wait4(int(pid), nil, 0, nil)
	}
	return errno == unix.EBADF
}

func write(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
