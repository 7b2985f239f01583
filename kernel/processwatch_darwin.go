package kernel

import (
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// processWatch waits for the end of one process, whoever's child it is.
type processWatch struct {
	pid   int
	start uint64
	stop  chan struct{} // closed by release
}

// watchPID watches the process that has the number pid now. It fails with ESRCH when there is none.
func watchPID(pid int) (*processWatch, error) {
	start := startTime(pid)
	if start == 0 {
		return nil, syscall.ESRCH
	}
	return &processWatch{pid: pid, start: start, stop: make(chan struct{})}, nil
}

// await blocks until the process has ended, and leaves it to be waited for; false says that release was called.
func (w *processWatch) await() (ended bool) {
	kq, err := unix.Kqueue()
	if err != nil {
		return w.poll()
	}
	defer unix.Close(kq)
	ev := []unix.Kevent_t{{}}
	unix.SetKevent(&ev[0], w.pid, unix.EVFILT_PROC, unix.EV_ADD|unix.EV_ONESHOT)
	ev[0].Fflags = unix.NOTE_EXIT
	// A process that has ended already cannot be registered, and that is an answer too.
	if _, err := unix.Kevent(kq, ev, nil, nil); err != nil && !errors.Is(err, syscall.EINTR) {
		return true
	}
	pause := unix.NsecToTimespec(lookAgain.Nanoseconds())
	for {
		n, err := unix.Kevent(kq, nil, ev, &pause)
		if n > 0 || err != nil && !errors.Is(err, syscall.EINTR) {
			return true
		}
		select {
		case <-w.stop:
			return false
		default:
		}
	}
}

// poll is await without a kqueue.
func (w *processWatch) poll() (ended bool) {
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

// lookAgain is how soon a release is noticed.
const lookAgain = 100 * time.Millisecond

// over tells whether the process has ended by now.
func (w *processWatch) over() bool { return startTime(w.pid) != w.start }

// release makes await return.
func (w *processWatch) release() { close(w.stop) }

func (w *processWatch) close() {}

// status is known of our own children alone.
func (w *processWatch) status() (ws syscall.WaitStatus, ok bool) {
	pid, err := syscall.Wait4(w.pid, &ws, syscall.WNOHANG, nil)
	return ws, err == nil && pid == w.pid
}

// signalGroup signals the process group that the process leads.
func (w *processWatch) signalGroup(sig syscall.Signal) error {
	if w.over() {
		return syscall.ESRCH
	}
	return syscall.Kill(-w.pid, sig)
}
