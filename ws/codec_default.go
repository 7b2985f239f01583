package ws

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"unicode/utf8"

	"github.com/nbserv/nbserv/kernel"
)

// legacy is the default protocol: a message is one JSON text, or, when it has buffers, one binary frame: a
// count, that many offsets (all 4 bytes, big-endian), the JSON text, the buffers.
// https://jupyter-server.readthedocs.io/en/latest/developers/websocket-protocols.html
type legacy struct {
	maxFrame uint64 // what an offset can express
}

func newLegacy() legacy { return legacy{maxFrame: math.MaxUint32} }

const (
	legacyWord = 4
	// legacyOverhead bounds what the JSON text has beside the four parts and msg_id and msg_type.
	legacyOverhead = 256
)

// fits is false for what 32-bit offsets cannot reach. Every byte of an id may have become an escape of six.
func (l legacy) fits(m *kernel.Message) bool {
	ids := 6 * (len(m.Header.MsgID) + len(m.Header.MsgType))
	return uint64(m.Size()+ids+legacyWord*(2+len(m.Buffers))+legacyOverhead) <= l.maxFrame
}

// The text around the parts, in the field order of the reference server.
const (
	textHeader   = `{"header":`
	textID       = `,"msg_id":"`
	textType     = `","msg_type":"`
	textParent   = `","parent_header":`
	textMetadata = `,"metadata":`
	textContent  = `,"content":`
	textBuffers  = `,"buffers":[]` // only where there are none: a binary frame's text does not name them
	textChannel  = `,"channel":"`
	textEnd      = `"}`
	textAll      = len(textHeader + textID + textType + textParent + textMetadata + textContent + textChannel + textEnd)
)

func (l legacy) encode(w *frameWriter, m *kernel.Message) {
	id, typ, channel := escaped(m.Header.MsgID), escaped(m.Header.MsgType), m.Channel.String()
	size := textAll + len(id) + len(typ) + len(channel)
	var parts [4][]byte
	for i, p := range m.Parts {
		parts[i] = validUTF8(p)
		size += len(parts[i])
	}
	if len(m.Buffers) == 0 {
		w.header(opText, size+len(textBuffers))
	} else {
		l.table(w, m, size)
	}
	w.text(textHeader)
	w.put(parts[kernel.PartHeader])
	w.text(textID)
	w.text(id)
	w.text(textType)
	w.text(typ)
	w.text(textParent)
	w.put(parts[kernel.PartParent])
	w.text(textMetadata)
	w.put(parts[kernel.PartMetadata])
	w.text(textContent)
	w.put(parts[kernel.PartContent])
	if len(m.Buffers) == 0 {
		w.text(textBuffers)
	}
	w.text(textChannel)
	w.text(channel)
	w.text(textEnd)
	for _, b := range m.Buffers {
		w.put(b)
	}
}

// table begins a binary frame whose JSON text has the given size.
func (l legacy) table(w *frameWriter, m *kernel.Message, text int) {
	count := 1 + len(m.Buffers)
	at := legacyWord * (1 + count)
	total := at + text
	for _, b := range m.Buffers {
		total += len(b)
	}
	w.header(opBinary, total)
	table := w.space(at)
	binary.BigEndian.PutUint32(table, uint32(count))
	binary.BigEndian.PutUint32(table[legacyWord:], uint32(at))
	at += text
	for i, b := range m.Buffers {
		binary.BigEndian.PutUint32(table[legacyWord*(2+i):], uint32(at))
		at += len(b)
	}
}

// escaped is s as it stands between the quotes of a JSON string.
func escaped(s string) string {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			b, _ := json.Marshal(s) // a string always has a JSON form
			return string(b[1 : len(b)-1])
		}
	}
	return s
}

// validUTF8 is p, or, when a kernel has sent bytes that no text frame may carry, p with U+FFFD for them: a
// browser would drop the whole connection. RFC 6455 section 8.1.
func validUTF8(p []byte) []byte {
	if utf8.Valid(p) {
		return p
	}
	return bytes.ToValidUTF8(p, []byte("\uFFFD"))
}

func (l legacy) decode(opcode int, data []byte) (request, error) {
	text, buffers := data, [][]byte(nil)
	if opcode == opBinary {
		var err error
		if text, buffers, err = legacyPieces(data); err != nil {
			return request{}, err
		}
	}
	if err := checkJSON(text, "message"); err != nil {
		return request{}, err
	}
	r, err := readEnvelope(text)
	if err != nil {
		return request{}, err
	}
	r.buffers = buffers
	return r, r.checkParts()
}

// legacyPieces slices a binary frame by its offsets. Every number is checked against the frame before
// anything is allocated by it (S9).
func legacyPieces(data []byte) (text []byte, buffers [][]byte, err error) {
	if len(data) < legacyWord {
		return nil, nil, refused(closeInvalidData, refusedMalformed, "a message of %d bytes has no offsets", len(data))
	}
	n := uint64(binary.BigEndian.Uint32(data))
	if n < 1 || n > 1+maxBuffers {
		return nil, nil, refused(closeInvalidData, refusedMalformed, "a message has 1 to %d offsets, not %d", 1+maxBuffers, n)
	}
	size := uint64(len(data))
	head := legacyWord * (1 + n)
	if head > size {
		return nil, nil, refused(closeInvalidData, refusedMalformed, "%d offsets do not fit into %d bytes", n, size)
	}
	pieces := make([][]byte, n)
	from := uint64(binary.BigEndian.Uint32(data[legacyWord:]))
	if from < head {
		return nil, nil, refused(closeInvalidData, refusedMalformed, "offset 0 points into the offsets")
	}
	for i := range pieces {
		to := size
		if i+1 < len(pieces) {
			to = uint64(binary.BigEndian.Uint32(data[legacyWord*(i+2):]))
		}
		if to < from || to > size {
			return nil, nil, refused(closeInvalidData, refusedMalformed, "offset %d is out of order or beyond the message", i+1)
		}
		pieces[i] = data[from:to:to]
		from = to
	}
	if n == 1 {
		return pieces[0], nil, nil
	}
	return pieces[0], pieces[1:], nil
}

// readEnvelope finds the parts in a message's JSON text and slices them out, so that not a byte of them
// changes. text is valid JSON.
func readEnvelope(text []byte) (request, error) {
	r := request{channel: kernel.Shell.String(), assumed: true}
	var fault error
	ok := eachField(text, func(key, value []byte) {
		for i, name := range partNames {
			if string(key) == name {
				r.parts[i] = value
				return
			}
		}
		switch {
		case string(key) == "channel" && string(value) != "null":
			r.assumed, r.channel = false, ""
			// Anything but a string names no channel, and the Bridge drops the message for that.
			_ = json.Unmarshal(value, &r.channel)
		case string(key) == "buffers" && string(value) != "null" && len(bytes.Trim(value, "[] \t\r\n")) > 0:
			fault = refused(closeInvalidData, refusedMalformed, "buffers travel in binary messages, not in JSON")
		}
	})
	if !ok {
		return request{}, refused(closeInvalidData, refusedMalformed, "the message is not a JSON object")
	}
	return r, fault
}
