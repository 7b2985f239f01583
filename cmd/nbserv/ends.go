package main

import (
	"context"

	"github.com/nbserv/nbserv/internal/events"
	"github.com/nbserv/nbserv/kernel"
)

// kernelEnd is an event of events.KernelEndsSchema.
type kernelEnd struct {
	ID     string `json:"kernel_id"`
	Name   string `json:"kernel_name"`
	State  string `json:"execution_state"`
	Reason string `json:"reason"`
}

// tellEnds tells the event bus why kernels end, until ctx ends (P12). What had ended before is no news.
func tellEnds(ctx context.Context, host kernel.Host, bus *events.Bus) {
	told := map[string]string{} // by kernel: the end that was told last, "" while it lives
	for st := range host.Watch(ctx) {
		end := ""
		if st.ExecutionState == "dead" || st.ExecutionState == "autorestarting" {
			end = st.ExecutionState + " " + st.Reason
		}
		before, known := told[st.ID]
		told[st.ID] = end
		if known && end != "" && end != before && st.Reason != "" {
			bus.Tell(events.KernelEndsSchema, kernelEnd{st.ID, st.Spec, st.ExecutionState, st.Reason})
		}
		if st.Gone {
			delete(told, st.ID)
		}
	}
}
