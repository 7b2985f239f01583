package rserver

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/google/uuid"

	"github.com/nbserv/nbserv/adapters"
	"github.com/nbserv/nbserv/internal/auth"
	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

// placeOf is where the code of owner runs. Unstartable says that it cannot be confined.
func (s *Server) placeOf(owner string, r *runtime) (place, error) {
	if owner == auth.Admin || s.cfg.AllowUnconfined {
		return place{r, false}, nil
	}
	if err := s.sandbox(); err != nil {
		return place{}, fault.Wrap(fault.Unstartable, err, "the code of accounts cannot be confined on this machine: the operator can install "+
			"bubblewrap, or allow it to run with the server's own rights")
	}
	return place{r, true}, nil
}

// options are those of a new kernel, with a folder of its own. Its helper finds the folder by the one it starts in.
func (s *Server) options(p place) (kernel.StartOptions, error) {
	dir := s.kernelDir(uuid.NewString())
	if err := makeFolders(dir); err != nil {
		return kernel.StartOptions{}, err
	}
	o := kernel.StartOptions{Spec: s.kernelspec(p.runtime), Cwd: dir}
	if p.confined {
		o.Sandbox = &kernel.Sandbox{Folder: dir, ReadOnly: s.cfg.ReadOnly, Hide: s.cfg.Hide, Network: true}
	}
	return o, nil
}

// workerOf is the worker of a kernel that was started with options.
func (s *Server) workerOf(o kernel.StartOptions, r *runtime) *worker {
	return &worker{host: s.host, kernelID: o.ID, runtime: r, dir: o.Cwd}
}

// startWorker starts a kernel and gives it the helper. Where that is impossible the error says why.
func (s *Server) startWorker(ctx context.Context, p place) (*worker, error) {
	o, err := s.options(p)
	if err != nil {
		return nil, err
	}
	o.ID, o.Owner = uuid.NewString(), kernelOwner
	w := s.workerOf(o, p.runtime)
	if err := s.launch(ctx, o, w); err != nil {
		s.discard(ctx, w)
		return nil, err
	}
	return w, nil
}

func (s *Server) launch(ctx context.Context, o kernel.StartOptions, w *worker) error {
	if _, err := s.host.Start(ctx, o); err != nil {
		return err
	}
	if err := s.host.Ready(ctx, o.ID); err != nil {
		return err
	}
	if st, err := s.host.Get(o.ID); err != nil || !st.Alive() {
		return errors.Join(fault.New(fault.Unstartable, "%s did not start: %s", w.runtime.name, st.Reason), err)
	}
	return w.inject(ctx)
}

// discard ends a worker that nobody wants.
func (s *Server) discard(ctx context.Context, w *worker) {
	if err := w.end(context.WithoutCancel(ctx)); err != nil {
		s.log.Warn("a kernel was not ended", "kernel_id", w.kernelID, "err", err)
	}
}

// warm takes a worker that was started ahead; nil when there is none.
func (s *Server) warm(ctx context.Context, where place) *worker {
	s.mu.Lock()
	p := s.pools[where]
	s.mu.Unlock()
	if p == nil {
		return nil
	}
	for {
		o, ok := p.Take()
		if !ok {
			return nil
		}
		w := s.workerOf(o, where.runtime)
		if err := w.check(ctx); err == nil { // it may have died and been started again
			return w
		}
		s.discard(ctx, w)
	}
}

// check says whether the kernel has the helper.
func (w *worker) check(ctx context.Context) error {
	_, err := w.call(ctx, request{Op: "names"})
	return err
}

// keepWarm begins to start workers ahead, once somebody has used a place.
func (s *Server) keepWarm(where place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cfg.WarmSessions == 0 || s.pools[where] != nil {
		return
	}
	p := s.newPool(where)
	s.pools[where] = p
	s.tasks.keep(p.Run)
}

func (s *Server) newPool(where place) *adapters.Pool {
	name := poolName + strings.ToLower(where.runtime.name)
	if where.confined {
		name += "-confined"
	}
	return adapters.NewPool(s.host, adapters.PoolConfig{
		Name: name, Size: s.cfg.WarmSessions, Warmup: where.runtime.helper, Logger: s.log,
		Prepare: func(context.Context) (kernel.StartOptions, error) { return s.options(where) },
		Check:   func(ctx context.Context, o kernel.StartOptions) error { return s.workerOf(o, where.runtime).check(ctx) },
		Discard: func(o kernel.StartOptions) {
			if err := os.RemoveAll(o.Cwd); err != nil {
				s.log.Warn("the folder of a kernel was not removed", "kernel_id", o.ID, "err", err)
			}
		},
	})
}
