// Command bench measures nbserv beside jupyter_server and beside a direct ZeroMQ client, in one run, and prints
// one table with the bars that nbserv is held to. `make bench` sets up what it needs.
//
// Its nouns: a figure is a line of the table, a contestant what a value belongs to; a group measures some figures
// in rounds that alternate between the contestants, so that what disturbs the machine disturbs all alike. A figure
// is the median of its rounds.
//
// The load comes from this process: a WebSocket reader of its own that looks only at the few bytes it needs,
// because the server under load shares two cores with its client and its kernel.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// settings are the flags.
type settings struct {
	nbserv string // the binaries
	synth  string
	python string // of the virtual environment that has the peer
	// node runs the scripts of the folder browser; empty: nothing is measured in a browser.
	node, browser string
	out           string // folder for results
	rounds        int
	groups        []string // empty: all
	// patience is how long the run may wait, in all, for others to leave the machine alone.
	patience time.Duration
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "-bare" { // the bench starts itself so
		fmt.Fprintln(os.Stderr, "bench:", runBare(os.Args[2]))
		os.Exit(1)
	}
	s, render, err := parseFlags()
	if err == nil {
		if render != "" {
			err = renderInto(render, filepath.Join(s.out, lastRun))
		} else {
			err = run(s)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parseFlags() (s settings, render string, err error) {
	var only string
	flag.StringVar(&s.nbserv, "nbserv", "bin/nbserv", "nbserv's `binary`")
	flag.StringVar(&s.synth, "synthkernel", "bin/synthkernel", "the synthetic kernel's `binary`")
	flag.StringVar(&s.python, "python", "python3", "`python` of a virtual environment with jupyter_server and ipykernel")
	flag.StringVar(&s.node, "node", "", "`node` to drive a browser with")
	flag.StringVar(&s.browser, "browser", "e2e/browser", "`folder` of the scripts for it, with their libraries")
	flag.StringVar(&s.out, "out", ".cache/bench", "`folder` for the results")
	flag.IntVar(&s.rounds, "rounds", 5, "how often each contestant is measured")
	flag.DurationVar(&s.patience, "patience", 2*time.Minute, "how long to wait, in all, for moments in which others do little")
	flag.StringVar(&only, "groups", "", "`groups` to run, by comma: "+strings.Join(groupNames(), ", "))
	flag.StringVar(&render, "render", "", "measure nothing: put the last whole run's table into this Markdown `file`")
	flag.Parse()
	for g := range strings.FieldsFuncSeq(only, func(r rune) bool { return r == ',' || r == ' ' }) {
		if !slices.Contains(groupNames(), g) {
			return s, render, fmt.Errorf("there is no group %q; there are %s", g, strings.Join(groupNames(), ", "))
		}
		s.groups = append(s.groups, g)
	}
	if s.rounds < 1 || flag.NArg() > 0 {
		return s, render, errors.New("see -help")
	}
	for _, p := range []*string{&s.nbserv, &s.synth} {
		if *p, err = filepath.Abs(*p); err != nil {
			return s, render, err
		}
	}
	return s, render, nil
}

// run measures, prints the table and keeps it as JSON. Groups that failed are named in the error.
func run(s settings) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b, err := newBench(s)
	if err != nil {
		return err
	}
	defer b.close()
	var failed []error
	for _, g := range groups {
		if len(s.groups) > 0 && !slices.Contains(s.groups, g.name) {
			continue
		}
		b.say("%s", g.name)
		if err := g.measure(b, ctx); err != nil {
			failed = append(failed, fmt.Errorf("group %s: %w", g.name, err))
			b.say("%s failed: %v", g.name, err)
		}
		b.stopServers()
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
	}
	r := b.result()
	fmt.Print(r.plain())
	name := lastRun
	if len(s.groups) > 0 {
		name = strings.Join(s.groups, "-") + ".json"
	}
	return errors.Join(append(failed, r.save(filepath.Join(s.out, name)))...)
}

// group is a selectable part of the run.
type group struct {
	name    string
	measure func(*bench, context.Context) error
}

var groups = []group{
	{"start", (*bench).measureStart},
	{"roundtrip", (*bench).measureRoundTrips},
	{"relay", (*bench).measureRelay},
	{"fanout", (*bench).measureFanout},
	{"journal", (*bench).measureJournal},
	{"roles", (*bench).measureRoles},
	{"rest", (*bench).measureREST},
	{"directory", (*bench).measureDirectory},
	{"files", (*bench).measureFiles},
	{"imagestore", (*bench).measureStore},
	{"rserver", (*bench).measureRServer},
	{"codeinterpreter", (*bench).measureInterpreter},
	{"sick", (*bench).measureSick},
	{"memory", (*bench).measureMemory},
	{"first", (*bench).measureFirst},
	{"lab", (*bench).measureLab},
}

func groupNames() []string {
	names := make([]string, len(groups))
	for i, g := range groups {
		names[i] = g.name
	}
	return names
}
