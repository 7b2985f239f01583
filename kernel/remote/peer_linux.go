package remote

import "golang.org/x/sys/unix"

// peerUID is the user of the process that made the connection. https://man7.org/linux/man-pages/man7/unix.7.html
func peerUID(fd int) (int, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return -1, err
	}
	return int(cred.Uid), nil
}
