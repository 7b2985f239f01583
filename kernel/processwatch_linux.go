package kernel

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// processWatch waits for the end of one process, whoever's child it is.
type processWatch struct {
	pid   int
	start uint64
	fd    *os.File      // a pidfd in the runtime's poller; nil where none is to be had
	stop  chan struct{} // closed by release
}

// lookAgain is how often a process without a pidfd is looked for: before Linux 5.3, or without descriptors.
const lookAgain = 100 * time.Millisecond

// watchPID watches the process that has the number pid now. It fails with ESRCH when there is none.
func watchPID(pid int) (*processWatch, error) {
	w := &processWatch{pid: pid, stop: make(chan struct{})}
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, syscall.ESRCH) {
		return nil, err
	}
	if err == nil {
		w.fd = os.NewFile(uintptr(fd), "pidfd")
	}
	if w.start = startTime(pid); w.start == 0 {
		w.close()
		return nil, syscall.ESRCH
	}
	return w, nil
}

// await blocks until the process has ended, and leaves it to be waited for; false says that release was called.
func (w *processWatch) await() (ended bool) {
	if w.fd != nil {
		raw, err := w.fd.SyscallConn()
		if err == nil {
			err = raw.Read(pidfdReadable)
		}
		if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			return err == nil
		}
	}
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for !w.over() {
		select {
		case <-tick.C:
		case <-w.stop:
			return false
		}
	}
	return true
}

func pidfdReadable(fd uintptr) bool {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		if !errors.Is(err, syscall.EINTR) {
			return n != 0
		}
	}
}

// over tells whether the process has ended by now.
func (w *processWatch) over() bool {
	q, ok := readProc(w.pid)
	return !ok || q.dead || q.start != w.start
}

// release makes await return.
func (w *processWatch) release() {
	close(w.stop)
	if w.fd != nil {
		_ = w.fd.SetReadDeadline(time.Unix(1, 0))
	}
}

// close gives the descriptor back. await has returned.
func (w *processWatch) close() {
	if w.fd != nil {
		_ = w.fd.Close()
	}
}

// status is how the process ended, when it is not known to be our child. Its parent knows; others learn it from
// what is left of the process until its parent has waited for it, or, from Linux 6.15 on, by the pidfd afterwards.
func (w *processWatch) status() (ws syscall.WaitStatus, ok bool) {
	if pid, err := syscall.Wait4(w.pid, &ws, syscall.WNOHANG, nil); err == nil && pid == w.pid {
		return ws, true
	}
	for range 2 { // it may be waited for between the two
		if ws, ok = zombieStatus(w.pid, w.start); ok {
			return ws, true
		}
		if ws, ok = w.pidfdStatus(); ok {
			return ws, true
		}
	}
	return 0, false
}

// zombieStatus reads the exit status of a process that nobody has waited for yet. The kernel shows 0 to those
// who may not know, so a 0 of another user's process says nothing.
// https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html (exit_code)
func zombieStatus(pid int, start uint64) (ws syscall.WaitStatus, ok bool) {
	dir := "/proc/" + strconv.Itoa(pid)
	raw, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return 0, false
	}
	q, ok := parseProc(pid, raw)
	f := bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:])
	if !ok || !q.dead || q.start != start || len(f) < 50 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(f[49]), 10, 32)
	if err != nil {
		return 0, false
	}
	var st syscall.Stat_t
	if n == 0 && (syscall.Stat(dir, &st) != nil || int(st.Uid) != os.Geteuid()) {
		return 0, false
	}
	return syscall.WaitStatus(n), true
}

// pidfdInfo is Linux' struct pidfd_info, version 0. https://man7.org/linux/man-pages/man2/ioctl_pidfd.2.html
type pidfdInfo struct {
	mask, _  uint64
	_        [11]uint32
	exitCode int32
}

const (
	pidfdInfoExit = 1 << 3
	pidfdGetInfo  = 3<<30 | unsafe.Sizeof(pidfdInfo{})<<16 | 0xff<<8 | 11 // _IOWR(0xff, 11, struct pidfd_info)
)

func (w *processWatch) pidfdStatus() (ws syscall.WaitStatus, ok bool) {
	if w.fd == nil {
		return 0, false
	}
	raw, err := w.fd.SyscallConn()
	if err != nil {
		return 0, false
	}
	info := pidfdInfo{mask: pidfdInfoExit}
	_ = raw.Control(func(fd uintptr) {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, pidfdGetInfo, uintptr(unsafe.Pointer(&info)))
		ok = errno == 0 && info.mask&pidfdInfoExit != 0
	})
	return syscall.WaitStatus(uint32(info.exitCode)), ok
}

// signalGroup signals the process group that the process leads. The number of a process that is not our child
// may be given to another as soon as it has ended; Linux 6.9 and later sends by the pidfd, which names no other.
func (w *processWatch) signalGroup(sig syscall.Signal) error {
	const toGroup = 1 << 2 // PIDFD_SIGNAL_PROCESS_GROUP
	err := syscall.EINVAL
	if w.fd != nil {
		if raw, e := w.fd.SyscallConn(); e == nil {
			_ = raw.Control(func(fd uintptr) {
				_, _, err = syscall.Syscall6(unix.SYS_PIDFD_SEND_SIGNAL, fd, uintptr(sig), 0, toGroup, 0, 0)
			})
		}
	}
	switch {
	case err == 0:
		return nil
	case err != syscall.EINVAL:
		return err
	case w.over():
		return syscall.ESRCH
	}
	return syscall.Kill(-w.pid, sig)
}
