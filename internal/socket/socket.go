// Package socket is a WebSocket of text messages between one client and one stream of the server: terminals, events and
// language servers. (Kernels' channels, which carry most of the bytes, have frames of their own in package ws.)
//
// Serve runs two goroutines besides its caller's, and returns when they are gone.
//
// RFC 6455.
package socket

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/nbserv/nbserv/internal/fault"
)

// Config bounds a WebSocket. The zero value of each field takes the default named there.
type Config struct {
	// WriteTimeout is how long one message may take to be written. Default 10 s.
	WriteTimeout time.Duration
	// PingInterval is how often the client is pinged; a client that is silent for three of them is cut off.
	// Default 30 s.
	PingInterval time.Duration
	// MaxMessageBytes bounds what the client sends at once. Default 1 MiB.
	MaxMessageBytes int64
}

func (c Config) withDefaults() Config {
	if c.WriteTimeout <= 0 {
		c.WriteTimeout = 10 * time.Second
	}
	if c.PingInterval <= 0 {
		c.PingInterval = 30 * time.Second
	}
	if c.MaxMessageBytes <= 0 {
		c.MaxMessageBytes = 1 << 20
	}
	return c
}

const (
	// readBuffer is most of what an idle WebSocket costs.
	readBuffer = 1 << 10
	// closeWait is how long the client may take to answer a close frame.
	closeWait = time.Second
	// missedPings in a row end a connection.
	missedPings = 3
)

var writeBuffers sync.Pool

// Stream is the server's side of a WebSocket.
type Stream struct {
	// In takes a message from the client; its error ends the WebSocket. nil takes none and drops them.
	In func(text []byte) error
	// Out sends until ctx ends or it has nothing more to say; its error, nil included, ends the WebSocket.
	// send fails when the client takes nothing.
	Out func(ctx context.Context, send func(text []byte) error) error
}

// Serve answers r with a WebSocket and relays between it and s until one of them ends, or ctx does. Before the
// handshake is done it returns a fault to be answered; afterwards it says goodbye in a close frame, whose code tells
// the fault's kind and whose reason is its message, and returns nil.
func Serve(ctx context.Context, w http.ResponseWriter, r *http.Request, cfg Config, s Stream) error {
	cfg = cfg.withDefaults()
	conn, err := upgrade(w, r, cfg)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var sending atomic.Bool
	over := make(chan struct{})
	context.AfterFunc(ctx, func() {
		_ = conn.SetReadDeadline(time.Now())
		select {
		case <-over:
		case <-time.After(closeWait):
			if sending.Load() { // still, and nothing more is begun: the client takes nothing
				_ = conn.NetConn().Close()
			}
		}
	})

	var tasks sync.WaitGroup
	tasks.Go(func() {
		err := s.Out(ctx, func(text []byte) error {
			sending.Store(true)
			defer sending.Store(false)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			_ = conn.SetWriteDeadline(time.Now().Add(cfg.WriteTimeout))
			return conn.WriteMessage(websocket.TextMessage, text)
		})
		if err == nil {
			err = errFinished
		}
		end(err)
	})
	tasks.Go(func() { end(ping(ctx, conn, cfg)) })
	end(receive(ctx, conn, cfg, s.In))
	tasks.Wait()
	close(over)
	goodbye(conn, context.Cause(ctx))
	return nil
}

// errFinished is the end of a stream that has said all.
var errFinished = errors.New("the stream has ended")

// Asked reports Invalid when r asks for no WebSocket: for those who prepare something before they Serve.
func Asked(r *http.Request) error {
	if !websocket.IsWebSocketUpgrade(r) {
		return fault.New(fault.Invalid, "this address takes WebSocket connections only")
	}
	return nil
}

func upgrade(w http.ResponseWriter, r *http.Request, cfg Config) (*websocket.Conn, error) {
	if err := Asked(r); err != nil {
		return nil, err
	}
	var refused error
	u := websocket.Upgrader{
		HandshakeTimeout: cfg.WriteTimeout,
		ReadBufferSize:   readBuffer,
		WriteBufferPool:  &writeBuffers,
		// Origin and Host are checked for every route in one place, before any handler.
		CheckOrigin: func(*http.Request) bool { return true },
		Error: func(_ http.ResponseWriter, _ *http.Request, _ int, reason error) {
			refused = fault.Wrap(fault.Invalid, reason, "the WebSocket handshake is malformed")
		},
	}
	conn, err := u.Upgrade(w, r, nil)
	switch {
	case refused != nil:
		return nil, refused
	case err != nil:
		return nil, fault.Wrap(fault.Canceled, err, "the connection was lost in the handshake")
	}
	conn.SetReadLimit(cfg.MaxMessageBytes)
	return conn, nil
}

// receive hands on what the client sends. Any frame, a pong too, shows that it is there.
func receive(ctx context.Context, conn *websocket.Conn, cfg Config, in func([]byte) error) error {
	alive := func() {
		_ = conn.SetReadDeadline(time.Now().Add(missedPings * cfg.PingInterval))
		if ctx.Err() != nil { // whose end had set a deadline that this has put off
			_ = conn.SetReadDeadline(time.Now())
		}
	}
	alive()
	conn.SetPongHandler(func(string) error { alive(); return nil })
	conn.SetPingHandler(func(data string) error {
		alive()
		_ = conn.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(cfg.WriteTimeout))
		return nil
	})
	conn.SetCloseHandler(func(int, string) error { return nil }) // goodbye answers
	for {
		_, text, err := conn.ReadMessage()
		if err != nil {
			return err
		}
		alive()
		if in == nil {
			continue
		}
		if err := in(text); err != nil {
			return err
		}
		alive() // in may have taken its time, while what the client sent was not read
	}
}

func ping(ctx context.Context, conn *websocket.Conn, cfg Config) error {
	tick := time.NewTicker(cfg.PingInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(cfg.WriteTimeout)); err != nil {
			return err
		}
	}
}
