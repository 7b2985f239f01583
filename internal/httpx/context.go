// Package httpx turns faults into HTTP answers and carries what every request shares: JSON in and out, body
// limits, request ids, the access log, recovery from panics and the security headers.
//
// It starts no goroutine. The middleware is meant to be chained in this order, outermost first:
//
//	httpx.Chain(h, httpx.AccessLog(…), httpx.Recover, httpx.SecurityHeaders(base))
package httpx

import (
	"context"
	"log/slog"
	"net/http"
)

// note is what a request collects on its way for the access log. One goroutine, the handler's, writes it.
type note struct {
	id     string
	log    *slog.Logger
	client Client
	caller any
	err    error
	stack  []byte // of a panic
}

type noteKey struct{}

func noteOf(ctx context.Context) *note {
	n, _ := ctx.Value(noteKey{}).(*note)
	return n
}

// WithRequestID returns a context that carries id and a place for the request's error.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, noteKey{}, &note{id: id})
}

// RequestID is the id given by AccessLog or WithRequestID, or "".
func RequestID(ctx context.Context) string {
	if n := noteOf(ctx); n != nil {
		return n.id
	}
	return ""
}

// NoteError keeps err for the access log. Without AccessLog or WithRequestID it does nothing.
func NoteError(ctx context.Context, err error) {
	if n := noteOf(ctx); n != nil {
		n.err = err
	}
}

// NotedError is what NoteError kept.
func NotedError(ctx context.Context) error {
	if n := noteOf(ctx); n != nil {
		return n.err
	}
	return nil
}

// SetCaller keeps v, what authentication found out about a request, for Caller. It is false outside AccessLog. A second
// context, and the second copy of the request that it takes, cost as much as the rest of the chain.
func SetCaller(ctx context.Context, v any) bool {
	n := noteOf(ctx)
	if n != nil {
		n.caller = v
	}
	return n != nil
}

// Caller is what SetCaller kept, or nil.
func Caller(ctx context.Context) any {
	if n := noteOf(ctx); n != nil {
		return n.caller
	}
	return nil
}

// Logger is the server's logger with this request's id in it. Outside AccessLog it is slog's default.
func Logger(ctx context.Context) *slog.Logger {
	n := noteOf(ctx)
	if n == nil || n.log == nil {
		return slog.Default()
	}
	return n.log.With("request_id", n.id)
}

// Middleware wraps a handler.
type Middleware func(http.Handler) http.Handler

// Chain wraps h in m, the first of them outermost.
func Chain(h http.Handler, m ...Middleware) http.Handler {
	for i := len(m) - 1; i >= 0; i-- {
		h = m[i](h)
	}
	return h
}
