package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// restartSignal asks a server to replace itself; nbserv restart sends it.
const restartSignal = syscall.SIGUSR2

const (
	// inheritVar names the descriptor from which a successor reads what it inherits.
	inheritVar = "NBSERV_INHERITED"
	// mainListener is the server's own address among the inherited ones; others have their endpoint's name.
	mainListener = ""
	// checkTime bounds the trial run of a new program.
	checkTime = 5 * time.Second
)

// inheritance is what a server leaves to the program that replaces it, under the same process id: descriptors, so that
// no connection is refused meanwhile, and the state folder stays locked.
type inheritance struct {
	Listeners map[string]int `json:"listeners"` // descriptors by name
	State     string         `json:"state"`     // path of the state folder
	Lock      int            `json:"lock"`      // descriptor
	Restarts  int            `json:"restarts"`
}

// inherit reads what this program inherits; nil if it replaces none.
func inherit(env environment) (*inheritance, error) {
	text := env.vars[inheritVar]
	if text == "" {
		return nil, nil
	}
	fd, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %q is no descriptor", inheritVar, text)
	}
	f := os.NewFile(uintptr(fd), "inheritance")
	defer f.Close()
	var i inheritance
	if err := json.NewDecoder(f).Decode(&i); err != nil {
		return nil, fmt.Errorf("%s: %w", inheritVar, err)
	}
	syscall.CloseOnExec(i.Lock)
	for _, fd := range i.Listeners {
		syscall.CloseOnExec(fd)
	}
	return &i, nil
}

// listener is an inherited one; nil if there is none of this name.
func (i *inheritance) listener(name string) (net.Listener, error) {
	if i == nil {
		return nil, nil
	}
	fd, ok := i.Listeners[name]
	if !ok {
		return nil, nil
	}
	f := os.NewFile(uintptr(fd), "listener")
	defer f.Close() // net.FileListener has its own
	return net.FileListener(f)
}

// stateDir is the inherited state folder; nil if there is none.
func (i *inheritance) stateDir() *stateDir {
	if i == nil {
		return nil
	}
	return &stateDir{i.State, os.NewFile(uintptr(i.Lock), "lock")}
}

// successor is the program that goes on with what a server leaves, and what that is.
type successor struct {
	exe   string
	env   []string
	files []*os.File // of the inheritance
	inheritance
}

// askRestart is restartSignal's doing.
func (s *server) askRestart() {
	select {
	case s.restart <- struct{}{}:
	default: // it was asked already
	}
}

// prepareSuccessor makes sure that there is a program to go on with, and keeps what it needs. False is that there is
// none: the note for nbserv restart says why, and the server goes on.
func (s *server) prepareSuccessor() bool {
	next := &successor{exe: s.cfg.env.exe, env: s.cfg.env.list}
	err := next.check()
	if err == nil {
		err = next.keep(s)
	}
	if err != nil {
		next.close()
		s.log.Error("cannot restart", "err", err)
		s.note.Problem, s.note.Refused = err.Error(), s.note.Refused+1
		if err := s.writeNote(); err != nil {
			s.log.Error("cannot write the server's note", "err", err)
		}
		return false
	}
	s.successor = next
	return true
}

// check runs the program for its version: a file that is half written, or of another machine, must not end the server.
func (n *successor) check() error {
	ctx, cancel := context.WithTimeout(context.Background(), checkTime)
	defer cancel()
	if err := exec.CommandContext(ctx, n.exe, "--version").Run(); err != nil {
		return fmt.Errorf("%s does not run: %w", n.exe, err)
	}
	return nil
}

// keep duplicates the descriptors that the successor gets.
func (n *successor) keep(s *server) error {
	n.Listeners, n.State, n.Restarts = map[string]int{}, s.state.path, s.note.Restarts+1
	lock, err := dup(s.state.lock)
	if err != nil {
		return err
	}
	n.Lock = n.add(lock)
	listeners := map[string]net.Listener{mainListener: s.ln}
	for _, e := range s.further {
		listeners[e.name] = e.ln
	}
	for name, ln := range listeners {
		tcp, ok := ln.(*net.TCPListener)
		if !ok {
			return fmt.Errorf("the listener of %s cannot be handed on", ln.Addr())
		}
		f, err := tcp.File()
		if err != nil {
			return err
		}
		n.Listeners[name] = n.add(f)
	}
	return nil
}

// add keeps f and gives its descriptor.
func (n *successor) add(f *os.File) int {
	n.files = append(n.files, f)
	return number(f)
}

// number is f's descriptor. Unlike f.Fd it leaves the mode alone, which a listener shares with its duplicate.
func number(f *os.File) (fd int) {
	raw, err := f.SyscallConn()
	if err == nil {
		err = raw.Control(func(n uintptr) { fd = int(n) })
	}
	if err != nil {
		return -1
	}
	return fd
}

func dup(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(uintptr(number(f)), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

func (n *successor) close() {
	for _, f := range n.files {
		_ = f.Close()
	}
}

// exec replaces this process's program. It returns when that fails, and then nothing serves any more.
func (n *successor) exec() error {
	defer n.close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	if err := errors.Join(json.NewEncoder(w).Encode(n.inheritance), w.Close()); err != nil { // it fits into the pipe
		return err
	}
	for _, f := range append(n.files, r) {
		if _, err := unix.FcntlInt(uintptr(number(f)), unix.F_SETFD, 0); err != nil {
			return err
		}
	}
	env := slices.DeleteFunc(slices.Clone(n.env), func(kv string) bool { return strings.HasPrefix(kv, inheritVar+"=") })
	env = append(env, inheritVar+"="+strconv.Itoa(number(r)))
	signal.Ignore(restartSignal) // until the successor listens for it, it would end it
	return fmt.Errorf("replace the program by %s: %w", n.exe, syscall.Exec(n.exe, os.Args, env))
}

// serverNoteFile is where a server says what it is, for nbserv restart.
const serverNoteFile = "server.json"

// serverNote is what a server writes into its state folder.
type serverNote struct {
	PID      int    `json:"pid"`
	Version  string `json:"version"`
	Kernels  int    `json:"kernels"`  // when it began
	Restarts int    `json:"restarts"` // how often this process's program was replaced
	Refused  int    `json:"refused"`  // how often it was asked for a restart in vain
	Problem  string `json:"problem"`  // the last time's
}

// writeNote writes the note down.
func (s *server) writeNote() error {
	s.note.PID, s.note.Version = os.Getpid(), version
	s.note.Kernels = len(s.kernels.List())
	if i := s.cfg.env.inherited; i != nil {
		s.note.Restarts = i.Restarts
	}
	return writeNote(filepath.Join(s.state.path, serverNoteFile), s.note)
}
