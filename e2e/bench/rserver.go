package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	consumptions   = 100 // calls of one client that make a value
	consumersRound = 3 * time.Second
	warmCreates    = 5 // sessions that make a value
)

// consumerLanguage is a runtime of the R Server API, and the kernelspec that a direct client runs.
type consumerLanguage struct{ name, spec, code, direct string }

var consumerLanguages = []consumerLanguage{
	{"R", "ir", "r <- x + y", "x <- 2; y <- 3"},
	{"Python", "python3", "r = x + y", "x = 2; y = 3"},
}

// measureRServer takes what it costs to call a service that adds two numbers, at one and at 16 clients, beside a direct
// client that executes x + y in a kernel of its own; and what a session costs whose kernel was started ahead.
func (b *bench) measureRServer(ctx context.Context) error {
	for _, l := range consumerLanguages {
		if l.spec == "ir" && exec.Command("Rscript", "--vanilla", "-e", "library(IRkernel)").Run() != nil {
			b.say("R is left out: IRkernel is not installed")
			continue
		}
		if err := b.consume(ctx, l); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		b.stopServers()
	}
	return nil
}

func (b *bench) consume(ctx context.Context, l consumerLanguage) error {
	s, err := b.startServer(nbserv)
	if err != nil {
		return err
	}
	one, err := s.dialConsumer(l.name)
	if err != nil {
		return err
	}
	defer one.close()
	if err := one.publish(l); err != nil {
		return err
	}
	alone, err := b.directClient(ctx, l.spec, direct)
	if err != nil {
		return err
	}
	defer alone.close()
	if err := alone.run(newExecution(l.direct, "", 0)); err != nil {
		return err
	}
	for range warmUps {
		if _, err := one.call(); err != nil {
			return err
		}
		if err := alone.run(newExecution("x + y", "", 0)); err != nil {
			return err
		}
	}
	if _, _, err := consumeTogether(s, l.name, 16); err != nil { // the service's kernels start
		return err
	}
	id := "rserver-" + l.name
	for range b.rounds {
		if err := b.quiet(ctx); err != nil {
			return err
		}
		if err := b.consumeAlone(id, one, alone); err != nil {
			return err
		}
		took, times, err := consumeTogether(s, l.name, 16)
		if err != nil {
			return err
		}
		b.add(id+"-16-rate", nbserv, float64(len(times))/took.Seconds())
		b.add(id+"-16", nbserv, times.median())
		b.add(id+"-16-p99", nbserv, times.percentile(99))
		if err := b.createWarm(id, one); err != nil {
			return err
		}
	}
	return nil
}

// consumeAlone takes calls and a direct client's executions in turns, so that what others do meets both alike.
func (b *bench) consumeAlone(id string, c *consumer, alone client) error {
	var calls, executions series
	for range consumptions {
		took, err := c.call()
		if err != nil {
			return err
		}
		calls = append(calls, millis(took))
		began := time.Now()
		if err := alone.run(newExecution("x + y", "", 0)); err != nil {
			return err
		}
		executions = append(executions, millis(time.Since(began)))
	}
	for who, times := range map[contestant]series{nbserv: calls, direct: executions} {
		b.add(id+"-1", who, times.median())
		b.add(id+"-1-p99", who, times.percentile(99))
	}
	return nil
}

// consumeTogether has clients call as fast as they are answered, and gives what each call took.
func consumeTogether(s *server, language string, clients int) (time.Duration, series, error) {
	var group errgroup.Group
	var mu sync.Mutex
	var times series
	began := time.Now()
	for range clients {
		group.Go(func() error {
			c, err := s.dialConsumer(language)
			if err != nil {
				return err
			}
			defer c.close()
			for time.Since(began) < consumersRound {
				took, err := c.call()
				if err != nil {
					return err
				}
				mu.Lock()
				times = append(times, millis(took))
				mu.Unlock()
			}
			return nil
		})
	}
	err := group.Wait()
	return time.Since(began), times, err
}

// createWarm takes the time of POST /sessions when a kernel waits for it.
func (b *bench) createWarm(id string, c *consumer) error {
	var times series
	for i := range warmCreates + 1 {
		began := time.Now()
		session, err := c.createSession()
		if err != nil {
			return err
		}
		if i > 0 { // the first begins to start kernels ahead
			times = append(times, millis(time.Since(began)))
		}
		if _, err := c.do("DELETE", "/rserver/sessions/"+session+"/force", nil); err != nil {
			return err
		}
		if err := c.awaitWarm(); err != nil {
			return err
		}
	}
	b.add(id+"-session", nbserv, times.median())
	return nil
}

// consumer is a client of the service "add".
type consumer struct {
	*httpConn
	language string
}

func (s *server) dialConsumer(language string) (*consumer, error) {
	h, err := s.dialHTTP()
	return &consumer{h, language}, err
}

func (c *consumer) publish(l consumerLanguage) error {
	body, err := json.Marshal(map[string]any{
		"code": l.code, "runtimeType": l.name,
		"inputParameterDefinitions":  []map[string]string{{"name": "x", "type": "numeric"}, {"name": "y", "type": "numeric"}},
		"outputParameterDefinitions": []map[string]string{{"name": "r", "type": "numeric"}},
	})
	if err == nil {
		_, err = c.do("POST", "/rserver/services/add-"+l.name+"/v1", body)
	}
	return err
}

var addends = []byte(`{"x":2,"y":3}`)

func (c *consumer) call() (time.Duration, error) {
	began := time.Now()
	_, err := c.do("POST", "/rserver/api/add-"+c.language+"/v1", addends)
	return time.Since(began), err
}

func (c *consumer) createSession() (string, error) {
	body, err := c.do("POST", "/rserver/sessions", []byte(`{"runtimeType":"`+c.language+`"}`))
	if err != nil {
		return "", err
	}
	var made struct{ SessionID string }
	err = json.Unmarshal(body, &made)
	return made.SessionID, err
}

// awaitWarm waits until a kernel waits for the next session.
func (c *consumer) awaitWarm() error {
	deadline := time.Now().Add(startWait)
	for time.Now().Before(deadline) {
		body, err := c.do("GET", "/rserver/status", nil)
		if err != nil {
			return err
		}
		var status struct {
			Components struct {
				Backends struct {
					Components map[string]struct {
						Details struct {
							Ready int `json:"ready Shell Count"`
						}
					}
				}
			}
		}
		if err := json.Unmarshal(body, &status); err != nil {
			return err
		}
		for _, one := range status.Components.Backends.Components {
			if one.Details.Ready > 0 {
				return nil
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("no kernel was started ahead within %v", startWait)
}

// percentile is the value that p per cent of the values do not exceed.
func (s series) percentile(p int) float64 {
	sorted := slices.Sorted(slices.Values(s))
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}
