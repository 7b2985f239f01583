package kernel

import (
	"context"
	"encoding/json"
	"iter"

	"github.com/google/uuid"
)

// Execution is Host.Execute by means of h's clients: it yields what belongs to req, in the journal's order, until
// both the reply and the idle status have come: a death or a shutdown brings both in the kernel's place. Gap notices
// are yielded too.
func Execution(ctx context.Context, h Host, id string, req ExecuteRequest) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if req.ClientSession == "" {
			req.ClientSession = uuid.NewString()
		}
		c, err := h.Attach(id, AttachOptions{ClientSession: req.ClientSession, Transient: true})
		if err != nil {
			yield(Entry{}, err)
			return
		}
		defer c.Detach()
		for e, err := range ExecuteOn(ctx, c, req) {
			if !yield(e, err) {
				return
			}
		}
	}
}

// ExecuteOn is Execution by a client that is attached already, as req.ClientSession, and stays so: many short executions
// cost less that way. The client's reader is the caller; what else comes for the client meanwhile is passed over.
func ExecuteOn(ctx context.Context, c Client, req ExecuteRequest) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		m := req.message(req.ClientSession)
		if err := c.Send(m); err != nil {
			yield(Entry{}, err)
			return
		}
		var buf [64]Entry
		replied, idle := false, false
		for {
			n, err := c.Next(ctx, buf[:])
			if err != nil {
				yield(Entry{}, err)
				return
			}
			for _, e := range buf[:n] {
				if e.Message != nil && e.Message.Parent.MsgID != m.Header.MsgID {
					continue
				}
				if !yield(e, nil) {
					return
				}
				if e.Message == nil {
					continue
				}
				replied = replied || e.Message.Header.MsgType == "execute_reply"
				idle = idle || e.Message.ExecutionState() == stateIdle
				if replied && idle {
					return
				}
			}
		}
	}
}

// message makes the execute_request.
func (r ExecuteRequest) message(session string) *Message {
	expressions := r.UserExpressions
	if expressions == nil {
		expressions = map[string]string{}
	}
	m := compose(Shell, session, "execute_request", nil, struct {
		Code            string            `json:"code"`
		Silent          bool              `json:"silent"`
		StoreHistory    bool              `json:"store_history"`
		UserExpressions map[string]string `json:"user_expressions"`
		AllowStdin      bool              `json:"allow_stdin"`
		StopOnError     bool              `json:"stop_on_error"`
	}{r.Code, r.Silent, r.StoreHistory, expressions, r.AllowStdin, r.StopOnError})
	if r.Metadata != nil {
		m.Parts[PartMetadata] = json.RawMessage(r.Metadata)
	}
	return m
}
