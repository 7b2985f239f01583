package sessions

import (
	"context"
	"time"
)

// Row is what a Store keeps of a session.
type Row struct {
	ID         string
	Path       string
	Name       string
	Type       string
	KernelID   string
	KernelName string    // the kernelspec, to show of a kernel that is no more
	Created    time.Time // in UTC, to the microsecond
}

// Change is what a Store writes at once.
type Change struct {
	Put  []Row    // new rows, and rows that replace those of the same ID
	Drop []string // IDs; one that is unknown is no error
}

// Store keeps rows across the life of a server. It is safe for concurrent use. storetest.Run is what every
// implementation passes.
type Store interface {
	// Load gives all rows, ordered by Created, then ID.
	Load(ctx context.Context) ([]Row, error)
	// Apply writes all of c or nothing. When it returns nil, c survives the death of server and machine.
	Apply(ctx context.Context, c Change) error
}
