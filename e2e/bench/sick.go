package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// sickTrips is how many round trips of the healthy session make one 99th percentile.
const sickTrips = 300

// sickness is what ails a session beside the healthy one, until heal is called.
type sickness struct {
	id  string
	ail func(b *bench, s *server, v session, w *socket) (heal func(), err error)
}

var sicknesses = []sickness{
	{"sick-stopped", func(b *bench, _ *server, v session, w *socket) (func(), error) {
		pid, err := kernelPID(v.Kernel.ID)
		if err != nil {
			return nil, err
		}
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			return nil, err
		}
		for range 100 { // nobody takes them
			if err := w.send(newExecution("echo "+strings.Repeat("x", 10_000), "", 0)); err != nil {
				return nil, err
			}
		}
		return func() { _ = syscall.Kill(pid, syscall.SIGCONT) }, nil
	}},
	{"sick-spinning", func(*bench, *server, session, *socket) (func(), error) { return func() {}, nil }}, // by its kernelspec
	{"sick-dying", func(_ *bench, s *server, _ session, _ *socket) (func(), error) {
		n := 0
		return repeat(func() error {
			n++
			v, err := s.createSession("synth", fmt.Sprintf("dies-%d", n))
			if err != nil {
				return err
			}
			w, err := s.dialSocket(v.Kernel.ID, "dies", protocolV1, idleBuffer)
			if err == nil {
				err = w.send(newExecution("die 1", "", 0))
				_, _ = w.next() // some sign that it was heard
				w.close()
			}
			if err != nil {
				return err
			}
			return s.deleteSession(v)
		}), nil
	}},
	{"sick-flooding", func(_ *bench, _ *server, _ session, w *socket) (func(), error) {
		return repeat(func() error { return w.run(newExecution("flood 2000 1000", "stream", 2000)) }), nil
	}},
	{"sick-deaf", func(_ *bench, _ *server, _ session, w *socket) (func(), error) {
		return func() {}, w.send(newExecution("flood 200000 1000", "", 0)) // and reads nothing
	}},
}

// repeat does something over and over in the background until the function it gives is called, or it fails.
func repeat(do func() error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil && do() == nil {
		}
	})
	return func() { cancel(); wg.Wait() }
}

// measureSick takes how much longer a healthy session's round trips last beside one that is sick, at the 99th
// percentile, in turns with the same alone.
func (b *bench) measureSick(ctx context.Context) error {
	if err := b.spinningSpec(); err != nil {
		return err
	}
	s, err := b.startServer(nbserv)
	if err != nil {
		return err
	}
	healthy, err := s.newKernel("synth", protocolV1)
	if err != nil {
		return err
	}
	defer healthy.close()
	for round := range b.rounds {
		for _, x := range sicknesses {
			if err := b.beside(ctx, s, healthy, x, fmt.Sprintf("%s-%d", x.id, round)); err != nil {
				return fmt.Errorf("%s: %w", x.id, err)
			}
		}
	}
	return nil
}

func (b *bench) beside(ctx context.Context, s *server, healthy *socket, x sickness, name string) error {
	if err := b.quiet(ctx); err != nil {
		return err
	}
	alone, err := p99(healthy)
	if err != nil {
		return err
	}
	spec := "synth"
	if x.id == "sick-spinning" {
		spec = "spins"
	}
	v, err := s.createSession(spec, name)
	if err != nil {
		return err
	}
	w, err := s.dialSocket(v.Kernel.ID, "sick", protocolV1, busyBuffer)
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.run(newExecution(hello["synth"], "", 0)); err != nil {
		return err
	}
	heal, err := x.ail(b, s, v, w)
	if err != nil {
		return err
	}
	beside, err := p99(healthy)
	heal()
	if err != nil {
		return err
	}
	b.add("sick-alone", s.name, alone)
	b.add(x.id, s.name, beside/alone)
	w.close()
	return s.deleteSession(v)
}

// p99 is the 99th percentile of some round trips, in ms.
func p99(c client) (float64, error) {
	var times series
	for range sickTrips {
		began := time.Now()
		if err := c.run(newExecution(hello["synth"], "", 0)); err != nil {
			return 0, err
		}
		times = append(times, millis(time.Since(began)))
	}
	slices.Sort(times)
	return times[sickTrips*99/100], nil
}

// spinningSpec installs a kernelspec whose kernel answers while another process of it computes.
func (b *bench) spinningSpec() error {
	dir := filepath.Join(b.dir, "share/kernels/spins")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	spec := fmt.Sprintf(`{"argv":["sh","-c","while :; do :; done & exec \"$0\" \"$@\"",%q,"-f","{connection_file}"],`+
		`"display_name":"Spins","language":"none"}`, b.synth)
	return os.WriteFile(filepath.Join(dir, "kernel.json"), []byte(spec), 0o600)
}

// kernelPID finds a kernel's process by its connection file, which has the kernel's id in its name.
func kernelPID(id string) (int, error) {
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	for _, file := range all {
		if raw, err := os.ReadFile(file); err == nil && strings.Contains(string(raw), id) {
			return strconv.Atoi(filepath.Base(filepath.Dir(file)))
		}
	}
	return 0, fmt.Errorf("there is no process of kernel %s", id)
}
