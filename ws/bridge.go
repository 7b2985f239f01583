package ws

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

// Bridge joins one WebSocket to one client of a kernel.
type Bridge struct {
	// immutable
	conn    *conn
	ws      *websocket.Conn
	client  kernel.Client
	codec   codec
	batch   int
	closed  func(left bool) // nil: nobody wants to know
	log     *slog.Logger
	metrics *metrics

	positions bool // immutable; each message says where it stands

	// owned by readLoop
	warned map[refusal]bool // what was logged; once per connection, a client cannot fill the log

	// owned by writeLoop
	session string          // of the kernel's messages, as last seen
	at      kernel.Position // everything up to here was written, or is being written

	came chan struct{} // holds a token once the client may have said that more came
}

// ponged takes a client's answer to a ping.
func (b *Bridge) ponged(data string) error {
	if place, ok := b.conn.came(data); ok {
		b.client.Confirm(place)
		select {
		case b.came <- struct{}{}:
		default:
		}
	}
	return nil
}

// Run relays until the client leaves, the kernel or ctx ends, or one of them misbehaves, then closes the
// WebSocket with a code that says why, detaches the client and returns the cause, never nil. A *closeError
// as the cause of ctx's end decides the code.
func (b *Bridge) Run(ctx context.Context) error {
	ctx, end := context.WithCancelCause(ctx)
	written, read, over := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(written)
		end(b.writeLoop(ctx))
	}()
	context.AfterFunc(ctx, func() {
		defer close(over)
		b.conn.hasten()
		<-written
		if stopping(context.Cause(ctx)) {
			b.awaitAnswer(read)
		}
		b.conn.hurry()
	})
	end(b.readLoop())
	close(read)
	<-over
	cause := context.Cause(ctx)
	if b.closed != nil {
		b.closed(errors.As(cause, new(*websocket.CloseError)))
	}
	b.client.Detach()

	if code, reason, ok := closeFrame(cause); ok {
		b.conn.goodbye(code, reason)
	}
	_ = b.conn.Close()
	return cause
}

// stopping tells whether a Bridge ends because the server does: its client comes back, and goes on where it was.
func stopping(cause error) bool {
	var ours *closeError
	return errors.As(cause, &ours) && ours.refuse == "" && ours.code != closeNoPong
}

// answerGrace is how long a server that stops waits for a client to say what it got.
const answerGrace = 2 * time.Second

// awaitAnswer waits until the client has said that it got what was written, for the grace at most, or until nothing
// more is read from it: the rest is written again to its next connection.
func (b *Bridge) awaitAnswer(read <-chan struct{}) {
	late := time.NewTimer(answerGrace)
	defer late.Stop()
	for b.conn.owesAnswer() {
		select {
		case <-b.came:
		case <-read:
			return
		case <-late.C:
			return
		}
	}
}

// writeLoop carries what the kernel says to the client, one batch after the other. A lone message is a batch
// of one: nothing ever waits to be joined by more.
func (b *Bridge) writeLoop(ctx context.Context) error {
	b.at = b.client.Position()
	batch := make([]kernel.Entry, min(smallBatch, b.batch))
	room := len(batch)
	for {
		n, err := b.client.Next(ctx, batch[:room])
		if err != nil {
			return err
		}
		size, err := b.write(batch[:n])
		if err != nil {
			return err
		}
		if b.conn.deaf() {
			b.client.Confirm(b.at.Seq)
		}
		clear(batch[:n]) // or an idle connection would keep its last messages alive
		if n == len(batch) && n < b.batch {
			batch = make([]kernel.Entry, min(2*n, b.batch))
		}
		room = nextRoom(room, n, size, len(batch))
	}
}

// smallBatch is how many messages an idle WebSocket has room for, at 48 bytes each.
const smallBatch = 16

// nextRoom is how many messages to take after n of them made size bytes: about one flush's worth. A client
// that is stuck keeps its batch in memory, whatever the journal gives up meanwhile (P9).
func nextRoom(room, n, size, limit int) int {
	if size <= flushAt {
		return min(2*room, limit)
	}
	return max(1, n*flushAt/size)
}

// write sends a batch and gives its size in bytes.
func (b *Bridge) write(batch []kernel.Entry) (size int, err error) {
	w := frameWriters.Get().(*frameWriter)
	defer func() {
		w.reset()
		frameWriters.Put(w)
	}()
	for i := range batch {
		m, err := b.message(batch[i:])
		if err != nil {
			return size, err
		}
		if batch[i].Gap == nil { // what follows a notice may stand before the place that it names
			b.at.Seq = batch[i].Seq
		}
		if b.positions {
			m = positioned(m, b.at)
		}
		b.codec.encode(w, m)
		if i+1 < len(batch) && !w.full() {
			continue
		}
		size += w.size
		if err := b.conn.flush(w); err != nil {
			return size, err
		}
		b.conn.wrote(b.at.Seq)
		b.metrics.wrote.Inc()
		w.reset()
	}
	b.metrics.messagesOut.Add(float64(len(batch)))
	b.metrics.bytesOut.Add(float64(size))
	return size, nil
}

// message is the message to send for the first entry of rest.
func (b *Bridge) message(rest []kernel.Entry) (*kernel.Message, error) {
	m, gap := rest[0].Message, rest[0].Gap
	if m != nil {
		b.see(m)
		if b.codec.fits(m) {
			return m, nil
		}
		gap = &kernel.Gap{Dropped: 1, Reason: "it is larger than the default WebSocket protocol can carry"}
	}
	for _, e := range rest[1:] {
		if e.Message != nil {
			b.see(e.Message)
			break
		}
	}
	b.metrics.gaps.Inc()
	return gapNotice(rest[0].Seq, gap, b.session)
}

// see remembers the kernel's session. The copy keeps the message's own bytes from being held by it.
func (b *Bridge) see(m *kernel.Message) {
	if s := m.Header.Session; s != b.session {
		b.session = strings.Clone(s)
	}
}

// readLoop carries what the client says to the kernel.
func (b *Bridge) readLoop() error {
	for {
		opcode, r, err := b.ws.NextReader()
		if err != nil {
			return b.readError(err)
		}
		data, err := readMessage(r)
		if err != nil {
			return b.readError(err)
		}
		b.metrics.messagesIn.Inc()
		b.metrics.bytesIn.Add(float64(len(data)))
		req, err := b.codec.decode(opcode, data)
		if err != nil {
			return err
		}
		if err := b.relay(req); err != nil {
			return err
		}
	}
}

// relay hands a request to the kernel, or drops it and says so once in the log, as the reference server does:
// the connection stays.
func (b *Bridge) relay(req request) error {
	if req.assumed {
		b.warn("no_channel", "a client's message names no channel, taken for shell")
	}
	channel, ok := kernel.ParseChannel(req.channel)
	if !ok {
		b.drop(refusedUnknownChannel, "dropped a client's message for an unknown channel")
		return nil
	}
	if channel == kernel.IOPub {
		b.drop(refusedForged, "dropped a message that a client sent as if it were the kernel's output")
		return nil
	}
	m, err := kernel.NewMessage(channel, req.parts, req.buffers)
	if err != nil {
		return refused(closeInvalidData, refusedMalformed, "%s", fault.Message(err))
	}
	err = b.client.Send(m)
	switch {
	case err == nil:
		return nil
	case fault.KindOf(err) == fault.Invalid:
		b.drop(refusedNotAllowed, "dropped a message that the kernel does not take from clients")
		return nil
	case fault.KindOf(err) == fault.Busy:
		return refused(closeTryAgainLater, refusedBusy, "%s", fault.Message(err))
	}
	return err
}

func (b *Bridge) drop(why refusal, text string) {
	b.metrics.refused[why].Inc()
	b.warn(why, text)
}

func (b *Bridge) warn(what refusal, text string) {
	if b.warned[what] {
		return
	}
	if b.warned == nil {
		b.warned = make(map[refusal]bool)
	}
	b.warned[what] = true
	b.log.Warn(text)
}

// readError tells apart how reading can end: by us, by the client, by the network, or by a frame against
// the protocol, for which gorilla has errors without a type.
func (b *Bridge) readError(err error) error {
	var left *websocket.CloseError
	var ours *closeError
	var lost *connError
	var network net.Error
	switch {
	case errors.Is(err, errEnding), errors.As(err, &ours), errors.As(err, &lost):
		return err
	case errors.As(err, &left) && left.Code == websocket.CloseAbnormalClosure:
		return &connError{err: io.ErrUnexpectedEOF}
	case errors.As(err, &left):
		return err
	case errors.Is(err, websocket.ErrReadLimit):
		return refused(closeTooBig, refusedTooLarge, "the message is over the server's limit")
	case errors.As(err, &network):
		return &connError{err: err}
	}
	return refused(closeProtocol, refusedProtocol, "%s", err)
}

// chunkSize is the size of the pieces in which a message is gathered; nearly every message fits into one.
const chunkSize = 64 << 10

var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// readMessage reads a whole message into memory of exactly its size, which the message's parts go on to use.
// What it allocates goes by what has really come: a frame's header may claim any length.
func readMessage(r io.Reader) ([]byte, error) {
	var full [][]byte
	defer func() {
		for _, c := range full {
			chunks.Put((*[chunkSize]byte)(c[:chunkSize]))
		}
	}()
	for {
		c := chunks.Get().(*[chunkSize]byte)
		n, err := io.ReadFull(r, c[:])
		full = append(full, c[:n])
		switch {
		case err == nil:
			continue
		case err != io.EOF && err != io.ErrUnexpectedEOF:
			return nil, err
		}
		return bytes.Join(full, nil), nil
	}
}
