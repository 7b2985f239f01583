package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// measureRoles takes what it costs that kernels live in a process of their own, beside nbserv with --kernel-host=inprocess,
// and what that is for: how soon clients read on when the server is killed.
func (b *bench) measureRoles(ctx context.Context) error {
	if err := b.rolesAtRest(ctx); err != nil {
		return err
	}
	if err := b.rolesAtWork(ctx); err != nil {
		return err
	}
	b.stopServers()
	return b.rolesKilled(ctx)
}

var roles = []contestant{nbserv, inProcess}

// rolesAtRest takes the start of both, and their memory.
func (b *bench) rolesAtRest(ctx context.Context) error {
	for range b.rounds {
		for _, c := range roles {
			if err := b.quiet(ctx); err != nil {
				return err
			}
			s, err := b.startServer(c)
			if err != nil {
				return err
			}
			b.add("roles-start", c, millis(s.began))
			if err := s.settle(ctx); err != nil {
				return err
			}
			now, err := s.memory()
			if err != nil {
				return err
			}
			b.add("roles-idle", c, now/(1<<20))
			b.stopServers()
		}
	}
	return nil
}

// rolesLoads are what a kernel sends in a round of about a second.
var rolesLoads = []struct {
	id, cpu  string
	messages int
	size     int
}{{"roles-rate", "roles-cpu", 80_000, 100}, {"roles-large", "roles-large-cpu", 3000, 100_000}}

// rolesAtWork takes round trips, relay and lists of sessions of both.
func (b *bench) rolesAtWork(ctx context.Context) error {
	var all []contender
	defer func() { closeAll(all) }()
	for _, c := range roles {
		s, err := b.startServer(c)
		if err != nil {
			return err
		}
		for i := range 9 {
			if _, err := s.createSession("synth", fmt.Sprintf("session-%d", i)); err != nil {
				return err
			}
		}
		w, err := s.newKernel("synth", protocolV1)
		if err != nil {
			return err
		}
		all = append(all, contender{c, w, s})
		for range warmUps {
			if err := w.run(newExecution(hello["synth"], "", 0)); err != nil {
				return fmt.Errorf("%s: %w", c, err)
			}
		}
	}
	for range 2 * b.rounds { // what is compared differs little
		for _, c := range all {
			if err := b.quiet(ctx); err != nil {
				return err
			}
			if err := b.roleAtWork(ctx, c); err != nil {
				return fmt.Errorf("%s: %w", c.who, err)
			}
		}
	}
	return nil
}

func (b *bench) roleAtWork(ctx context.Context, c contender) error {
	took, err := roundTrip(c, hello["synth"])
	if err != nil {
		return err
	}
	b.add("roles-rtt", c.who, took)
	for _, l := range rolesLoads {
		e := newExecution(fmt.Sprintf("flood %d %d", l.messages, l.size), "stream", l.messages)
		spent, err := measure(c.server, func() error { return c.run(e) })
		if err != nil {
			return err
		}
		if e.lost() > 0 {
			return fmt.Errorf("%d of %d messages were lost", e.lost(), l.messages)
		}
		rate := float64(e.got) / spent.wall.Seconds()
		if l.size >= 100_000 {
			rate *= float64(l.size) / 1e6 // MB/s
		}
		b.add(l.id, c.who, rate)
		b.add(l.cpu, c.who, each(spent.server, l.messages))
	}
	rate, err := c.server.rate(ctx, "/api/sessions")
	if err == nil {
		b.add("roles-sessions", c.who, rate)
	}
	return err
}

const (
	// redialPause is how long a client that was cut waits before it tries again; pages wait longer.
	redialPause = 10 * time.Millisecond
	// tick is how often the kernel says something to those who wait.
	tick = 2 * time.Millisecond
	// resumeWait bounds the wait for clients to read on.
	resumeWait = time.Minute
)

// rolesKilled kills a server under 50 clients of one kernel, and starts it again.
func (b *bench) rolesKilled(ctx context.Context) error {
	s, err := b.startServer(nbserv)
	if err != nil {
		return err
	}
	v, err := s.createSession("synth", "shared")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()
	heard := make([]atomic.Int64, crowd)
	for i := range heard {
		readers.Go(func() { s.keepReading(ctx, v.Kernel.ID, fmt.Sprintf("client-%d", i), &heard[i]) })
	}
	asker, err := s.dialSocket(v.Kernel.ID, "asker", protocolV1, idleBuffer)
	if err != nil {
		return err
	}
	defer asker.close()
	ticks := int(time.Duration(b.rounds+2) * 10 * time.Second / tick)
	if err := asker.send(newExecution(strings.Repeat(fmt.Sprintf("print x\nsleep %v\n", tick), ticks), "", 0)); err != nil {
		return err
	}
	if _, err := allHeard(ctx, heard, time.Now()); err != nil {
		return err
	}
	for range b.rounds {
		if err := b.quiet(ctx); err != nil {
			return err
		}
		if err := s.cmd.Process.Signal(syscall.SIGKILL); err != nil {
			return err
		}
		<-s.done
		began := time.Now()
		if err := b.run(s); err != nil {
			return err
		}
		took, err := allHeard(ctx, heard, began)
		if err != nil {
			return err
		}
		b.add("roles-kill", nbserv, took.Seconds())
	}
	return nil
}

// keepReading reads what a kernel says, over a new WebSocket whenever one breaks, and notes when it heard it last.
func (s *server) keepReading(ctx context.Context, kernelID, session string, heard *atomic.Int64) {
	for ctx.Err() == nil {
		w, err := s.dialSocket(kernelID, session, protocolV1, idleBuffer)
		if err != nil {
			time.Sleep(redialPause)
			continue
		}
		stop := context.AfterFunc(ctx, w.close)
		for err == nil {
			if _, err = w.next(); err == nil {
				heard.Store(time.Now().UnixNano())
			}
		}
		stop()
		w.close()
	}
}

// allHeard waits until all have heard something after since, and gives how long that took.
func allHeard(ctx context.Context, heard []atomic.Int64, since time.Time) (time.Duration, error) {
	for i := 0; i < len(heard); {
		switch {
		case heard[i].Load() > since.UnixNano():
			i++
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case time.Since(since) > resumeWait:
			return 0, fmt.Errorf("client %d has not heard anything", i)
		default:
			time.Sleep(time.Millisecond)
		}
	}
	return time.Since(since), nil
}
