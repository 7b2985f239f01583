package lsp

import "golang.org/x/sys/unix"

// waitForExit waits until the child pid has ended, and leaves it to be waited for: until then its number is its own.
func waitForExit(pid int) bool {
	for {
		switch unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) {
		case nil:
			return true
		case unix.EINTR:
		default:
			return false
		}
	}
}
