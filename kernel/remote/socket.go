package remote

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
)

// Listen makes the unix socket path, readable by this user only; its folder must be so, too. A socket that an earlier
// process left there is replaced: the caller sees to it that no other process serves it. Whoever connects must be of
// this user; others are cut off and logged.
func Listen(path string, log *slog.Logger) (net.Listener, error) {
	info, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s is open to others", filepath.Dir(path))
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = ln.Close()
		return nil, err
	}
	return &ownListener{ln, log}, nil
}

// ownListener accepts connections of this user's processes.
type ownListener struct {
	*net.UnixListener
	log *slog.Logger
}

func (l *ownListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if err := samePeer(conn); err == nil {
			return conn, nil
		} else {
			l.log.Warn("connection to the kernel host refused", "err", err)
		}
		_ = conn.Close()
	}
}

// dial connects to a kernel host, which must be this user's.
func dial(ctx context.Context, path string) (*net.UnixConn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	u := conn.(*net.UnixConn)
	if err := samePeer(u); err != nil {
		_ = u.Close()
		return nil, err
	}
	return u, nil
}

// samePeer is an error unless the process at the other end is this user's.
func samePeer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	uid := -1
	var credErr error
	if err := raw.Control(func(fd uintptr) { uid, credErr = peerUID(int(fd)) }); err != nil {
		return err
	}
	if credErr != nil {
		return credErr
	}
	if uid != os.Geteuid() {
		return fmt.Errorf("the process at the other end is user %d's", uid)
	}
	return nil
}
