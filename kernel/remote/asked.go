package remote

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/nbserv/nbserv/kernel"
)

// asked are a client's requests that have had no end. When their kernel host dies, nobody can tell whether they have
// reached the kernel, so that the next one is told of them: every execution ends, whoever dies (P6). Guarded by the
// client's mu.
type asked struct {
	byID  map[string]*question
	order []*question // may hold some that byID no longer has
}

// question is one of them.
type question struct {
	m       *kernel.Message
	sent    bool // a kernel host may have got it
	replied bool
	idle    bool
}

const (
	// maxAsked is how many are remembered; of more, the oldest are not.
	maxAsked = 4096
	// maxKept is up to which size, in bytes, a request is kept as it is. Of a larger one the content is not.
	maxKept = 64 << 10
)

// trimmed is m without what is large in it, in memory of its own: m's may be one large piece.
func trimmed(m *kernel.Message) *kernel.Message {
	parts := m.Parts
	if len(parts[kernel.PartContent]) > maxKept {
		parts[kernel.PartContent] = json.RawMessage("{}")
	}
	for i := range parts {
		parts[i] = bytes.Clone(parts[i])
	}
	kept, err := kernel.NewMessage(m.Channel, parts, nil)
	if err != nil {
		return m // not to be expected: m was made of the same parts
	}
	return kept
}

// add notes m, if it is a request that the kernel answers; nil if not.
func (a *asked) add(m *kernel.Message) *question {
	if !strings.HasSuffix(m.Header.MsgType, "_request") || m.Channel == kernel.Stdin || m.Header.MsgID == "" {
		return nil
	}
	if a.byID == nil {
		a.byID = make(map[string]*question)
	}
	kept := m
	if m.Size() > maxKept {
		kept = trimmed(m)
	}
	q := &question{m: kept}
	a.byID[m.Header.MsgID] = q
	a.order = append(a.order, q)
	if len(a.order) > 2*maxAsked {
		a.compact()
	}
	if len(a.byID) > maxAsked {
		a.compact()
		delete(a.byID, a.order[0].m.Header.MsgID)
	}
	return q
}

// posted says that a kernel host may have got q; nil is no request.
func (q *question) posted() {
	if q != nil {
		q.sent = true
	}
}

// compact drops from order what has ended.
func (a *asked) compact() {
	var left []*question
	for _, q := range a.order {
		if a.byID[q.m.Header.MsgID] == q {
			left = append(left, q)
		}
	}
	a.order = left
}

// forget takes back an add: nobody got m.
func (a *asked) forget(m *kernel.Message) { delete(a.byID, m.Header.MsgID) }

// heard takes note of a message of the kernel's.
func (a *asked) heard(m *kernel.Message) {
	if m == nil || len(a.byID) == 0 {
		return
	}
	q := a.byID[m.Parent.MsgID]
	switch {
	case q == nil:
		return
	case m.Channel == kernel.Shell, m.Channel == kernel.Control:
		q.replied = true
	default:
		q.idle = q.idle || m.ExecutionState() == "idle"
	}
	if q.replied && q.idle {
		delete(a.byID, m.Parent.MsgID)
		if len(a.byID) == 0 {
			a.order = nil
		}
	}
}

// unsettled are those that a kernel host may have got, in the order they were sent.
func (a *asked) unsettled() (list []*kernel.Message) {
	a.compact()
	for _, q := range a.order {
		if q.sent {
			list = append(list, q.m)
		}
	}
	return list
}
