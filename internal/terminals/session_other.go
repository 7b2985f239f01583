//go:build !linux

package terminals

import "golang.org/x/sys/unix"

// members is the leader of a session. Without /proc only its process group is found; the rest gets SIGHUP from the
// system when the terminal closes.
type members int

func sessionOf(sid int) members { return members(sid) }

func (m members) signal(sig unix.Signal) { _ = unix.Kill(-int(m), sig) }
