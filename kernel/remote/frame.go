package remote

import (
	"encoding/binary"
	"encoding/json"
	"sync"
	"time"
	"unsafe"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

// A frame is a length of 4 bytes, big-endian, which counts what follows; a kind; and a payload.
type frameKind byte

// From the kernel host to the server.
const (
	frameStatuses frameKind = 'w' // on a watch: a JSON list of kernel.Status that have changed
	frameAll      frameKind = 'a' // on a watch, first: the same of all kernels there are
	frameAttached frameKind = 'h' // on a client's stream, first: attached as JSON
	frameEntry    frameKind = 'e' // an entry of the journal
	frameGap      frameKind = 'g' // a gap notice: kernel.Entry as JSON
	framePosition frameKind = 'p' // the place in the journal behind the entries before: its number in 8 bytes
	frameState    frameKind = 's' // the kernel's state changed; it comes before the entries that tell of it
	frameRefused  frameKind = 'r' // a message was not taken: wireFault as JSON
	frameEnd      frameKind = 'x' // nothing follows: wireFault as JSON
)

// From the server to the kernel host.
const (
	frameMessage frameKind = 'm' // a message for the kernel, laid out as an entry
	// frameUnsettled is a request that the kernel host before this one got, and that has had no end.
	frameUnsettled frameKind = 'u'
	frameConfirm   frameKind = 'c' // everything up to this place was delivered: its number in 8 bytes
	frameTaken     frameKind = 't' // everything up to this place has come, and room for as much: its number in 8 bytes
)

const (
	frameHead = 4 + 1
	// maxFrame bounds a frame: a message may have 2 GiB, as on the kernel's own sockets, and a head.
	maxFrame = 2<<30 + 1<<20
)

// An entry is its number (8 bytes), its kind, its channel (noMessage when it has no message), the lengths of To and of
// the four parts, the number of buffers and their lengths (4 bytes each), and then To, the parts and the buffers.
const (
	entryHead = 8 + 1 + 1 + 4 + 4*4 + 4
	noMessage = 0xff
	// maxBuffers is far more than the kernel's own codec takes.
	maxBuffers = 1 << 16
)

const (
	// outBuffer holds the small pieces of a burst, as in ws.
	outBuffer = 64 << 10
	// inlineMax is up to which size a piece is copied; larger ones are written from where they are.
	inlineMax = 16 << 10
)

// outbox gathers frames to be written at once. It is used by one goroutine at a time and held only while there is
// something to write.
type outbox struct {
	buf    []byte // of fixed capacity
	sealed int    // buf[:sealed] is in vec already
	vec    [][]byte
	size   int
}

var outboxes = sync.Pool{New: func() any { return &outbox{buf: make([]byte, 0, outBuffer)} }}

func newOutbox() *outbox { return outboxes.Get().(*outbox) }

// free gives o back; nothing of it may be used any more.
func (o *outbox) free() {
	o.reset()
	outboxes.Put(o)
}

// reset forgets what was gathered, so that nothing keeps the messages alive.
func (o *outbox) reset() {
	clear(o.vec)
	o.buf, o.vec, o.sealed, o.size = o.buf[:0], o.vec[:0], 0, 0
}

// space adds n bytes for the caller to fill.
func (o *outbox) space(n int) []byte {
	if n > cap(o.buf)-len(o.buf) {
		p := make([]byte, n)
		o.refer(p)
		return p
	}
	at := len(o.buf)
	o.buf = o.buf[:at+n]
	o.size += n
	return o.buf[at:]
}

// put adds p, which must not change before it is written.
func (o *outbox) put(p []byte) {
	if len(p) > inlineMax {
		o.refer(p)
		return
	}
	copy(o.space(len(p)), p)
}

func (o *outbox) refer(p []byte) {
	o.seal()
	o.vec = append(o.vec, p)
	o.size += len(p)
}

func (o *outbox) seal() {
	if len(o.buf) > o.sealed {
		o.vec = append(o.vec, o.buf[o.sealed:])
		o.sealed = len(o.buf)
	}
}

// pieces is all that was gathered, in order.
func (o *outbox) pieces() [][]byte {
	o.seal()
	return o.vec
}

// full says that it is better to write now.
func (o *outbox) full() bool { return cap(o.buf)-len(o.buf) < 4<<10 || o.size >= batchBytes }

func (o *outbox) head(kind frameKind, n int) {
	p := o.space(frameHead)
	binary.BigEndian.PutUint32(p, uint32(1+n))
	p[4] = byte(kind)
}

func (o *outbox) json(kind frameKind, v any) {
	b := mustJSON(v)
	o.head(kind, len(b))
	o.put(b)
}

func (o *outbox) number(kind frameKind, n uint64) {
	o.head(kind, 8)
	binary.BigEndian.PutUint64(o.space(8), n)
}

// entry adds e, which is no gap, as a frame of this kind.
func (o *outbox) entry(kind frameKind, e kernel.Entry) {
	m := e.Message
	head, size, buffers := entryHead, len(e.To), 0
	if m != nil {
		buffers = len(m.Buffers)
		head += 4 * buffers
		size += m.Size()
	}
	o.head(kind, head+size)
	p := o.space(head)
	binary.BigEndian.PutUint64(p, e.Seq)
	p[8], p[9] = byte(e.Kind), noMessage
	binary.BigEndian.PutUint32(p[10:], uint32(len(e.To)))
	binary.BigEndian.PutUint32(p[30:], uint32(buffers))
	if m == nil {
		clear(p[14:30])
		o.text(e.To)
		return
	}
	p[9] = byte(m.Channel)
	for i, part := range m.Parts {
		binary.BigEndian.PutUint32(p[14+4*i:], uint32(len(part)))
	}
	for i, b := range m.Buffers {
		binary.BigEndian.PutUint32(p[entryHead+4*i:], uint32(len(b)))
	}
	o.text(e.To)
	for _, part := range m.Parts {
		o.put(part)
	}
	for _, b := range m.Buffers {
		o.put(b)
	}
}

func (o *outbox) text(s string) { copy(o.space(len(s)), s) }

var errFrame = fault.New(fault.Internal, "malformed frame")

// cutFrame takes the first frame off b; ok is false when it is not all there, or none: then err says so.
func cutFrame(b []byte) (kind frameKind, payload, rest []byte, ok bool, err error) {
	if len(b) < frameHead {
		return 0, nil, b, false, nil
	}
	n := uint64(binary.BigEndian.Uint32(b))
	if n < 1 || n > maxFrame {
		return 0, nil, b, false, errFrame
	}
	end := 4 + n
	if uint64(len(b)) < end {
		return 0, nil, b, false, nil
	}
	return frameKind(b[4]), b[frameHead:end:end], b[end:], true, nil
}

// decodeEntry reads an entry. It shares p's memory, which nobody may change afterwards.
func decodeEntry(p []byte) (e kernel.Entry, err error) {
	if len(p) < entryHead {
		return e, errFrame
	}
	buffers := int(binary.BigEndian.Uint32(p[30:]))
	if buffers > maxBuffers || len(p) < entryHead+4*buffers {
		return e, errFrame
	}
	head, body := p, p[entryHead+4*buffers:]
	cut := func(at int) (piece []byte) {
		n := uint64(binary.BigEndian.Uint32(head[at:]))
		if n > uint64(len(body)) {
			err = errFrame
			return nil
		}
		piece, body = body[:n:n], body[n:]
		return piece
	}
	e.Seq, e.Kind = binary.BigEndian.Uint64(p), kernel.EntryKind(p[8])
	if to := cut(10); len(to) > 0 {
		e.To = unsafe.String(&to[0], len(to))
	}
	if p[9] == noMessage {
		return e, err
	}
	var parts [4]json.RawMessage
	for i := range parts {
		parts[i] = cut(14 + 4*i)
	}
	var list [][]byte
	if buffers > 0 {
		list = make([][]byte, buffers)
	}
	for i := range list {
		list[i] = cut(entryHead + 4*i)
	}
	if err != nil {
		return e, err
	}
	e.Message, err = kernel.NewMessage(kernel.Channel(p[9]), parts, list)
	return e, err
}

func decodeNumber(p []byte) (uint64, error) {
	if len(p) != 8 {
		return 0, errFrame
	}
	return binary.BigEndian.Uint64(p), nil
}

// state is the part of a Status that may change with every message.
type state struct {
	order, serial uint64
	active        time.Time
	connections   int
	execution     string
	reason        string
}

func stateOf(s kernel.Status) state {
	return state{s.Order, s.Serial, s.LastActivity, s.Connections, s.ExecutionState, s.Reason}
}

// same tells whether s shows people what t does.
func (s state) same(t state) bool {
	return s.execution == t.execution && s.connections == t.connections && s.reason == t.reason
}

const stateHead = 8 + 8 + 8 + 4 + 1

func (o *outbox) state(s state) {
	o.head(frameState, stateHead+len(s.execution)+len(s.reason))
	p := o.space(stateHead)
	binary.BigEndian.PutUint64(p, s.order)
	binary.BigEndian.PutUint64(p[8:], s.serial)
	binary.BigEndian.PutUint64(p[16:], uint64(s.active.UnixNano()))
	binary.BigEndian.PutUint32(p[24:], uint32(s.connections))
	p[28] = byte(len(s.execution)) // a word
	o.text(s.execution)
	o.text(s.reason)
}

func decodeState(p []byte) (state, error) {
	if len(p) < stateHead || len(p) < stateHead+int(p[28]) {
		return state{}, errFrame
	}
	words := p[stateHead:]
	return state{
		order: binary.BigEndian.Uint64(p), serial: binary.BigEndian.Uint64(p[8:]),
		active:      time.Unix(0, int64(binary.BigEndian.Uint64(p[16:]))),
		connections: int(binary.BigEndian.Uint32(p[24:])),
		execution:   string(words[:p[28]]), reason: string(words[p[28]:]),
	}, nil
}
