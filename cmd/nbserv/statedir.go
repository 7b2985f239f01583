package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// stateLockFile is locked by the server that uses the folder.
const stateLockFile = "lock"

// maxStateDirs bounds how many servers of one user may share a root folder without naming their state folders.
const maxStateDirs = 100

// stateDir is the folder for what must survive a restart, locked for this process: two servers writing the same
// rows would undo each other's work.
type stateDir struct {
	path string
	lock *os.File
}

// openStateDir opens chosen or, when it is "", the first free one of home's folders for root: a server that is
// started again for the same root finds what it left.
func openStateDir(chosen, home, root string) (*stateDir, error) {
	if chosen != "" {
		path, err := filepath.Abs(chosen)
		if err != nil {
			return nil, err
		}
		s, err := lockStateDir(path, leftLockWait)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("another server uses %s", path)
		}
		return s, err
	}
	first := defaultStateDir(home, root)
	wait := leftLockWait // once: the folders of servers that run are many
	for i := 1; i <= maxStateDirs; i, wait = i+1, 0 {
		s, err := lockStateDir(nthStateDir(first, i), wait)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return s, err
		}
	}
	return nil, fmt.Errorf("%d servers use the folders for %s", maxStateDirs, root)
}

// defaultStateDir is the first of home's folders for root.
func defaultStateDir(home, root string) string {
	sum := sha256.Sum256([]byte(root))
	return filepath.Join(home, "nbserv", filepath.Base(root)+"-"+hex.EncodeToString(sum[:4]))
}

// nthStateDir is the folder of the i-th server, counted from 1, of those that share a root folder.
func nthStateDir(first string, i int) string {
	if i == 1 {
		return first
	}
	return first + "-" + strconv.Itoa(i)
}

// leftLockWait is how long the lock of a server that was killed may be held by a child which it had forked and which
// has not executed its program yet.
const leftLockWait = 300 * time.Millisecond

// lockStateDir makes and locks the folder; EWOULDBLOCK says that another process has it, also after wait.
func lockStateDir(path string, wait time.Duration) (*stateDir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	f, err := awaitLock(filepath.Join(path, stateLockFile), wait)
	if err != nil {
		return nil, err
	}
	_ = os.Remove(filepath.Join(path, serverNoteFile)) // of a server that died: its process id may be another's
	return &stateDir{path, f}, nil
}

// Close lets another server have the folder. The operating system does it too when the process ends.
func (s *stateDir) Close() error {
	_ = os.Remove(filepath.Join(s.path, serverNoteFile))
	return s.lock.Close()
}
