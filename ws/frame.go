package ws

import (
	"encoding/binary"
	"math"
	"sync"

	"github.com/gorilla/websocket"
)

const (
	// writeBuffer holds the small pieces of a burst. Measured with messages of 0.7 to 30 KB: 32 KiB costs a
	// third more CPU, 128 and 256 KiB gain nothing.
	writeBuffer = 64 << 10
	// inlineMax is up to which size a piece is copied into the buffer; larger ones are written from where
	// they are. Measured: from 4 to 40 KiB the copy costs what another piece in a writev does.
	inlineMax = 16 << 10
	// flushAt is how many bytes a flush gathers at most before it is written, and so about how long the
	// messages behind it wait.
	flushAt = 1 << 20
	// flushRoom is the room in the buffer below which it is flushed between two messages.
	flushRoom = 4 << 10
)

// frameWriter gathers frames to be written at once: small pieces copied into one buffer, large ones by
// reference. It is used by one goroutine at a time and held only while there is something to write.
type frameWriter struct {
	buf    []byte   // of fixed capacity
	sealed int      // buf[:sealed] is in vec already
	vec    [][]byte // pieces in wire order
	size   int      // bytes gathered
}

var frameWriters = sync.Pool{New: func() any { return &frameWriter{buf: make([]byte, 0, writeBuffer)} }}

// header begins an unfragmented, unmasked frame with a payload of n bytes. RFC 6455 section 5.2.
func (w *frameWriter) header(opcode int, n int) {
	b0 := finBit | byte(opcode)
	switch {
	case n < len126:
		copy(w.space(2), []byte{b0, byte(n)})
	case n <= math.MaxUint16:
		p := w.space(4)
		p[0], p[1] = b0, len126
		binary.BigEndian.PutUint16(p[2:], uint16(n))
	default:
		p := w.space(10)
		p[0], p[1] = b0, len127
		binary.BigEndian.PutUint64(p[2:], uint64(n))
	}
}

const (
	finBit = 0x80
	len126 = 126 // the length follows in 2 bytes
	len127 = 127 // the length follows in 8 bytes
)

// put adds p, which must not change before the flush.
func (w *frameWriter) put(p []byte) {
	if len(p) > inlineMax || len(p) > cap(w.buf)-len(w.buf) {
		w.refer(p)
		return
	}
	w.buf = append(w.buf, p...)
	w.size += len(p)
}

// text adds s.
func (w *frameWriter) text(s string) { copy(w.space(len(s)), s) }

// space adds n bytes for the caller to fill.
func (w *frameWriter) space(n int) []byte {
	if n > cap(w.buf)-len(w.buf) {
		p := make([]byte, n)
		w.refer(p)
		return p
	}
	at := len(w.buf)
	w.buf = w.buf[:at+n]
	w.size += n
	return w.buf[at:]
}

func (w *frameWriter) refer(p []byte) {
	w.seal()
	w.vec = append(w.vec, p)
	w.size += len(p)
}

// seal moves what the buffer holds behind the pieces.
func (w *frameWriter) seal() {
	if len(w.buf) > w.sealed {
		w.vec = append(w.vec, w.buf[w.sealed:])
		w.sealed = len(w.buf)
	}
}

// full says that it is time to flush.
func (w *frameWriter) full() bool { return cap(w.buf)-len(w.buf) < flushRoom || w.size >= flushAt }

// pieces is all that was gathered, in wire order.
func (w *frameWriter) pieces() [][]byte {
	w.seal()
	return w.vec
}

// reset forgets what was gathered, so that nothing keeps the messages alive.
func (w *frameWriter) reset() {
	clear(w.vec)
	w.buf, w.vec, w.sealed, w.size = w.buf[:0], w.vec[:0], 0, 0
}

// controlFrame makes a whole control frame; data has at most 125 bytes.
func controlFrame(opcode int, data []byte) []byte {
	return append([]byte{finBit | byte(opcode), byte(len(data))}, data...)
}

// Frame kinds as codecs name them.
const (
	opText   = websocket.TextMessage
	opBinary = websocket.BinaryMessage
)
