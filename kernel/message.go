package kernel

import (
	"encoding/json"
	"unsafe"

	"github.com/nbserv/nbserv/internal/fault"
)

// Channel is one of the message channels of the Jupyter messaging protocol. Heartbeat carries no messages.
type Channel uint8

// The four message channels.
const (
	Shell Channel = iota
	IOPub
	Stdin
	Control
	numChannels
)

var channelNames = [numChannels]string{"shell", "iopub", "stdin", "control"}

// String is the channel's name as the WebSocket protocols spell it.
func (c Channel) String() string {
	if c < numChannels {
		return channelNames[c]
	}
	return "unknown"
}

// ParseChannel finds a channel by its name; ok is false for any other text.
func ParseChannel(name string) (c Channel, ok bool) {
	for i, n := range channelNames {
		if n == name {
			return Channel(i), true
		}
	}
	return 0, false
}

// Header holds the fields of a message header that routing needs. The strings share memory with the part
// they were read from; all other fields travel in Message.Parts, untouched.
type Header struct {
	MsgID   string
	MsgType string
	Session string // the client session: the frontend (in a request) or the kernel (in its own messages)
}

// The indexes of Message.Parts, in wire order.
const (
	PartHeader = iota
	PartParent
	PartMetadata
	PartContent
	numParts
)

// Message is one message of the Jupyter messaging protocol. It is immutable once made and shared by all its
// readers without copying.
type Message struct {
	Channel Channel
	Header  Header // of Parts[PartHeader]
	Parent  Header // of Parts[PartParent]; zero when there is none
	Parts   [numParts]json.RawMessage
	Buffers [][]byte
}

// NewMessage makes a message from its four JSON parts (header, parent_header, metadata, content), which it
// keeps as they are. A header without msg_id or msg_type, or a part that is not an object, is Invalid.
func NewMessage(ch Channel, parts [4]json.RawMessage, buffers [][]byte) (*Message, error) {
	m := &Message{Channel: ch, Parts: parts, Buffers: buffers}
	var err error
	if m.Header, err = parseHeader(parts[PartHeader]); err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "malformed message header")
	}
	if m.Header.MsgType == "" {
		return nil, fault.New(fault.Invalid, "the message header has no msg_type")
	}
	if m.Parent, err = parseHeader(parts[PartParent]); err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "malformed parent_header")
	}
	return m, nil
}

// Size is the number of payload bytes of m: what it costs to keep it.
func (m *Message) Size() int {
	n := 0
	for _, p := range m.Parts {
		n += len(p)
	}
	for _, b := range m.Buffers {
		n += len(b)
	}
	return n
}

// parseHeader reads the routing fields of a header. null and {} (xeus and others send both for "no parent")
// give the zero Header. Most headers are flat objects of plain strings, which one pass can read in place;
// anything else goes through encoding/json.
func parseHeader(raw json.RawMessage) (Header, error) {
	if h, ok := scanHeader(raw); ok {
		return h, nil
	}
	var full struct {
		MsgID   string `json:"msg_id"`
		MsgType string `json:"msg_type"`
		Session string `json:"session"`
	}
	if err := json.Unmarshal(raw, &full); err != nil {
		return Header{}, err
	}
	return Header{MsgID: full.MsgID, MsgType: full.MsgType, Session: full.Session}, nil
}

// scanHeader reads a header in one pass without allocating, and gives up (ok false) on anything but an object
// of escape-free string values. The Header's strings alias raw, which nobody may change afterwards.
func scanHeader(raw []byte) (h Header, ok bool) {
	i := skipSpace(raw, 0)
	if i >= len(raw) || raw[i] != '{' {
		return Header{}, false
	}
	i = skipSpace(raw, i+1)
	if i < len(raw) && raw[i] == '}' {
		return Header{}, skipSpace(raw, i+1) == len(raw)
	}
	for {
		key, next, ok := scanString(raw, i)
		if !ok {
			return Header{}, false
		}
		if i = skipSpace(raw, next); i >= len(raw) || raw[i] != ':' {
			return Header{}, false
		}
		val, next, ok := scanString(raw, skipSpace(raw, i+1))
		if !ok {
			return Header{}, false
		}
		switch key {
		case "msg_id":
			h.MsgID = val
		case "msg_type":
			h.MsgType = val
		case "session":
			h.Session = val
		}
		if i = skipSpace(raw, next); i >= len(raw) {
			return Header{}, false
		}
		switch raw[i] {
		case ',':
			i = skipSpace(raw, i+1)
		case '}':
			return h, skipSpace(raw, i+1) == len(raw)
		default:
			return Header{}, false
		}
	}
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// scanString reads a JSON string of printable ASCII without escapes that starts at b[i].
func scanString(b []byte, i int) (s string, next int, ok bool) {
	if i >= len(b) || b[i] != '"' {
		return "", 0, false
	}
	for j := i + 1; j < len(b); j++ {
		switch c := b[j]; {
		case c == '"':
			if j == i+1 {
				return "", j + 1, true
			}
			return unsafe.String(&b[i+1], j-i-1), j + 1, true
		case c == '\\' || c < 0x20 || c >= 0x80:
			return "", 0, false
		}
	}
	return "", 0, false
}
