package rserver

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
)

// tendEvery is how often the pools are looked after.
const tendEvery = 5 * time.Second

// keepPools looks after the pools until ctx ends.
func (s *Server) keepPools(ctx context.Context) {
	ticker := time.NewTicker(tendEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			for _, p := range s.workerPools() {
				p.tend(ctx, now, s.cfg.IdleWorkers)
			}
		}
	}
}

func (s *Server) workerPools() []*workerPool {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*workerPool, 0, len(s.services))
	for _, x := range s.services {
		all = append(all, x.pool)
	}
	return all
}

// resumePools starts the pools whose sizes were set.
func (s *Server) resumePools() {
	for _, p := range s.workerPools() {
		p.mu.Lock()
		p.grow()
		p.mu.Unlock()
	}
}

// closePools ends all pools, their idle workers at the same time.
func (s *Server) closePools() {
	var wg sync.WaitGroup
	for _, p := range s.workerPools() {
		for _, w := range p.shut(errStopping) {
			wg.Go(func() { p.end(context.Background(), w) })
		}
	}
	wg.Wait()
}

// admit counts a kernel for a service. When there are too many, the one that has had nothing to do for longest makes
// room; when all are at work it is Busy.
func (s *Server) admit(ctx context.Context) error {
	s.mu.Lock()
	room := s.workers < s.cfg.MaxAllWorkers
	s.workers++
	s.mu.Unlock()
	if room {
		return nil
	}
	pools := s.workerPools()
	slices.SortFunc(pools, func(a, b *workerPool) int { return a.lastUsed().Compare(b.lastUsed()) })
	for _, p := range pools {
		if w := p.spare(); w != nil {
			p.end(ctx, w)
			return nil
		}
	}
	s.departed()
	return fault.New(fault.Busy, "all %d kernels for services are at work", s.cfg.MaxAllWorkers)
}

// departed counts a kernel that is no more.
func (s *Server) departed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.workers--
}

// maxPool bounds what a client may ask for.
const maxPool = 64

// setPool sets the size of a service's pool, which survives restarts.
func (s *Server) setPool(ctx context.Context, owner string, key serviceKey, size poolSize) (*service, error) {
	x, err := s.ownService(owner, key, "change")
	if err != nil {
		return nil, err
	}
	if size != (poolSize{-1, -1}) && (size.initial < 0 || size.max < 1 || size.initial > size.max || size.max > maxPool) {
		return nil, fault.New(fault.Invalid, "0 <= InitialPoolSize <= MaxPoolSize, and 1 <= MaxPoolSize <= %d", maxPool)
	}
	row := x.row
	row.pool = size
	if err := s.rows.changeService(context.WithoutCancel(ctx), row); err != nil {
		return nil, err
	}
	s.mu.Lock()
	if s.services[key] == x {
		x.row.pool = size
	}
	s.mu.Unlock()
	x.pool.resize(size)
	return x, nil
}

func (p *workerPool) model() poolModel {
	p.mu.Lock()
	defer p.mu.Unlock()
	initial, most := p.bounds()
	return poolModel{InitialPoolSize: max(initial, 0), MaxPoolSize: most}
}
