package codeinterpreter

import (
	"context"
	"time"

	"github.com/nbserv/nbserv/adapters"
	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

// takeUp brings an execution of an earlier server to its end. One that had not begun is queued again; one that was
// under way is read on from the kernel's journal, when the kernel has outlived that server, and is lost otherwise.
func (s *session) takeUp(ctx context.Context, e *execution) {
	if e.state == notStarted {
		if err := s.enqueue(e); err != nil {
			e.fail(err)
		}
		return
	}
	close(e.begun)
	o, err := s.follow(ctx, e)
	switch {
	case err == nil:
		e.finish(o)
	case ctx.Err() != nil:
		e.fail(errStopping)
	default:
		lost := &outcome{State: failed}
		lost.fail(codeLost, "the server stopped while the code ran, and what became of it is not known: "+fault.Message(err))
		e.finish(lost)
	}
}

// follow reads what e's code says in a kernel that an earlier server had started it in.
func (s *session) follow(ctx context.Context, e *execution) (*outcome, error) {
	run, _ := e.where()
	c, err := e.observed(nil)
	if err != nil {
		return nil, err
	}
	defer c.Detach()
	st, err := s.pool.of.host.Get(run.kernelID)
	if err != nil {
		return nil, err
	}
	left := max(s.pool.of.cfg.Grace, e.request.Timeout-time.Since(run.started))
	g := s.guard(ctx, e, run.kernelID, left)
	defer g.stop()
	r, err := s.gather(ctx, e, c, st.Position)
	if err != nil {
		return nil, err
	}
	o := outcomeOf(r, time.Since(run.started))
	g.stop()
	g.explain(&o)
	if e.request.Shell {
		o.exit(exitOf(&o))
	}
	return &o, nil
}

// gather collects e's messages until its reply and its idle status have come. now is the journal's newest place: what
// has left no trace up to there never reached the kernel.
func (s *session) gather(ctx context.Context, e *execution, c kernel.Client, now kernel.Position) (adapters.Result, error) {
	run, _ := e.where()
	all := adapters.NewCollector(s.limits(e))
	var buf [64]kernel.Entry
	traced, replied, idle := false, false, false
	for {
		if at := c.Position(); !traced && (at.Epoch != run.position.Epoch || at.Seq >= now.Seq) {
			return adapters.Result{}, fault.New(fault.NotFound, "the kernel was not asked, or does not know it any more")
		}
		n, err := c.Next(ctx, buf[:])
		if err != nil {
			return adapters.Result{}, err
		}
		for _, entry := range buf[:n] {
			if !belongs(entry, run.client) {
				continue
			}
			traced = true
			if entry.Kind == kernel.Said {
				all.Add(entry)
				e.reach(entry.Seq)
			}
			replied = replied || is(entry, "execute_reply")
			idle = idle || isIdle(entry)
		}
		if replied && idle {
			return all.Result(), nil
		}
	}
}
