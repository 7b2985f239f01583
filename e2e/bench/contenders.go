package main

import (
	"context"
	"fmt"
)

// contender is a client that takes part, and the server it is a client of, if any.
type contender struct {
	who contestant
	client
	server *server
}

// hello is a line of code that prints a word, by kernelspec.
var hello = map[string]string{"synth": "print hello", "python3": "print('hello')"}

// warmUps is how many executions a client makes before it is measured.
const warmUps = 20

// contenders are clients of both servers, each with a new session, and both direct clients, each with a kernel of
// its own, warmed up.
func (b *bench) contenders(ctx context.Context, spec, protocol string) (all []contender, err error) {
	defer func() {
		if err != nil {
			closeAll(all)
		}
	}()
	ours, theirs, err := b.both()
	if err != nil {
		return nil, err
	}
	for _, s := range []*server{ours, theirs} {
		w, err := s.newKernel(spec, protocol)
		if err != nil {
			return all, err
		}
		all = append(all, contender{s.name, w, s})
	}
	for _, how := range []contestant{direct, zmq4} {
		c, err := b.directClient(ctx, spec, how)
		if err != nil {
			return all, err
		}
		all = append(all, contender{who: how, client: c})
	}
	for _, c := range all {
		for range warmUps {
			if err := c.run(newExecution(hello[spec], "", 0)); err != nil {
				return all, fmt.Errorf("%s: %w", c.who, err)
			}
		}
	}
	return all, nil
}

// newKernel opens a WebSocket to a new session's kernel.
func (s *server) newKernel(spec, protocol string) (*socket, error) {
	v, err := s.createSession(spec, "bench-"+spec)
	if err != nil {
		return nil, err
	}
	return s.dialSocket(v.Kernel.ID, "bench-client", protocol, busyBuffer)
}

func closeAll(all []contender) {
	for _, c := range all {
		c.close()
	}
}
