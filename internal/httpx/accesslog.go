package httpx

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
)

// statusGone is what the log says of a client that left before its answer was complete (nginx's code).
const statusGone = 499

// LogConfig is what AccessLog needs.
type LogConfig struct {
	Logger *slog.Logger
	// TrustedProxies are the networks whose X-Forwarded-For, -Proto, -Host, X-Real-IP and X-Scheme are believed.
	TrustedProxies []netip.Prefix
}

// AccessLog gives every request an id (a client's own X-Request-Id when it is a plain word), finds out who asks,
// and writes one log line when the answer has ended: at Error for a defect of the server, at Warn for a client
// turned away by a limit, at Debug for a successful GET (pages poll), else at Info. Secrets in the query are
// blanked and no header is logged (S6). The line carries the request's noted error: who notes it need not log it.
func AccessLog(cfg LogConfig) Middleware {
	ids := newRequestIDs()
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			start := time.Now()
			e := &exchange{
				note:     note{id: ids.of(r), log: cfg.Logger, client: forwarded(r, cfg.TrustedProxies)},
				recorder: recorder{ResponseWriter: w},
			}
			e.idLine[0] = e.note.id
			w.Header()["X-Request-Id"] = e.idLine[:]
			ctx := context.WithValue(r.Context(), noteKey{}, &e.note)
			defer func() { e.note.write(ctx, r, &e.recorder, time.Since(start)) }() // also when a handler aborts the answer
			next.ServeHTTP(&e.recorder, r.WithContext(ctx))
		})
	}
}

// exchange is what one request needs, in one piece of memory.
type exchange struct {
	note     note
	recorder recorder
	idLine   [1]string
}

// write writes the line of one ended request.
func (n *note) write(ctx context.Context, r *http.Request, w *recorder, dur time.Duration) {
	status := n.status(ctx, w)
	level := levelOf(r.Method, status)
	if !n.log.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 9)
	attrs = append(attrs,
		slog.String("request_id", n.id),
		slog.String("method", r.Method),
		slog.String("path", loggable(r.URL)),
		slog.Int("status", status),
		slog.Duration("dur", dur),
		slog.Int64("bytes", w.bytes),
		slog.String("remote", remote(ctx)))
	if n.err != nil {
		attrs = append(attrs, slog.Any("err", n.err))
	}
	if n.stack != nil {
		attrs = append(attrs, slog.String("stack", string(n.stack)))
	}
	n.log.LogAttrs(context.WithoutCancel(ctx), level, "request", attrs...)
}

// status is what became of the request.
func (n *note) status(ctx context.Context, w *recorder) int {
	switch {
	case w.hijacked:
		return w.status
	case w.failed, w.status == 0 && errors.Is(ctx.Err(), context.Canceled), w.status == Status(fault.Canceled):
		return statusGone
	case w.status == 0:
		return http.StatusOK // net/http says so for a handler that wrote nothing
	}
	return w.status
}

func levelOf(method string, status int) slog.Level {
	switch {
	case status == http.StatusServiceUnavailable, status == http.StatusTooManyRequests:
		return slog.LevelWarn
	case status == http.StatusNotImplemented: // a kernelspec that cannot start: whoever asked has to act
		return slog.LevelInfo
	case status >= 500:
		return slog.LevelError
	case status < 400 && status != http.StatusSwitchingProtocols && (method == http.MethodGet || method == http.MethodHead):
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// requestIDs makes ids that are unique among the servers and restarts that share a log: a random start, a count.
type requestIDs struct {
	prefix string
	n      atomic.Uint64
}

func newRequestIDs() *requestIDs {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return &requestIDs{prefix: hex.EncodeToString(b[:]) + "-"}
}

func (g *requestIDs) of(r *http.Request) string {
	if v := r.Header["X-Request-Id"]; len(v) == 1 && plainWord(v[0]) {
		return v[0]
	}
	b := make([]byte, 0, 24)
	b = append(b, g.prefix...)
	return string(strconv.AppendUint(b, g.n.Add(1), 10))
}

// plainWord tells whether a foreign id can stand in a log and in a header: 1 to 64 of A–Z, a–z, 0–9, "-._".
func plainWord(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return true
}
