package faults

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// op is one request of a client that was answered with success.
type op struct {
	name       string // of the session
	delete     bool
	began      time.Time
	ended      time.Time
	id, kernel string // of a create's answer
}

// history is what clients did, in any order.
type history struct {
	mu  sync.Mutex
	ops []op
}

func (h *history) add(o op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o.ended = time.Now()
	h.ops = append(h.ops, o)
}

// check holds the history against the model: one name has one session and one kernel until it is deleted (P1). Two creates
// of a name that give different ones must have a delete of it that could lie between them. A delete whose answer was lost
// may have been done, so all that were begun are in the history.
func (h *history) check(t *testing.T) (creates int) {
	t.Helper()
	byName := map[string][]op{}
	for _, o := range h.ops {
		byName[o.name] = append(byName[o.name], o)
	}
	for name, ops := range byName {
		for _, a := range ops {
			for _, b := range ops {
				if a.delete || b.delete || !a.ended.Before(b.began) {
					continue
				}
				if a.id == b.id && a.kernel == b.kernel {
					continue
				}
				between := false
				for _, d := range ops {
					between = between || d.delete && d.ended.After(a.began) && d.began.Before(b.ended)
				}
				require.True(t, between, "%s", fmt.Sprintf("%s was session %s with kernel %s, then session %s with kernel %s, and nobody deleted it",
					name, a.id, a.kernel, b.id, b.kernel))
			}
		}
		for _, o := range ops {
			if !o.delete {
				creates++
			}
		}
	}
	return creates
}
