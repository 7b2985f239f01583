package kernel

import (
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"math"
)

// A record on disk is a head of fixed size and a body. Numbers are little-endian.
//
//	head:  magic 4, length of the body 4, seq 8, kind 1, channel 1, flags 1, zero 1, pieces 2, zero 2,
//	       CRC32C of the body 4, CRC32C of the head so far 4
//	body:  the length of each piece 4, then the pieces: to, the four JSON parts, the buffers
//
// The head's own checksum lets a reader trust a length before following it, and find the next record behind
// damage. Both checksums begin with the journal's epoch: no other file's bytes pass for its records.
const (
	headSize    = 32
	recordMagic = 0x314a4e42

	flagEssential = 1 << 0 // is kept when the outputs around it are given up
	flagMessage   = 1 << 1 // the pieces hold a message
	flagGap       = 1 << 2 // the pieces hold a gap notice: its reason as to, and its count
)

// crcTable is that of CRC32C, which processors have an instruction for.
var crcTable = crc32.MakeTable(crc32.Castagnoli)

// recordHead is the head of a record on disk.
type recordHead struct {
	length  uint32 // of the body
	seq     uint64
	kind    EntryKind
	channel Channel
	flags   uint8
	pieces  uint16
	sum     uint32 // of the body
}

// size is that of the whole record.
func (h *recordHead) size() int64 { return headSize + int64(h.length) }

func (h *recordHead) put(b []byte, epoch uint64) {
	le := binary.LittleEndian
	le.PutUint32(b, recordMagic)
	le.PutUint32(b[4:], h.length)
	le.PutUint64(b[8:], h.seq)
	b[16], b[17], b[18], b[19] = byte(h.kind), byte(h.channel), h.flags, 0
	le.PutUint32(b[20:], uint32(h.pieces))
	le.PutUint32(b[24:], h.sum)
	le.PutUint32(b[28:], crc32.Update(uint32(epoch), crcTable, b[:28]))
}

// readHead reads the head at the beginning of b; false says that there is none.
func readHead(b []byte, epoch uint64) (h recordHead, ok bool) {
	le := binary.LittleEndian
	if len(b) < headSize || le.Uint32(b) != recordMagic || le.Uint32(b[28:]) != crc32.Update(uint32(epoch), crcTable, b[:28]) {
		return recordHead{}, false
	}
	return recordHead{
		length: le.Uint32(b[4:]), seq: le.Uint64(b[8:]), kind: EntryKind(b[16]), channel: Channel(b[17]), flags: b[18],
		pieces: le.Uint16(b[20:]), sum: le.Uint32(b[24:]),
	}, true
}

// encoder gathers records in the form in which they are written. It belongs to one goroutine.
type encoder struct {
	epoch  uint64
	buf    []byte
	sealed int      // buf[:sealed] is in vec already
	vec    [][]byte // pieces of the file, in order
	size   int64    // bytes gathered
	pieces [][]byte // of the record at hand
}

const (
	// copyMax is up to which size a piece is copied into the encoder's buffer: a further system call costs as
	// much as copying this.
	copyMax = 16 << 10
	// maxPieces and maxRecord are what a head can express. Kernels' messages are held to less when they arrive.
	maxPieces = math.MaxUint16
	maxRecord = math.MaxUint32
)

// add gathers r; false says that it is more than a record can express.
func (e *encoder) add(r *record) bool {
	h := recordHead{seq: r.seq, kind: r.kind}
	e.pieces = append(e.pieces[:0], []byte(r.to))
	switch {
	case r.gap != nil:
		h.flags = flagGap
		e.pieces = append(e.pieces[:0], []byte(r.gap.Reason), binary.LittleEndian.AppendUint64(nil, r.gap.Dropped))
	case r.msg != nil:
		h.flags, h.channel = flagMessage, r.msg.Channel
		for _, p := range r.msg.Parts {
			e.pieces = append(e.pieces, p)
		}
		e.pieces = append(e.pieces, r.msg.Buffers...)
	}
	if essential(r) {
		h.flags |= flagEssential
	}
	return e.frame(h)
}

// frame gathers h with the pieces.
func (e *encoder) frame(h recordHead) bool {
	body := int64(4 * len(e.pieces))
	for _, p := range e.pieces {
		body += int64(len(p))
	}
	if body > maxRecord || len(e.pieces) > maxPieces {
		return false
	}
	h.length, h.pieces = uint32(body), uint16(len(e.pieces))
	at := len(e.buf)
	e.buf = append(e.buf, make([]byte, headSize)...)
	for _, p := range e.pieces {
		e.buf = binary.LittleEndian.AppendUint32(e.buf, uint32(len(p)))
	}
	h.sum = crc32.Update(uint32(e.epoch), crcTable, e.buf[at+headSize:])
	for _, p := range e.pieces {
		h.sum = crc32.Update(h.sum, crcTable, p)
	}
	h.put(e.buf[at:], e.epoch)
	for _, p := range e.pieces {
		e.put(p)
	}
	e.size += h.size()
	return true
}

// put gathers p: a small piece by copying it, a large one as it is.
func (e *encoder) put(p []byte) {
	if len(p) <= copyMax {
		e.buf = append(e.buf, p...)
		return
	}
	e.seal()
	e.vec = append(e.vec, p)
}

// seal moves what the buffer holds behind the pieces.
func (e *encoder) seal() {
	if len(e.buf) > e.sealed {
		e.vec = append(e.vec, e.buf[e.sealed:])
		e.sealed = len(e.buf)
	}
}

// all is what was gathered, in order.
func (e *encoder) all() [][]byte {
	e.seal()
	return e.vec
}

// maxIdleBuffer is what an encoder keeps between two uses: room for a batch of small messages.
const maxIdleBuffer = flushBytes

// reset forgets what was gathered, so that nothing keeps the messages alive.
func (e *encoder) reset(epoch uint64) {
	clear(e.vec)
	clear(e.pieces[:cap(e.pieces)])
	if cap(e.buf) > maxIdleBuffer {
		e.buf = nil
	}
	e.epoch, e.buf, e.vec, e.sealed, e.size = epoch, e.buf[:0], e.vec[:0], 0, 0
}

// split takes a body apart; false says that its lengths do not add up.
func (h *recordHead) split(body []byte) (pieces [][]byte, ok bool) {
	n := int(h.pieces)
	if n < 1 || len(body) < 4*n {
		return nil, false
	}
	lengths, rest := body[:4*n], body[4*n:]
	pieces = make([][]byte, n)
	for i := range pieces {
		size := uint64(binary.LittleEndian.Uint32(lengths[4*i:]))
		if size > uint64(len(rest)) {
			return nil, false
		}
		pieces[i], rest = rest[:size:size], rest[size:]
	}
	return pieces, len(rest) == 0
}

// record reads a body whose checksum is right. The message aliases body. false says that it is nothing that an
// encoder has made.
func (h *recordHead) record(body []byte) (r record, ok bool) {
	pieces, ok := h.split(body)
	if !ok {
		return record{}, false
	}
	r = record{seq: h.seq, kind: h.kind, to: string(pieces[0])}
	pieces = pieces[1:]
	switch {
	case h.flags&flagGap != 0:
		if len(pieces) != 1 || len(pieces[0]) != 8 {
			return record{}, false
		}
		r.gap = &Gap{Dropped: binary.LittleEndian.Uint64(pieces[0]), Reason: r.to}
		r.to = ""
	case h.flags&flagMessage != 0:
		if len(pieces) < numParts || h.channel >= numChannels {
			return record{}, false
		}
		var parts [numParts]json.RawMessage
		for i := range parts {
			parts[i] = pieces[i]
		}
		buffers := pieces[numParts:]
		if len(buffers) == 0 {
			buffers = nil
		}
		m, err := NewMessage(h.channel, parts, buffers)
		if err != nil {
			return record{}, false
		}
		r.msg = m
	}
	wanted := r.kind == Said || r.kind == Asked
	return r, r.kind <= Detached && wanted == (r.msg != nil || r.gap != nil)
}
