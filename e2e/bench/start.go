package main

import (
	"context"
	"fmt"
)

// measureStart takes the time from exec to the first answer, of GET /api, and the memory of a server that has
// come to rest then.
func (b *bench) measureStart(ctx context.Context) error {
	for range b.rounds {
		for _, c := range []contestant{nbserv, peer} {
			if err := b.quiet(ctx); err != nil {
				return err
			}
			s, err := b.startServer(c)
			if err != nil {
				return err
			}
			b.add("start", c, millis(s.began))
			if err := s.settle(ctx); err != nil {
				return err
			}
			now, err := s.memory()
			if err != nil {
				return fmt.Errorf("%s: %w", c, err)
			}
			b.add("idle", c, now/(1<<20))
			b.stopServers()
		}
	}
	return nil
}
