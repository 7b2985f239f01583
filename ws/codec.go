package ws

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"github.com/nbserv/nbserv/kernel"
)

// codec is one of the two WebSocket protocols. Codecs are pure and safe for concurrent use.
type codec interface {
	// encode adds the one frame that carries m. It is only given messages that fits accepts.
	encode(w *frameWriter, m *kernel.Message)
	// fits says whether the protocol can carry m at all.
	fits(m *kernel.Message) bool
	// decode reads a message that a client has sent; opcode is opText or opBinary. The request aliases
	// data. What is no message is a *closeError.
	decode(opcode int, data []byte) (request, error)
}

// request is a client's message, taken apart but not yet believed.
type request struct {
	channel string
	assumed bool // the client named no channel
	parts   [4]json.RawMessage
	buffers [][]byte
}

// maxBuffers bounds the buffers of one message, as the kernel's wire codec does.
const maxBuffers = 8192

// emptyObject stands for a part that was left out. Nobody may write to it.
var emptyObject = json.RawMessage("{}")

var partNames = [...]string{"header", "parent_header", "metadata", "content"}

// checkParts refuses a request whose parts are not what a kernel may be given: a kernel that trips over
// them would take its other clients with it (P13). Missing metadata and parent_header are filled in.
func (r *request) checkParts() error {
	for i, p := range r.parts {
		optional := i == kernel.PartParent || i == kernel.PartMetadata
		p = bytes.TrimLeft(p, " \t\r\n")
		switch {
		case len(p) == 0 && optional:
			r.parts[i] = emptyObject
		case len(p) == 0:
			return refused(closeInvalidData, refusedMalformed, "the message has no %s", partNames[i])
		case p[0] != '{' && !(optional && p[0] == 'n'): // null: some clients say so for "none"
			return refused(closeInvalidData, refusedMalformed, "the message's %s is not a JSON object", partNames[i])
		}
	}
	return nil
}

// checkJSON refuses text that is not JSON in UTF-8. NaN and Infinity, which Python writes, are no JSON.
func checkJSON(p []byte, what string) error {
	if !utf8.Valid(p) {
		return refused(closeInvalidData, refusedMalformed, "the %s is not valid UTF-8", what)
	}
	if !json.Valid(p) {
		return refused(closeInvalidData, refusedMalformed, "the %s is not valid JSON", what)
	}
	return nil
}
