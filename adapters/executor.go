package adapters

import (
	"context"
	"iter"

	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/sessions"
)

// Executor runs code in sessions. *sessions.Manager is one. All methods are safe for concurrent use.
type Executor interface {
	// Create gives the session of an identity, the living one or a new one: see sessions.Manager.
	Create(ctx context.Context, req sessions.CreateRequest) (sessions.Session, error)
	// Execute runs code and yields what belongs to it until it has ended. Cancelling ctx or leaving the loop
	// ends the reading, not the code. Collect makes a Result of it. It attaches a client for each: who runs much in one
	// session attaches its own, for kernel.ExecuteOn.
	Execute(ctx context.Context, sessionID string, req kernel.ExecuteRequest) iter.Seq2[kernel.Entry, error]
	// Interrupt asks a session's kernel to stop what it does.
	Interrupt(ctx context.Context, sessionID string) error
	// Delete ends a session and its kernel.
	Delete(ctx context.Context, sessionID string) error
}

var _ Executor = (*sessions.Manager)(nil)
