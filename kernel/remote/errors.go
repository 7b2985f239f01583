package remote

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// protocolError is a kernel host of another version.
type protocolError struct{ peer Hello }

func (e *protocolError) Error() string {
	return fmt.Sprintf("the kernel host (process %d, nbserv %s) speaks protocol %v and this server protocol %d: "+
		"end the old kernel host, which ends its kernels, or run the version that fits it",
		e.peer.PID, e.peer.Version, e.peer.Protocols, protocol)
}

func asProtocolError(err error, to **protocolError) bool { return errors.As(err, to) }

// absent tells whether err says that no kernel host serves the socket. At a path that is too long for a socket (EINVAL:
// the state folder may be deep) there cannot be one.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EINVAL)
}
