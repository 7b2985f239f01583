package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

const (
	// restartTime bounds a restart: the server's own time to stop, and a start.
	restartTime = time.Minute
	// restartLook is how often nbserv restart looks at the server's note.
	restartLook = 10 * time.Millisecond
)

// restartCommand makes the server of a state folder replace itself by the program that is now in its file.
func restartCommand(cfg *Config, env environment, stdout io.Writer) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restart",
		Short: "Replace a running server by the program that is now in its file; kernels go on",
		Args:  cobra.NoArgs,
	}
	addFlags(cmd.Flags(), cfg)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if _, err := cfg.complete(cmd.Flags(), env); err != nil {
			return err
		}
		dir, err := runningStateDir(cfg)
		if err == nil {
			err = restartServer(dir, stdout)
		}
		if err != nil {
			return &serveError{err}
		}
		return nil
	}
	return cmd
}

// runningStateDir is the state folder of the one running server that cfg may mean.
func runningStateDir(cfg *Config) (string, error) {
	if cfg.StateDir != "" {
		dir, err := filepath.Abs(cfg.StateDir)
		if err == nil && !inUse(dir) {
			err = fmt.Errorf("no server runs with the state folder %s", dir)
		}
		return dir, err
	}
	first := defaultStateDir(cfg.env.stateHome(), cfg.RootDir)
	var found []string
	for i := 1; i <= maxStateDirs; i++ {
		dir := nthStateDir(first, i)
		if _, err := os.Stat(dir); err != nil {
			break
		}
		if inUse(dir) {
			found = append(found, dir)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", fmt.Errorf("no server runs for the folder %s: say which one by --root-dir or --state-dir", cfg.RootDir)
	}
	return "", fmt.Errorf("%d servers run for the folder %s: say which one by --state-dir, one of %q", len(found), cfg.RootDir, found)
}

// inUse tells whether a server has locked the folder.
func inUse(dir string) bool {
	f, err := os.Open(filepath.Join(dir, stateLockFile))
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

func readServerNote(dir string) (n serverNote, err error) {
	raw, err := os.ReadFile(filepath.Join(dir, serverNoteFile))
	if err != nil {
		return n, err
	}
	return n, json.Unmarshal(raw, &n)
}

// restartServer asks the server to restart and waits until it has.
func restartServer(dir string, stdout io.Writer) error {
	before, err := readServerNote(dir)
	if err != nil {
		return fmt.Errorf("the server has not said yet which process it is: %w", err)
	}
	began := time.Now()
	if err := syscall.Kill(before.PID, restartSignal); err != nil {
		return fmt.Errorf("ask process %d to restart: %w", before.PID, err)
	}
	for time.Since(began) < restartTime {
		now, err := readServerNote(dir)
		switch {
		case err == nil && now.PID == before.PID && now.Refused > before.Refused:
			return fmt.Errorf("the server goes on as it was: %s", now.Problem)
		case err == nil && (now.Restarts > before.Restarts || now.PID != before.PID):
			fmt.Fprintf(stdout, "nbserv %s, process %d, was replaced by nbserv %s in %.2f s; kernels that went on: %d\n",
				before.Version, before.PID, now.Version, time.Since(began).Seconds(), now.Kernels)
			return nil
		case !inUse(dir):
			return fmt.Errorf("the server, process %d, has ended: its log says why", before.PID)
		}
		time.Sleep(restartLook)
	}
	return fmt.Errorf("process %d has not restarted within %s: its log may say why", before.PID, restartTime)
}
