// Command nbserv is a Jupyter-compatible notebook server.
//
// This package is the only place that knows everything: it reads the configuration (flags, environment, files),
// opens the rooms (kernels, sessions, contents, …), routes requests to them and ends them in order. Its
// goroutines: the HTTP server's own, and one that waits for a signal.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// The exit codes.
const (
	exitStopped = 0 // told to stop, and did
	exitFailed  = 1
	exitUsage   = 2 // a flag, a variable or a configuration file is wrong
)

// version is set by the linker.
var version = "dev"

func main() {
	env := readEnvironment(os.Environ())
	var err error
	if env.exe, err = os.Executable(); err == nil {
		env.inherited, err = inherit(env)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "nbserv:", err)
		os.Exit(exitFailed)
	}
	os.Exit(run(os.Args[1:], env, os.Stdout, os.Stderr))
}

// run is the whole program but for the process around it; it gives the exit code.
func run(args []string, env environment, stdout, stderr io.Writer) int {
	cfg := defaultConfig(env)
	cmd := &cobra.Command{
		Use:           "nbserv [flags]",
		Short:         "A Jupyter-compatible notebook server",
		Version:       version,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	cmd.SetHelpFunc(func(*cobra.Command, []string) { writeHelp(stdout) })
	addFlags(cmd.Flags(), &cfg)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		notes, err := cfg.complete(cmd.Flags(), env)
		if err != nil {
			return err
		}
		return serve(cfg, notes, stderr)
	}
	cmd.AddCommand(passwordCommand(stdout, stderr), userCommand(&cfg, env, stdout, stderr), labCommand(&cfg, env, stdout, stderr),
		hostCommand(env, stderr), restartCommand(&cfg, env, stdout))
	err := cmd.Execute()
	var failed *serveError
	switch {
	case err == nil:
		return exitStopped
	case errors.As(err, &failed):
		fmt.Fprintln(stderr, "nbserv:", failed.err)
		return exitFailed
	}
	fmt.Fprintf(stderr, "nbserv: %v\nSee nbserv --help.\n", err)
	return exitUsage
}

// serveError is a failure of a server that was configured well.
type serveError struct{ err error }

func (e *serveError) Error() string { return e.err.Error() }

// serve runs a server until it is told to stop: by a signal, or by a client that may.
func serve(cfg Config, notes []string, stderr io.Writer) error {
	log, err := newLogger(stderr, cfg.LogLevel, cfg.LogFormat)
	if err != nil {
		return err
	}
	for _, n := range notes {
		log.Warn("configuration", "note", n)
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, restartSignal)
	if !signal.Ignored(syscall.SIGHUP) { // nohup(1)
		signal.Notify(signals, syscall.SIGHUP)
	}
	defer signal.Stop(signals)
	s, err := newServer(cfg, log)
	if err != nil {
		return &serveError{err}
	}
	s.announce(stderr)
	stop, cancelStop := context.WithCancel(context.Background())
	kill, cancelKill := context.WithCancel(context.Background())
	defer cancelStop()
	defer cancelKill()
	done := make(chan struct{})
	defer close(done)
	go watchSignals(signals, done, s.askRestart, cancelStop, cancelKill)
	if err := s.Run(stop, kill); err != nil {
		return &serveError{err}
	}
	if s.successor != nil {
		return &serveError{s.successor.exec()} // which returns with an error only
	}
	return nil
}

// watchSignals stops the server at the first signal; a second SIGINT ends what is left at once. restartSignal is for
// nbserv restart.
func watchSignals(signals <-chan os.Signal, done <-chan struct{}, restart func(), stop, kill context.CancelFunc) {
	stopping := false
	for {
		select {
		case sig := <-signals:
			if sig == restartSignal {
				restart()
				continue
			}
			if stopping && sig == os.Interrupt {
				kill()
			}
			stopping = true
			stop()
		case <-done:
			return
		}
	}
}
