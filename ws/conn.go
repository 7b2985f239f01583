package ws

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

const (
	// closeGrace bounds what an ending connection may still take: its last flush, its close frame, and the
	// wait for the client to hang up. Guess; a second covers any round trip.
	closeGrace = time.Second
	// tlsChunk is what is handed to a connection that is not plain TCP at a time. After a timeout such a
	// connection is unusable, so its progress is only seen between writes.
	tlsChunk = 64 << 10
)

// connError is a failure of the network connection: nobody is left to read a close frame.
type connError struct {
	err     error
	stalled bool // the client took no bytes for WriteTimeout
}

func (e *connError) Error() string { return "connection lost: " + e.err.Error() }
func (e *connError) Unwrap() error { return e.err }

var (
	errEnding  = errors.New("the connection is ending")
	errStalled = errors.New("the client took no bytes within the write timeout")
)

// conn is the network connection under a WebSocket. gorilla/websocket reads through it, and writes the answer
// to the handshake; all frames are written by the Bridge, whole and one flush at a time, so that control
// frames never land inside of a message.
type conn struct {
	net.Conn      // immutable
	plain    bool // immutable; plain TCP, which takes many pieces in one system call
	stall    time.Duration
	interval time.Duration // between pings; 0 for none
	silence  time.Duration // how long the client may send nothing
	confirm  func(uint64)  // takes up to which place a deaf client counts as having got what was written

	upgraded atomic.Bool // the handshake is over: what gorilla writes now is dropped
	hasty    atomic.Bool // it ends: what is written has the grace
	ending   atomic.Bool // it ends: nothing is read any more

	// owned by the reader
	heard time.Time // when the last byte came

	// guarded by mu
	mu     sync.Mutex
	broken error       // why nothing can be written any more
	vec    net.Buffers // what a flush has still to write

	// guarded by owedMu
	owedMu   sync.Mutex
	owedPing bool
	owedPong []byte // the answer to the client's latest ping; RFC 6455 section 5.5.3 asks for no more
	owedAsk  bool
	nextPing time.Time
	written  uint64    // the place up to which messages were written
	asked    uint64    // up to which place the client was asked whether they came
	askedAt  time.Time // when
	answered uint64    // up to which place it said so
	first    time.Time // when it was first asked
}

func newConn(nc net.Conn, cfg Config) *conn {
	_, plain := nc.(*net.TCPConn)
	return &conn{Conn: nc, plain: plain, stall: cfg.WriteTimeout, interval: cfg.PingInterval, silence: cfg.PongTimeout, confirm: func(uint64) {}}
}

// start begins the life after the handshake.
func (c *conn) start() {
	c.upgraded.Store(true)
	c.heard = time.Now()
	if c.interval > 0 {
		c.owedMu.Lock()
		defer c.owedMu.Unlock()
		c.nextPing = c.heard.Add(c.interval)
		c.wake()
	}
}

// wake has the reader look after what is due. owedMu is held.
func (c *conn) wake() {
	due := c.nextPing
	if again := c.askedAt.Add(askEvery); c.written > c.asked && !c.owedAsk && again.Before(due) {
		due = again
	}
	_ = c.Conn.SetReadDeadline(due)
	if c.ending.Load() { // hurry may have set its deadline before ours
		_ = c.Conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// Read waits for bytes and sends the pings meanwhile: the deadline of a read is the next ping's time.
func (c *conn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if n > 0 {
			c.heard = time.Now()
			return n, nil
		}
		switch {
		case err == nil:
			continue
		case c.ending.Load():
			return 0, errEnding
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return 0, &connError{err: err}
		}
		if err := c.tick(time.Now()); err != nil {
			return 0, err
		}
	}
}

// tick sends what is due. When it is a ping, the last one should have been answered by now.
func (c *conn) tick(now time.Time) error {
	c.owedMu.Lock()
	c.owedAsk = c.owedAsk || c.written > c.asked && now.Sub(c.askedAt) >= askEvery
	if !now.Before(c.nextPing) {
		if now.Sub(c.heard) >= c.silence {
			c.owedMu.Unlock()
			return &closeError{code: closeNoPong, reason: "the client has not answered pings"}
		}
		c.nextPing, c.owedPing = now.Add(c.interval), true
	}
	c.wake()
	written := c.written
	c.owedMu.Unlock()
	if c.deaf() {
		c.confirm(written)
	}
	c.settle()
	return nil
}

// pong answers a client's ping.
func (c *conn) pong(data string) error {
	c.owe(func() { c.owedPong = append(c.owedPong[:0], controlFrame(websocket.PongMessage, []byte(data))...) })
	return nil
}

// owe notes a control frame and sends it now, or leaves it to the flush that is under way: a reader never
// waits for a slow writer.
func (c *conn) owe(note func()) {
	c.owedMu.Lock()
	note()
	c.owedMu.Unlock()
	c.settle()
}

// settle sends the control frames that are owed, unless somebody holds the lock: that one settles after.
func (c *conn) settle() {
	for {
		c.owedMu.Lock()
		due := c.owedPing || c.owedAsk || len(c.owedPong) > 0
		c.owedMu.Unlock()
		if !due || !c.mu.TryLock() {
			return
		}
		_ = c.send(c.takeOwed()) // a failure stays in broken, and the next flush reports it
		c.mu.Unlock()
	}
}

func (c *conn) takeOwed() []byte {
	c.owedMu.Lock()
	defer c.owedMu.Unlock()
	out := append([]byte(nil), c.owedPong...)
	if c.owedPing {
		out = append(out, controlFrame(websocket.PingMessage, nil)...)
	}
	if c.owedAsk {
		c.asked, c.askedAt = c.written, time.Now()
		if c.first.IsZero() {
			c.first = c.askedAt
		}
		out = append(out, controlFrame(websocket.PingMessage, binary.BigEndian.AppendUint64(nil, c.asked))...)
	}
	c.owedPing, c.owedAsk, c.owedPong = false, false, c.owedPong[:0]
	return out
}

// flush writes the frames in w, as few writes as possible, and settles what is owed.
func (c *conn) flush(w *frameWriter) error {
	c.mu.Lock()
	err := c.send(w.pieces()...)
	c.mu.Unlock()
	c.settle()
	return err
}

// send writes the pieces in order. It fails when the client takes no byte for the write timeout, or, once the
// connection is ending, does not take all within the grace. Called with mu held.
func (c *conn) send(pieces ...[]byte) error {
	if c.broken != nil {
		return c.broken
	}
	c.vec = pieces
	for len(c.vec) > 0 {
		// hasten sets hasty, then its deadline: whichever comes last of the two and this one, the deadline
		// of an ending connection is the short one.
		_ = c.Conn.SetWriteDeadline(time.Now().Add(c.stall))
		if c.hasty.Load() {
			_ = c.Conn.SetWriteDeadline(time.Now().Add(closeGrace))
		}
		n, err := c.writeSome()
		if err == nil {
			continue
		}
		timeout := errors.Is(err, os.ErrDeadlineExceeded)
		if timeout && n > 0 && c.plain && !c.hasty.Load() {
			continue
		}
		if timeout && !c.hasty.Load() {
			c.broken = &connError{err: errStalled, stalled: true}
		} else {
			c.broken = &connError{err: err}
		}
		break
	}
	c.vec = nil // it shares the frameWriter's memory
	return c.broken
}

// writeSome writes from the front of vec: all of it in one call on plain TCP, else a chunk.
func (c *conn) writeSome() (int64, error) {
	if c.plain && len(c.vec) > 1 {
		return c.vec.WriteTo(c.Conn)
	}
	p := c.vec[0]
	if !c.plain {
		p = p[:min(len(p), tlsChunk)]
	}
	n, err := c.Conn.Write(p)
	if c.vec[0] = c.vec[0][n:]; len(c.vec[0]) == 0 {
		c.vec = c.vec[1:]
	}
	return int64(n), err
}

// Write carries gorilla's answer to the handshake. The frames it would write later, when it meets a protocol
// error, are dropped: the Bridge ends every WebSocket itself.
func (c *conn) Write(p []byte) (int, error) {
	if c.upgraded.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// SetWriteDeadline does nothing after the handshake: each flush sets its own.
func (c *conn) SetWriteDeadline(t time.Time) error {
	if c.upgraded.Load() {
		return nil
	}
	return c.Conn.SetWriteDeadline(t)
}

// hasten gives a flush that is under way, and what follows it, the grace to finish.
func (c *conn) hasten() {
	c.hasty.Store(true)
	_ = c.Conn.SetWriteDeadline(time.Now().Add(closeGrace))
}

// hurry makes the reader return.
func (c *conn) hurry() {
	c.ending.Store(true)
	_ = c.Conn.SetReadDeadline(time.Unix(1, 0))
}

// goodbye sends a close frame and waits for the client to hang up: closing with unread bytes pending would
// reset the connection, and the reset can overtake the close frame. To be called when both loops have ended.
func (c *conn) goodbye(code int, reason string) {
	c.mu.Lock()
	err := c.send(controlFrame(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason)))
	c.mu.Unlock()
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if err == nil && ok && half.CloseWrite() == nil {
		_ = c.Conn.SetReadDeadline(time.Now().Add(closeGrace))
		_, _ = io.Copy(io.Discard, c.Conn)
	}
}
