package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/kernel/remote"
)

const (
	hostNoteFile = "host.json"
	hostLogFile  = "host.log"
)

// hostNote is what a kernel host writes into its state folder, for those who look for it.
type hostNote struct {
	Socket  string `json:"socket"`
	PID     int    `json:"pid"`
	Version string `json:"version"`
}

func (n hostNote) String() string {
	if n.PID == 0 {
		return "of an unknown process"
	}
	return fmt.Sprintf("process %d", n.PID)
}

// readHostNote gives what the last kernel host of a state folder wrote; the zero hostNote if there is none.
func readHostNote(state string) (n hostNote) {
	raw, err := os.ReadFile(filepath.Join(state, hostNoteFile))
	if err != nil || json.Unmarshal(raw, &n) != nil {
		return hostNote{}
	}
	return n
}

// spawner starts the kernel host of a state folder: from this program's file, which may be another version by then.
type spawner struct {
	state  string
	exe    string
	level  string
	format string
	env    []string
	log    *slog.Logger
	last   int // the process of the kernel host, if it is a child of ours; 0 if unknown
}

func newSpawner(c *Config, state string, log *slog.Logger) *spawner {
	return &spawner{
		state: state, exe: c.env.exe, level: c.LogLevel, format: c.LogFormat,
		env:  kernel.Inherited(c.env.list, nil), // what it does not have it cannot give away (S6)
		log:  log,
		last: readHostNote(state).PID,
	}
}

// socket is where the kernel host listens; a path without a socket when there was none so far.
func (s *spawner) socket() string {
	if n := readHostNote(s.state); n.Socket != "" {
		return n.Socket
	}
	return filepath.Join(s.state, hostNoteFile+".none")
}

// start starts a kernel host in a session of its own: no signal to the server's terminal or group reaches it. Where
// another one has the state folder, it ends at once.
func (s *spawner) start(context.Context) error {
	s.reap()
	out, err := os.OpenFile(filepath.Join(s.state, hostLogFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(s.exe, "host", "--state-dir="+s.state, "--log-file="+out.Name(), "--log-level="+s.level, "--log-format="+s.format)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = s.env, s.state, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.log.Info("kernel host started", "pid", cmd.Process.Pid)
	s.last = cmd.Process.Pid
	return cmd.Process.Release()
}

// reap waits for a kernel host that has ended: it is a child of this process, or of the one that it has replaced.
func (s *spawner) reap() {
	if s.last > 0 {
		_, _ = syscall.Wait4(s.last, nil, syscall.WNOHANG, nil)
	}
}

// renew replaces a kernel host of another version that has nothing to lose.
func (s *spawner) renew(ctx context.Context, h *remote.Host, o remote.Options) (*remote.Host, error) {
	peer, _ := h.Peer()
	if peer.Version == version || len(h.List()) > 0 {
		return h, nil
	}
	s.log.Info("kernel host of another version is replaced", "pid", peer.PID, "was", peer.Version)
	err := h.Stop(ctx, hurryTime)
	h.Close()
	if err != nil {
		return nil, err
	}
	return remote.Dial(ctx, o)
}
