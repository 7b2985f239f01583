// Command synthkernel is the scripted kernel of package kerneltest as a program: a Jupyter kernel without a
// language, for benchmarks and for tests that need a real process.
//
//	synthkernel -f CONNECTION_FILE
//
// It ends on a shutdown_request, on SIGTERM and on the command "die"; SIGINT interrupts the execution.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/kernel/kerneltest"
)

func main() {
	file, options := parseFlags()
	// A channel each: a burst of interrupts must not push out the one SIGTERM.
	interrupt, terminate := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(interrupt, syscall.SIGINT)
	signal.Notify(terminate, syscall.SIGTERM)
	k, err := kerneltest.Serve(file, options)
	if err != nil {
		fmt.Fprintln(os.Stderr, "synthkernel:", err)
		os.Exit(1)
	}
	for {
		select {
		case <-interrupt:
			k.Interrupt()
		case <-terminate:
			k.Terminate()
		case <-k.Done():
			exit(k.Exit())
		}
	}
}

func parseFlags() (file string, o kerneltest.Options) {
	accept := acceptFlag{}
	flag.StringVar(&file, "f", "", "`path` of the connection file")
	flag.IntVar(&o.HWM, "hwm", 0, "drop iopub messages for a subscriber with this many waiting; 0 waits for it")
	flag.BoolVar(&o.NoWelcome, "no-welcome", false, "send no iopub_welcome")
	flag.StringVar((*string)(&o.Startup), "startup", "", `"never": bind nothing; "dead": exit at once`)
	flag.Var(accept, "accept", "`SOCKET=HOW`: take connections silent, garbage, half, close or huge (repeatable)")
	flag.Parse()
	o.Accept = accept
	return file, o
}

// acceptFlag collects -accept flags.
type acceptFlag map[string]kerneltest.Accept

func (a acceptFlag) String() string { return fmt.Sprint(map[string]kerneltest.Accept(a)) }

func (a acceptFlag) Set(s string) error {
	socket, how, ok := strings.Cut(s, "=")
	if !ok {
		return fmt.Errorf("%q is not SOCKET=HOW", s)
	}
	a[socket] = kerneltest.Accept(how)
	return nil
}

// exit ends the process as the kernel ended.
func exit(e kernel.Exit) {
	fmt.Fprint(os.Stderr, e.Stderr)
	if e.Signal == 0 {
		os.Exit(e.Code)
	}
	signal.Reset(e.Signal)
	if err := syscall.Kill(os.Getpid(), e.Signal); err != nil {
		fmt.Fprintln(os.Stderr, "synthkernel:", err)
		os.Exit(1)
	}
	select {} // until the signal arrives
}
