package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// manySessions is over how many sessions their memory is averaged.
	manySessions = 20
	// manySockets is how many idle WebSockets nbserv has to hold.
	manySockets = 5000
	// peerSockets is beyond what the peer can: it runs out of ZeroMQ sockets before, though it takes the upgrade.
	peerSockets = 300
)

// measureMemory takes what sessions and idle WebSockets cost a server's resident memory, once.
func (b *bench) measureMemory(ctx context.Context) error {
	for _, c := range []contestant{nbserv, peer} {
		if err := b.sessionMemory(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
		b.stopServers()
		if err := b.socketMemory(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
		b.stopServers()
	}
	return nil
}

func (b *bench) sessionMemory(ctx context.Context, c contestant) error {
	s, err := b.startServer(c)
	if err != nil {
		return err
	}
	// What the first kernel alone costs is code and tables.
	if _, err := s.createSession("synth", "first"); err != nil {
		return err
	}
	grown, err := s.growth(ctx, func() error {
		for i := range manySessions {
			if _, err := s.createSession("synth", fmt.Sprintf("session-%d", i)); err != nil {
				return err
			}
		}
		return nil
	})
	b.add("session-memory", c, grown/1024/manySessions)
	return err
}

func (b *bench) socketMemory(ctx context.Context, c contestant) error {
	s, err := b.startServer(c)
	if err != nil {
		return err
	}
	v, err := s.createSession("synth", "shared")
	if err != nil {
		return err
	}
	most := manySockets
	if c == peer {
		most = peerSockets
	}
	var all []*socket
	defer func() { closeSockets(all) }()
	grown, err := s.growth(ctx, func() error {
		for i := range most {
			w, err := s.dialSocket(v.Kernel.ID, fmt.Sprintf("client-%d", i), protocolV1, idleBuffer)
			if err != nil {
				b.say("%s refused WebSocket %d: %v", c, i+1, err)
				return nil
			}
			all = append(all, w)
		}
		return nil
	})
	if err != nil || len(all) == 0 {
		return err
	}
	b.add("websocket-memory", c, grown/1024/float64(len(all)))
	n, err := held(all)
	b.add("websockets", c, float64(n))
	return err
}

// heldWait is how long WebSockets may take to get a message that is for all.
const heldWait = 20 * time.Second

// held counts the WebSockets that really are: those that get what the kernel says.
func held(all []*socket) (int, error) {
	e := newExecution(hello["synth"], "", 0)
	e.reply = true // which is for the one that asks
	if err := all[0].send(e); err != nil {
		return 0, err
	}
	var n atomic.Int64
	var readers sync.WaitGroup
	deadline := time.Now().Add(heldWait)
	for _, w := range all {
		readers.Go(func() {
			own := *e
			if w.followUntil(&own, deadline) == nil {
				n.Add(1)
			}
		})
	}
	readers.Wait()
	return int(n.Load()), nil
}

// growth is how much resident memory, in bytes, a server has more after work, when it has come to rest.
func (s *server) growth(ctx context.Context, work func() error) (float64, error) {
	if err := s.settle(ctx); err != nil {
		return 0, err
	}
	before, err := s.memory()
	if err != nil {
		return 0, err
	}
	if err := work(); err != nil {
		return 0, err
	}
	if err := s.settle(ctx); err != nil {
		return 0, err
	}
	after, err := s.memory()
	return after - before, err
}
