package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// measureFirst takes the time until a user sees the first result of Python: session, WebSocket, execution, with
// nothing prepared. The direct client starts ipykernel itself and talks to its sockets.
func (b *bench) measureFirst(ctx context.Context) error {
	ours, theirs, err := b.both()
	if err != nil {
		return err
	}
	for i := range 2 * b.rounds { // starting Python varies more than anything else here
		for _, s := range []*server{ours, theirs} {
			if err := errors.Join(s.settle(ctx), b.quiet(ctx)); err != nil {
				return err
			}
			if err := b.first(s, fmt.Sprintf("first-%d", i)); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
		if err := errors.Join(theirs.settle(ctx), b.quiet(ctx)); err != nil {
			return err
		}
		if err := b.firstAlone(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) firstAlone(ctx context.Context) error { return b.firstAloneOf(ctx, "first") }

// firstAloneOf is what a kernel takes with nothing but a client, for a figure.
func (b *bench) firstAloneOf(ctx context.Context, id string) error {
	began := time.Now()
	c, err := b.directClient(ctx, "python3", direct)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.run(firstResult()); err != nil {
		return err
	}
	b.add(id, direct, millis(time.Since(began)))
	return nil
}

// firstResult is complete when one execute_result has come as well.
func firstResult() *execution { return newExecution("6*7", "execute_result", 1) }

func (b *bench) first(s *server, name string) error {
	began := time.Now()
	v, err := s.createSession("python3", name)
	if err != nil {
		return err
	}
	b.add("create", s.name, millis(time.Since(began)))
	w, err := s.dialSocket(v.Kernel.ID, "first-client", protocolV1, busyBuffer)
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.run(firstResult()); err != nil {
		return err
	}
	b.add("first", s.name, millis(time.Since(began)))
	return s.deleteSession(v)
}
