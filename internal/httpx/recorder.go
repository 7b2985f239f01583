package httpx

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
)

// recorder remembers status and size of an answer for the access log. Everything that handlers look for in a
// ResponseWriter goes on working: Unwrap serves http.ResponseController; Hijacker (WebSockets), Flusher and
// ReaderFrom (sendfile) are looked for directly by gorilla/websocket, the standard library and io.Copy.
type recorder struct {
	http.ResponseWriter
	status   int // 0 until the header is written
	bytes    int64
	failed   bool // a write failed: the client has gone
	hijacked bool
}

// StatusOf is the status that a handler below AccessLog has written to w, 200 when it wrote none.
func StatusOf(w http.ResponseWriter) int {
	for {
		switch v := w.(type) {
		case *recorder:
			if v.status == 0 {
				return http.StatusOK
			}
			return v.status
		case interface{ Unwrap() http.ResponseWriter }:
			w = v.Unwrap()
		default:
			return http.StatusOK
		}
	}
}

func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.wrote(int64(n), err)
	return n, err
}

func (w *recorder) ReadFrom(r io.Reader) (int64, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := io.Copy(w.ResponseWriter, r) // finds the underlying ReaderFrom, when there is one
	w.wrote(n, err)
	return n, err
}

func (w *recorder) wrote(n int64, err error) {
	w.bytes += n
	if err != nil && !errors.Is(err, http.ErrBodyNotAllowed) && !errors.Is(err, http.ErrContentLength) { // HEAD, 304; a handler's slip
		w.failed = true
	}
}

func (w *recorder) Flush() {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	_ = http.NewResponseController(w.ResponseWriter).Flush() // there is no way to say that it cannot
}

func (w *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.hijacked = true
		w.status = http.StatusSwitchingProtocols
	}
	return c, rw, err
}
