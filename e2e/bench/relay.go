package main

import (
	"context"
	"fmt"
)

// load is what a kernel is told to send, at full speed.
type load struct {
	id       string
	code     string // with the number of messages and their size
	msgType  string
	size     int
	messages map[contestant]int // so many that a round takes about a second
}

var loads = []load{
	{"relay-100B", "flood %d %d", "stream", 100, map[contestant]int{nbserv: 80_000, peer: 12_000, direct: 80_000, zmq4: 40_000}},
	{"relay-100KB", "flood %d %d", "stream", 100_000, map[contestant]int{nbserv: 3000, peer: 3000, direct: 3000, zmq4: 3000}},
	{"relay-1MB", "buffers %d %d", "comm_msg", 1_000_000, map[contestant]int{nbserv: 500, peer: 500, direct: 500, zmq4: 500}},
}

// measureRelay takes how fast one kernel's output reaches one client, over v1, and at what cost.
func (b *bench) measureRelay(ctx context.Context) error {
	all, err := b.contenders(ctx, "synth", protocolV1)
	if err != nil {
		return err
	}
	defer closeAll(all)
	lost := map[contestant]int{}
	for _, l := range loads {
		for range b.rounds {
			for _, c := range all {
				if err := b.quiet(ctx); err != nil {
					return err
				}
				if err := b.relay(l, c, lost); err != nil {
					return fmt.Errorf("%s, %s: %w", l.id, c.who, err)
				}
			}
		}
	}
	for _, c := range all {
		b.add("relay-lost", c.who, float64(lost[c.who]))
	}
	return nil
}

// relay makes one value. It adds what did not arrive to lost.
func (b *bench) relay(l load, c contender, lost map[contestant]int) error {
	n := l.messages[c.who]
	e := newExecution(fmt.Sprintf(l.code, n, l.size), l.msgType, n)
	spent, err := measure(c.server, func() error { return c.run(e) })
	if err != nil {
		return err
	}
	if e.lost() > 0 {
		b.say("%s: %s lost %d of %d messages", l.id, c.who, e.lost(), n)
		lost[c.who] += e.lost()
	}
	rate := float64(e.got) / spent.wall.Seconds()
	if l.size >= 100_000 {
		rate *= float64(l.size) / 1e6 // MB/s
	}
	b.add(l.id+"-rate", c.who, rate)
	if c.server != nil {
		b.add(l.id+"-cpu", c.who, each(spent.server, n))
	}
	if l.id == "relay-100B" {
		b.add(l.id+"-client", c.who, each(spent.client, n))
	}
	return nil
}
