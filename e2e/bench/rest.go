package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// restClients is how many connections ask at the same time: a page that loads uses up to six.
	restClients = 4
	// restRound is how long each round of one request lasts.
	restRound = time.Second
)

// measureREST takes how many requests a second a server answers, on connections that are kept.
func (b *bench) measureREST(ctx context.Context) error {
	if err := b.makeFiles("hundred", 100); err != nil {
		return err
	}
	ours, theirs, err := b.both()
	if err != nil {
		return err
	}
	both := []*server{ours, theirs}
	for _, s := range both {
		for i := range 10 {
			if _, err := s.createSession("synth", fmt.Sprintf("session-%d", i)); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	for _, request := range []struct{ id, path string }{
		{"rest-status", "/api/status"},
		{"rest-sessions", "/api/sessions"},
		{"rest-kernelspecs", "/api/kernelspecs"},
		{"rest-listing", "/api/contents/hundred"},
	} {
		for range b.rounds {
			for _, s := range both {
				if err := b.quiet(ctx); err != nil {
					return err
				}
				rate, err := s.rate(ctx, request.path)
				if err != nil {
					return fmt.Errorf("%s: %w", s.name, err)
				}
				b.add(request.id, s.name, rate)
			}
		}
	}
	return nil
}

// rate is how many GETs of path are answered in a second.
func (s *server) rate(ctx context.Context, path string) (float64, error) {
	var counts [restClients]int
	g, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	for i := range counts {
		g.Go(func() error {
			h, err := s.dialHTTP()
			if err != nil {
				return err
			}
			defer h.close()
			for ; time.Since(began) < restRound && ctx.Err() == nil; counts[i]++ {
				if _, err := h.do("GET", path, nil); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	err := g.Wait()
	took := time.Since(began)
	sum := 0
	for _, n := range counts {
		sum += n
	}
	return float64(sum) / took.Seconds(), err
}

// makeFiles makes a folder of n small files in the servers' root, once.
func (b *bench) makeFiles(folder string, n int) error {
	dir := filepath.Join(b.dir, "root", folder)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for i := range n {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("file-%06d.txt", i)), []byte("bench\n"), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// entries is the size of the large folder.
const entries = 100_000

// measureDirectory takes how long the listing of a large folder takes. The peer needs most of a minute: one round.
func (b *bench) measureDirectory(ctx context.Context) error {
	if err := b.makeFiles("many", entries); err != nil {
		return err
	}
	ours, theirs, err := b.both()
	if err != nil {
		return err
	}
	if err := b.listLarge(ctx, ours, 2*b.rounds); err != nil {
		return err
	}
	return b.listLarge(ctx, theirs, 1)
}

func (b *bench) listLarge(ctx context.Context, s *server, rounds int) error {
	h, err := s.dialHTTP()
	if err != nil {
		return err
	}
	defer h.close()
	for range rounds {
		if err := b.quiet(ctx); err != nil {
			return err
		}
		began := time.Now()
		answer, err := h.do("GET", "/api/contents/many", nil)
		took := time.Since(began)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if least := entries * len("file-000000.txt"); len(answer) < least {
			return fmt.Errorf("%s: a listing of %d bytes", s.name, len(answer))
		}
		b.add("directory", s.name, millis(took))
	}
	return nil
}
