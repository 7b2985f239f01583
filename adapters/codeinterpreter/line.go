package codeinterpreter

import (
	"context"
	"iter"
	"time"

	"github.com/google/uuid"

	"github.com/nbserv/nbserv/kernel"
)

// line is a client of a session's kernel that stays attached for a while after an execution: attaching for each would
// take as long as a short one itself.
type line struct {
	kernel.Client
	kernelID string
	since    time.Time // when the last execution ended
}

// maxBehind is how many entries of the kernel's journal an idle line may be behind: it reads them before it comes to
// those of its next execution.
const maxBehind = 256

// execute runs r in the session's kernel. One execution at a time uses the line.
func (s *session) execute(ctx context.Context, kernelID string, r kernel.ExecuteRequest) iter.Seq2[kernel.Entry, error] {
	return func(yield func(kernel.Entry, error) bool) {
		l, err := s.attached(kernelID)
		if err != nil {
			yield(kernel.Entry{}, err)
			return
		}
		whole := true
		for e, err := range kernel.ExecuteOn(ctx, l, r) {
			whole = err == nil
			if !yield(e, err) {
				whole = false
				break
			}
		}
		if !whole {
			l.Detach()
			return
		}
		l.since = time.Now()
		s.mu.Lock()
		s.line = l
		s.mu.Unlock()
	}
}

// attached gives the line, a new one when the one there is leads to another kernel, or is far behind.
func (s *session) attached(kernelID string) (*line, error) {
	if l := s.takeLine(); l != nil {
		st, err := s.pool.of.host.Get(kernelID)
		at := l.Position()
		if err == nil && l.kernelID == kernelID && at.Epoch == st.Position.Epoch && st.Position.Seq <= at.Seq+maxBehind {
			return l, nil
		}
		l.Detach()
	}
	c, err := s.pool.of.host.Attach(kernelID, kernel.AttachOptions{ClientSession: uuid.NewString(), Transient: true})
	if err != nil {
		return nil, err
	}
	return &line{Client: c, kernelID: kernelID}, nil
}

// takeLine takes the line away from the session; nil when there is none, or somebody uses it.
func (s *session) takeLine() *line {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.line
	s.line = nil
	return l
}

// dropLine ends the line if nobody has used it for idle.
func (s *session) dropLine(idle time.Duration) {
	s.mu.Lock()
	l := s.line
	if l == nil || time.Since(l.since) < idle {
		s.mu.Unlock()
		return
	}
	s.line = nil
	s.mu.Unlock()
	l.Detach()
}
