package main

import (
	"fmt"
	"io"
	"log"
	"log/slog"
	"strings"

	"golang.org/x/time/rate"
)

func newLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level: %q is not one of debug, info, warn, error", level)
	}
	o := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, fmt.Errorf("--log-format: %q is not one of text, json", format)
}

// httpLog takes what net/http has to say (failed TLS handshakes, accept errors) as warnings, a few of them: a
// client must not be able to flood the log.
type httpLog struct {
	log   *slog.Logger
	limit *rate.Limiter
}

// httpLogEvery and httpLogBurst bound net/http's own lines. Guess.
const (
	httpLogEvery = 10.0 // seconds
	httpLogBurst = 5
)

func newHTTPLog(l *slog.Logger) *log.Logger {
	return log.New(&httpLog{log: l, limit: rate.NewLimiter(1/httpLogEvery, httpLogBurst)}, "", 0)
}

func (h *httpLog) Write(b []byte) (int, error) {
	if h.limit.Allow() {
		h.log.Warn("http server", "err", strings.TrimSpace(string(b)))
	}
	return len(b), nil
}
