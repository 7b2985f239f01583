package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// manyCalled is how many sessions are called at the same time.
const manyCalled = 32

// callTime is how long calls are counted for one value.
const callTime = time.Second

// measureInterpreter takes calls of the code interpreter beside direct clients: of the synthetic kernel, so that the
// server is what is measured, and of ipykernel; and first calls on fresh identifiers, with and without ready sessions.
func (b *bench) measureInterpreter(ctx context.Context) error {
	if err := b.interpreterCalls(ctx); err != nil {
		return err
	}
	b.stopServers()
	return b.interpreterFirst(ctx)
}

// interpreterPools writes a file of pools: of the synthetic kernel, and of Pythons with some sessions ready.
func (b *bench) interpreterPools(ready int) (string, error) {
	file := filepath.Join(b.dir, fmt.Sprintf("pools-%d.json", ready))
	text := fmt.Sprintf(`{"pools": {"synth": {"kernel": "synth", "isolation": "none"}, "python": {"kernel": "python3", "ready": %d}}}`, ready)
	return file, os.WriteFile(file, []byte(text), 0o600)
}

func (b *bench) interpreterServer(ready int) (*server, error) {
	pools, err := b.interpreterPools(ready)
	if err != nil {
		return nil, err
	}
	return b.startServer(nbserv, "--codeinterpreter-pools="+pools)
}

// caller is a client of one session on a kept connection.
type caller struct {
	*httpConn
	path string
	body []byte
}

func (s *server) newCaller(pool, identifier, code string) (*caller, error) {
	h, err := s.dialHTTP()
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(map[string]string{"code": code})
	return &caller{h, "/aca/pools/" + pool + "/executions?identifier=" + identifier, body}, err
}

// call executes once, and looks whether it went well.
func (c *caller) call() error {
	answer, err := c.do("POST", c.path, c.body)
	if err == nil && !strings.Contains(string(answer), `"Succeeded"`) {
		err = fmt.Errorf("an execution failed: %.300s", answer)
	}
	return err
}

// interpreterCalls takes round trips, and calls per second in one session and in many.
func (b *bench) interpreterCalls(ctx context.Context) (err error) {
	s, err := b.interpreterServer(0)
	if err != nil {
		return err
	}
	clients := map[string]*caller{}
	alone := map[string]client{}
	for spec, pool := range map[string]string{"synth": "synth", "python3": "python"} {
		if clients[spec], err = s.newCaller(pool, "bench-one", hello[spec]); err != nil {
			return err
		}
		if alone[spec], err = b.directClient(ctx, spec, direct); err != nil {
			return err
		}
		defer clients[spec].close()
		defer alone[spec].close()
		for range warmUps {
			if err := errors.Join(clients[spec].call(), alone[spec].run(remembered(hello[spec]))); err != nil {
				return err
			}
		}
	}
	many, err := s.manyCallers()
	if err != nil {
		return err
	}
	defer func() {
		for _, c := range many {
			c.close()
		}
	}()
	for range b.rounds {
		for spec, c := range clients {
			if err := b.quiet(ctx); err != nil {
				return err
			}
			if err := b.interpreterRound(spec, c, alone[spec]); err != nil {
				return err
			}
		}
		for id, callers := range map[string][]*caller{"code-rate-1": many[:1], "code-rate-32": many} {
			if err := b.quiet(ctx); err != nil {
				return err
			}
			if err := b.interpreterRate(id, s, callers); err != nil {
				return err
			}
		}
	}
	return nil
}

// interpreterRound takes calls and direct executions in turns, of the same request.
func (b *bench) interpreterRound(spec string, c *caller, alone client) error {
	var ours, bare series
	for range roundTrips {
		began := time.Now()
		if err := c.call(); err != nil {
			return err
		}
		ours = append(ours, millis(time.Since(began)))
		began = time.Now()
		if err := alone.run(remembered(hello[spec])); err != nil {
			return err
		}
		bare = append(bare, millis(time.Since(began)))
	}
	b.add("code-"+spec, nbserv, ours.median())
	b.add("code-"+spec, direct, bare.median())
	return nil
}

// remembered is a request of which the kernel keeps the code, as it does of what the code interpreter runs.
func remembered(code string) *execution {
	e := newExecution(code, "", 0)
	e.history = true
	return e
}

// manyCallers makes sessions of the synthetic kernel, each called once.
func (s *server) manyCallers() (all []*caller, err error) {
	for i := range manyCalled {
		c, err := s.newCaller("synth", fmt.Sprintf("bench-many-%d", i), hello["synth"])
		if err != nil {
			return all, err
		}
		all = append(all, c)
		if err := c.call(); err != nil {
			return all, err
		}
	}
	return all, nil
}

// interpreterRate counts calls for a while, one at a time in each session.
func (b *bench) interpreterRate(id string, s *server, callers []*caller) error {
	counts := make([]int, len(callers))
	c, err := measure(s, func() error {
		var g errgroup.Group
		end := time.Now().Add(callTime)
		for i, c := range callers {
			g.Go(func() error {
				for time.Now().Before(end) {
					if err := c.call(); err != nil {
						return err
					}
					counts[i]++
				}
				return nil
			})
		}
		return g.Wait()
	})
	if err != nil {
		return err
	}
	calls := 0
	for _, n := range counts {
		calls += n
	}
	b.add(id, nbserv, float64(calls)/c.wall.Seconds())
	b.add(id+"-cpu", nbserv, each(c.server, calls))
	return nil
}

// interpreterFirst takes the first call on a fresh identifier.
func (b *bench) interpreterFirst(ctx context.Context) error {
	for id, ready := range map[string]int{"code-first": 0, "code-first-ready": 1} {
		s, err := b.interpreterServer(ready)
		if err != nil {
			return err
		}
		for i := range b.rounds {
			if err := errors.Join(s.awaitReady(ctx, ready), s.settle(ctx), b.quiet(ctx)); err != nil {
				return err
			}
			if err := b.interpreterFresh(s, id, fmt.Sprintf("fresh-%d", i)); err != nil {
				return err
			}
			if ready > 0 {
				continue
			}
			if err := b.firstAloneOf(ctx, id); err != nil {
				return err
			}
		}
		b.stopServers()
	}
	return nil
}

func (b *bench) interpreterFresh(s *server, id, identifier string) error {
	c, err := s.newCaller("python", identifier, "6*7")
	if err != nil {
		return err
	}
	defer c.close()
	began := time.Now()
	if err := c.call(); err != nil {
		return err
	}
	b.add(id, nbserv, millis(time.Since(began)))
	_, err = c.do("DELETE", "/aca/pools/python/session?identifier="+identifier, nil)
	return err
}

// awaitReady waits until as many sessions are ready.
func (s *server) awaitReady(ctx context.Context, n int) error {
	h, err := s.dialHTTP()
	if err != nil {
		return err
	}
	defer h.close()
	deadline := time.Now().Add(startWait)
	for ctx.Err() == nil && time.Now().Before(deadline) {
		raw, err := h.do("GET", "/aca/pools/python/metadata", nil)
		if err != nil {
			return err
		}
		var m struct {
			Pool struct {
				Ready int `json:"readySessions"`
			} `json:"pool"`
		}
		if err := json.Unmarshal(raw, &m); err != nil || m.Pool.Ready >= n {
			return err
		}
		time.Sleep(startPoll)
	}
	return fmt.Errorf("%s has no ready session after %v", s.name, startWait)
}
