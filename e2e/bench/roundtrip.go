package main

import (
	"context"
	"fmt"
	"time"
)

// roundTrips is how many executions make one value.
const roundTrips = 25

// measureRoundTrips takes the time from an execute_request to both its reply and its idle status.
func (b *bench) measureRoundTrips(ctx context.Context) error {
	for _, spec := range []string{"synth", "python3"} {
		for name, protocol := range map[string]string{"v1": protocolV1, "json": protocolJSON} {
			if err := b.roundTripsOf(ctx, spec, "rtt-"+spec+"-"+name, protocol); err != nil {
				return fmt.Errorf("%s, %s: %w", spec, name, err)
			}
			b.stopServers()
		}
	}
	return nil
}

func (b *bench) roundTripsOf(ctx context.Context, spec, id, protocol string) error {
	all, err := b.contenders(ctx, spec, protocol)
	if err != nil {
		return err
	}
	defer closeAll(all)
	for range b.rounds {
		for _, c := range all {
			if err := b.quiet(ctx); err != nil {
				return err
			}
			took, err := roundTrip(c, hello[spec])
			if err != nil {
				return fmt.Errorf("%s: %w", c.who, err)
			}
			b.add(id, c.who, took)
		}
	}
	return nil
}

// roundTrip is the median of some, in ms.
func roundTrip(c client, code string) (float64, error) {
	var times series
	for range roundTrips {
		began := time.Now()
		if err := c.run(newExecution(code, "", 0)); err != nil {
			return 0, err
		}
		times = append(times, millis(time.Since(began)))
	}
	return times.median(), nil
}
