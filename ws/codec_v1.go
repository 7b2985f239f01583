package ws

import (
	"encoding/binary"

	"github.com/nbserv/nbserv/kernel"
)

// subprotocolV1 is the name by which clients ask for v1.
const subprotocolV1 = "v1.kernel.websocket.jupyter.org"

// v1 is the subprotocol v1.kernel.websocket.jupyter.org. A message is one binary frame: a count of offsets,
// the offsets (all 8 bytes, little-endian), the channel's name, the four JSON parts, the buffers. Offset i is
// where piece i begins; one more tells where the last ends.
// https://jupyter-server.readthedocs.io/en/latest/developers/websocket-protocols.html
type v1 struct{}

const (
	v1Word = 8
	// v1MinOffsets are those of the channel and four parts, and the end.
	v1MinOffsets = 1 + 4 + 1
)

func (v1) fits(*kernel.Message) bool { return true }

func (v1) encode(w *frameWriter, m *kernel.Message) {
	channel := m.Channel.String()
	count := v1MinOffsets + len(m.Buffers)
	at := v1Word * (1 + count)
	w.header(opBinary, at+len(channel)+m.Size())

	table := w.space(at)
	next := func(n int) {
		binary.LittleEndian.PutUint64(table, uint64(n))
		table = table[v1Word:]
	}
	next(count)
	next(at)
	at += len(channel)
	next(at)
	for _, p := range m.Parts {
		at += len(p)
		next(at)
	}
	for _, b := range m.Buffers {
		at += len(b)
		next(at)
	}
	w.text(channel)
	for _, p := range m.Parts {
		w.put(p)
	}
	for _, b := range m.Buffers {
		w.put(b)
	}
}

func (v1) decode(opcode int, data []byte) (request, error) {
	if opcode != opBinary {
		return request{}, refused(closeUnsupported, refusedKind, "%s has binary messages only", subprotocolV1)
	}
	pieces, err := v1Pieces(data)
	if err != nil {
		return request{}, err
	}
	r := request{channel: string(pieces[0])}
	for i := range r.parts {
		p := pieces[1+i]
		if len(p) > 0 {
			if err := checkJSON(p, partNames[i]); err != nil {
				return request{}, err
			}
		}
		r.parts[i] = p
	}
	if len(pieces) > 1+len(r.parts) {
		r.buffers = pieces[1+len(r.parts):]
	}
	return r, r.checkParts()
}

// v1Pieces slices a frame by its offsets: channel, parts, buffers. Every number is checked against the frame
// before anything is allocated by it (S9).
func v1Pieces(data []byte) ([][]byte, error) {
	if len(data) < v1Word {
		return nil, refused(closeInvalidData, refusedMalformed, "a message of %d bytes has no offsets", len(data))
	}
	n := binary.LittleEndian.Uint64(data)
	if n < v1MinOffsets || n > v1MinOffsets+maxBuffers {
		return nil, refused(closeInvalidData, refusedMalformed, "a message has %d to %d offsets, not %d",
			v1MinOffsets, v1MinOffsets+maxBuffers, n)
	}
	size := uint64(len(data))
	head := v1Word * (1 + n)
	if head > size {
		return nil, refused(closeInvalidData, refusedMalformed, "%d offsets do not fit into %d bytes", n, size)
	}
	pieces := make([][]byte, n-1)
	from := binary.LittleEndian.Uint64(data[v1Word:])
	if from < head {
		return nil, refused(closeInvalidData, refusedMalformed, "offset 0 points into the offsets")
	}
	for i := range pieces {
		to := binary.LittleEndian.Uint64(data[v1Word*(i+2):])
		if to < from || to > size {
			return nil, refused(closeInvalidData, refusedMalformed, "offset %d is out of order or beyond the message", i+1)
		}
		pieces[i] = data[from:to:to]
		from = to
	}
	return pieces, nil
}
