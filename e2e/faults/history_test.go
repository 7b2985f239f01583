package faults

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// op is one request of a client.
type op struct {
	kind         opKind
	name         string // of the session or the file
	began, ended time.Time
	answered     bool   // with success; else it may have been done, or not
	id, kernel   string // of a create's answer
	value        int    // saved, or read
}

type opKind int

const (
	create opKind = iota
	remove
	save
	read
)

// history is what clients did, in any order.
type history struct {
	mu  sync.Mutex
	ops []op
}

// add notes that o ended now.
func (h *history) add(o op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o.ended = time.Now()
	h.ops = append(h.ops, o)
}

// check holds the history, and the sessions that are there at its end, against the model: a name has one session and one
// kernel until it is deleted (P1); what was answered with success is there from then on (P2).
func (h *history) check(t *testing.T, left []model) (creates, reads int) {
	t.Helper()
	byName := map[string][]op{}
	for _, o := range h.ops {
		byName[o.name] = append(byName[o.name], o)
	}
	for name, ops := range byName {
		of := func(kind opKind) (some []op) {
			for _, o := range ops {
				if o.kind == kind {
					some = append(some, o)
				}
			}
			return some
		}
		checkSessions(t, name, of(create), of(remove), left)
		checkFile(t, name, of(save), of(read))
		creates, reads = creates+len(of(create)), reads+len(of(read))
	}
	return creates, reads
}

// checkSessions: two creates of a name that give different sessions or kernels have a delete of it that could lie between
// them; the last create's session is there, unless a delete could have come after it.
func checkSessions(t *testing.T, name string, creates, removes []op, left []model) {
	t.Helper()
	removed := func(from, to time.Time) bool {
		for _, d := range removes {
			if d.ended.After(from) && d.began.Before(to) {
				return true
			}
		}
		return false
	}
	for _, a := range creates {
		for _, b := range creates {
			if !a.ended.Before(b.began) || a.id == b.id && a.kernel == b.kernel {
				continue
			}
			require.True(t, removed(a.began, b.ended), "%s was session %s with kernel %s, then session %s with kernel %s, and nobody deleted it",
				name, a.id, a.kernel, b.id, b.kernel)
		}
		if removed(a.began, time.Now()) {
			continue
		}
		there := false
		for _, m := range left {
			there = there || m.ID == a.id && m.Kernel.ID == a.kernel && m.Path == name
		}
		require.True(t, there, "%s was session %s with kernel %s, nobody deleted it, and it is not there", name, a.id, a.kernel)
	}
}

// checkFile: one client saves rising numbers. Whoever reads finds the last one that was answered before, or a later one
// that was begun, and never an older one than somebody found before.
func checkFile(t *testing.T, name string, saves, reads []op) {
	t.Helper()
	for _, r := range reads {
		least, most := 0, 0
		for _, s := range saves {
			if s.answered && s.ended.Before(r.began) {
				least = max(least, s.value)
			}
			if s.began.Before(r.ended) {
				most = max(most, s.value)
			}
		}
		for _, o := range reads {
			if o.ended.Before(r.began) {
				least = max(least, o.value)
			}
		}
		require.GreaterOrEqual(t, r.value, least, "%s: what was acknowledged, or read before, is there", name)
		require.LessOrEqual(t, r.value, most, "%s: nobody has saved that", name)
	}
}
