package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// What a kernel says while nobody listens, in messages of unheardSize bytes: as much as a long print, of which the end
// is kept, and as much as is kept whole.
const (
	unheardSize     = 100_000
	unheardMessages = 3000
	replayMessages  = 500
	// idlePoll is how often a kernel's state is asked for.
	idlePoll = 20 * time.Millisecond
)

// measureJournal takes what it costs that a kernel prints while nobody listens, and how fast a page that comes back
// is given what it missed.
func (b *bench) measureJournal(ctx context.Context) error {
	for _, c := range roles {
		if err := b.journalOf(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
		b.stopServers()
	}
	return nil
}

func (b *bench) journalOf(ctx context.Context, c contestant) error {
	s, err := b.startServer(c)
	if err != nil {
		return err
	}
	for i := range b.rounds {
		if err := b.quiet(ctx); err != nil {
			return err
		}
		v, err := s.createSession("synth", fmt.Sprintf("unheard-%d", i))
		if err != nil {
			return err
		}
		if err := b.unheard(ctx, s, v); err != nil {
			return err
		}
		if err := s.deleteSession(v); err != nil {
			return err
		}
		if v, err = s.createSession("synth", fmt.Sprintf("replay-%d", i)); err != nil {
			return err
		}
		if err := b.replay(ctx, s, v); err != nil {
			return err
		}
		if err := s.deleteSession(v); err != nil {
			return err
		}
	}
	return nil
}

// unheard takes the memory at its peak while 300 MB are printed.
func (b *bench) unheard(ctx context.Context, s *server, v session) error {
	if err := s.settle(ctx); err != nil {
		return err
	}
	grown := 0.0
	for _, pid := range s.pids() {
		if err := resetPeak(pid); err != nil {
			return err
		}
		now, _, err := memory(pid)
		if err != nil {
			return err
		}
		grown -= now
	}
	if _, err := s.sayUnheard(ctx, v, unheardMessages); err != nil {
		return err
	}
	for _, pid := range s.pids() {
		_, peak, err := memory(pid)
		if err != nil {
			return err
		}
		grown += peak
	}
	b.add("unheard-memory", s.name, grown/(1<<20))
	return nil
}

// replay takes how fast a client session that was away is given 50 MB.
func (b *bench) replay(ctx context.Context, s *server, v session) error {
	reader := "reader-" + v.ID
	w, err := s.dialSocket(v.Kernel.ID, reader, protocolV1, busyBuffer)
	if err != nil {
		return err
	}
	if err := w.run(newExecution("sleep 1ms", "", 0)); err != nil { // it has a place, and nothing to get twice
		return err
	}
	w.close()
	e, err := s.sayUnheard(ctx, v, replayMessages)
	if err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	e.reply = true // which is for the one that asked
	began := time.Now()
	if w, err = s.dialSocket(v.Kernel.ID, reader, protocolV1, busyBuffer); err != nil {
		return err
	}
	defer w.close()
	if err := w.follow(e); err != nil {
		return err
	}
	b.add("replay-rate", s.name, float64(e.got)*unheardSize/1e6/time.Since(began).Seconds())
	b.add("replay-lost", s.name, float64(e.lost()))
	return nil
}

// sayUnheard has the kernel print n messages for a client that goes at once, and returns when it is done.
func (s *server) sayUnheard(ctx context.Context, v session, n int) (*execution, error) {
	w, err := s.dialSocket(v.Kernel.ID, "asker-"+v.ID, protocolV1, idleBuffer)
	if err != nil {
		return nil, err
	}
	e := newExecution(fmt.Sprintf("sleep 300ms\nflood %d %d", n, unheardSize), "stream", n)
	err = w.send(e)
	if err == nil {
		_, err = w.next() // it is busy
	}
	w.close()
	if err != nil {
		return nil, err
	}
	for {
		raw, err := s.request("GET", "/api/kernels/"+v.Kernel.ID, nil)
		if err != nil {
			return nil, err
		}
		var k struct {
			State string `json:"execution_state"`
		}
		if err := json.Unmarshal(raw, &k); err != nil {
			return nil, err
		}
		if k.State == "idle" {
			return e, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(idlePoll):
		}
	}
}
