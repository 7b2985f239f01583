package main

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// crowd is how many clients share one kernel.
const crowd = 50

// fanoutMessages is how many 100 B messages a kernel sends to all of them, so that a round takes about a second.
var fanoutMessages = map[contestant]int{nbserv: 10_000, peer: 250}

// measureFanout takes how fast one kernel's output reaches many clients.
func (b *bench) measureFanout(ctx context.Context) error {
	ours, theirs, err := b.both()
	if err != nil {
		return err
	}
	audience := map[*server][]*socket{}
	defer func() {
		for _, all := range audience {
			closeSockets(all)
		}
	}()
	for _, s := range []*server{ours, theirs} {
		if audience[s], err = s.openSockets(crowd, busyBuffer); err != nil {
			return err
		}
		if err := gather(audience[s]); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	for range b.rounds {
		for _, s := range []*server{ours, theirs} {
			if err := b.quiet(ctx); err != nil {
				return err
			}
			if err := b.fanout(s, audience[s]); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	return nil
}

func (b *bench) fanout(s *server, all []*socket) error {
	n := fanoutMessages[s.name]
	spent, err := measure(s, func() error {
		return together(all, newExecution(fmt.Sprintf("flood %d 100", n), "stream", n))
	})
	if err != nil {
		return err
	}
	deliveries := n * len(all)
	b.add("fanout-rate", s.name, float64(deliveries)/spent.wall.Seconds())
	b.add("fanout-cpu", s.name, each(spent.server, deliveries))
	b.add("fanout-client", s.name, each(spent.client, deliveries))
	return nil
}

// openSockets opens n WebSockets to a new session's kernel.
func (s *server) openSockets(n, buffer int) ([]*socket, error) {
	v, err := s.createSession("synth", "shared")
	if err != nil {
		return nil, err
	}
	var all []*socket
	for i := range n {
		w, err := s.dialSocket(v.Kernel.ID, fmt.Sprintf("client-%d", i), protocolV1, buffer)
		if err != nil {
			closeSockets(all)
			return nil, fmt.Errorf("number %d: %w", i+1, err)
		}
		all = append(all, w)
	}
	return all, nil
}

func closeSockets(all []*socket) {
	for _, w := range all {
		w.close()
	}
}

// gather waits until the kernel's output reaches every client. The peer takes an upgrade before it has connected to
// the kernel, and a client's first request after.
func gather(all []*socket) error {
	for i, w := range all {
		if err := w.run(newExecution(hello["synth"], "", 0)); err != nil {
			return fmt.Errorf("client %d: %w", i, err)
		}
	}
	return together(all, newExecution(hello["synth"], "", 0)) // which reads what each got of the others
}

// together lets the first of all make a request and waits until all have seen its end. A reply goes to the one
// that asked; the others wait for the idle status.
func together(all []*socket, asked *execution) error {
	var g errgroup.Group
	for i, w := range all {
		e := *asked
		e.reply = i > 0
		g.Go(func() error {
			if err := w.follow(&e); err != nil || e.lost() == 0 {
				return err
			}
			return fmt.Errorf("client %d: %d messages were lost", i, e.lost())
		})
	}
	if err := all[0].send(asked); err != nil {
		return err
	}
	return g.Wait()
}
