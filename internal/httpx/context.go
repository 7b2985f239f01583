// Package httpx turns faults into HTTP answers and carries what every request shares: JSON in and out, body
// limits, request ids, the access log and recovery from panics.
package httpx

import "context"

// note is what a request collects on its way for the access log. One goroutine, the handler's, writes it.
type note struct {
	id  string
	err error
}

type noteKey struct{}

// WithRequestID returns a context that carries id and a place for the request's error.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, noteKey{}, &note{id: id})
}

// RequestID is the id given by WithRequestID, or "".
func RequestID(ctx context.Context) string {
	if n, ok := ctx.Value(noteKey{}).(*note); ok {
		return n.id
	}
	return ""
}

// NoteError keeps err for the access log. Without WithRequestID it does nothing.
func NoteError(ctx context.Context, err error) {
	if n, ok := ctx.Value(noteKey{}).(*note); ok {
		n.err = err
	}
}

// NotedError is what NoteError kept.
func NotedError(ctx context.Context) error {
	if n, ok := ctx.Value(noteKey{}).(*note); ok {
		return n.err
	}
	return nil
}
