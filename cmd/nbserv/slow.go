package main

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
)

// limits are what a client must get done, or it is cut (S10). There is no limit on a whole request or answer: a
// large upload over a thin line may take hours, as long as it gets on.
type limits struct {
	readHeader time.Duration // for a request line and its headers
	idle       time.Duration // a kept-alive connection without a request
	grace      time.Duration // a body may stand still this long in all: a suspended tab, a change of network
	minRate    int64         // bytes per second beyond that
}

// defaultLimits are guesses, but for minRate: a poor mobile line does four times as much.
func defaultLimits() limits {
	return limits{readHeader: 10 * time.Second, idle: 2 * time.Minute, grace: 30 * time.Second, minRate: 4 << 10}
}

// slowChunk is the most that is written under one deadline.
const slowChunk = 1 << 20

// allowance is how long n bytes may take.
func (l limits) allowance(n int64) time.Duration {
	return l.grace + time.Duration(n)*time.Second/time.Duration(l.minRate)
}

// cutSlow cuts connections whose request body does not arrive or whose answer is not taken.
func cutSlow(l limits, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		pw := &pacedWriter{ResponseWriter: w, control: c, limits: l}
		pb := &pacedBody{ReadCloser: r.Body, control: c, limits: l}
		if r.Body != nil && r.Body != http.NoBody {
			r2 := *r
			r2.Body = pb
			r = &r2
		}
		func() {
			defer pb.end()
			next.ServeHTTP(pw, r)
		}()
		if pw.hijacked {
			return
		}
		// What net/http still holds of the answer, and still reads of the body, is on the clock too. It
		// clears the read deadline itself; the write deadline each request sets anew.
		pw.due(0)
		if r.Body == pb && !pb.ended {
			_ = c.SetReadDeadline(time.Now().Add(l.grace))
			_ = c.SetWriteDeadline(time.Now().Add(2 * l.grace)) // it reads before it writes
		}
	})
}

// pacedBody is a request body that must get on. Only the time spent waiting for bytes counts.
type pacedBody struct {
	io.ReadCloser
	control *http.ResponseController
	limits  limits
	n       int64         // bytes so far
	waited  time.Duration // for them
	ended   bool

	mu      sync.Mutex
	aborted bool // guarded by mu
	over    bool // the handler has returned; guarded by mu
}

// Abort makes a read that waits fail at once, and all later ones; httpx.BodyAborter finds it.
func (b *pacedBody) Abort() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over { // the connection may serve another request by now
		return
	}
	b.aborted = true
	_ = b.control.SetReadDeadline(time.Unix(1, 0))
}

// end says that the handler has returned.
func (b *pacedBody) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
}

func (b *pacedBody) wasAborted() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.aborted
}

// due gives the next read its time, unless the body was aborted.
func (b *pacedBody) due(t time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.aborted {
		_ = b.control.SetReadDeadline(t)
	}
	return !b.aborted
}

func (b *pacedBody) Read(p []byte) (int, error) {
	start := time.Now()
	if !b.due(start.Add(b.limits.allowance(b.n) - b.waited)) {
		return 0, errAborted
	}
	n, err := b.ReadCloser.Read(p)
	b.n += int64(n)
	b.waited += time.Since(start)
	b.ended = err != nil
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && b.wasAborted():
		return n, errAborted
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, fault.Wrap(fault.Invalid, err, "the body came too slowly")
	case err != nil:
		// net/http now watches the connection for its end: a deadline would look like one.
		b.due(time.Time{})
	}
	return n, err
}

// errAborted is what reads of an aborted body give.
var errAborted = errors.New("the body is not read further")

// pacedWriter is an answer that must be taken. It is also what handlers look for in net/http's own writer.
type pacedWriter struct {
	http.ResponseWriter
	control  *http.ResponseController
	limits   limits
	hijacked bool
}

func (w *pacedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// due gives the next n bytes their time.
func (w *pacedWriter) due(n int) {
	if !w.hijacked {
		_ = w.control.SetWriteDeadline(time.Now().Add(w.limits.allowance(int64(n))))
	}
}

func (w *pacedWriter) WriteHeader(status int) {
	w.due(0)
	w.ResponseWriter.WriteHeader(status)
}

func (w *pacedWriter) Write(p []byte) (n int, err error) {
	for {
		part := p[n:min(len(p), n+slowChunk)]
		w.due(len(part))
		m, err := w.ResponseWriter.Write(part)
		n += m
		if err != nil || n >= len(p) {
			return n, err
		}
	}
}

// ReadFrom keeps the way open for sendfile, which net/http takes for a file or a part of one.
func (w *pacedWriter) ReadFrom(r io.Reader) (n int64, err error) {
	left := int64(-1)
	if l, ok := r.(*io.LimitedReader); ok {
		r, left = l.R, l.N
		defer func() { l.N -= n }()
	}
	for left != 0 {
		chunk := int64(slowChunk)
		if left > 0 {
			chunk = min(chunk, left)
		}
		w.due(int(chunk))
		m, err := io.Copy(w.ResponseWriter, io.LimitReader(r, chunk))
		n += m
		if left > 0 {
			left -= m
		}
		if err != nil || m < chunk {
			return n, err
		}
	}
	return n, nil
}

func (w *pacedWriter) Flush() {
	w.due(0)
	_ = w.control.Flush()
}

// Hijack gives the connection away, deadlines and all: net/http clears them.
func (w *pacedWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := w.control.Hijack()
	w.hijacked = err == nil
	return conn, rw, err
}
