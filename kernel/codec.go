package kernel

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash"
	"sync"

	"github.com/nbserv/nbserv/internal/fault"
)

// delimiter separates routing prefixes from the message.
// https://jupyter-client.readthedocs.io/en/stable/messaging.html#the-wire-protocol
var delimiter = []byte("<IDS|MSG>")

const (
	// maxPrefixes bounds the identity and topic frames before the delimiter; kernels send one or none.
	maxPrefixes = 16
	// maxBuffers bounds the raw buffers of one message. A widget sends tens; guess, measure.
	maxBuffers = 8192
	sigLen     = 2 * sha256.Size // hexadecimal
)

// Codec turns messages into the frames of Jupyter's wire protocol and back, signing and checking them with
// HMAC-SHA256. It is pure (no sockets, no clock) and safe for concurrent use. The zero Codec neither signs
// nor checks, as the protocol defines for an empty key.
type Codec struct {
	macs *sync.Pool // of hash.Hash keyed with the key; nil without a key
}

// NewCodec makes a Codec for a connection file's key.
func NewCodec(key []byte) Codec {
	if len(key) == 0 {
		return Codec{}
	}
	key = bytes.Clone(key)
	return Codec{macs: &sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}
}

// Encode gives the frames of m without a routing prefix: delimiter, signature, four parts, buffers. The
// frames alias m's parts.
func (c Codec) Encode(m *Message) [][]byte {
	frames := make([][]byte, 0, 2+numParts+len(m.Buffers))
	frames = append(frames, delimiter, c.sign(&m.Parts))
	for _, p := range m.Parts {
		frames = append(frames, p)
	}
	return append(frames, m.Buffers...)
}

// Decode checks and parses the frames of one message; prefix frames before the delimiter are ignored (a PUB
// socket's topic, a ROUTER's identity; iopub_welcome has none). The message aliases the frames. Frames
// that are no message are Invalid, a wrong signature Forbidden.
func (c Codec) Decode(ch Channel, frames [][]byte) (*Message, error) {
	m, _, err := c.decode(ch, frames)
	return m, err
}

// decode also gives the signature, by which a receiver knows a replay.
func (c Codec) decode(ch Channel, frames [][]byte) (*Message, []byte, error) {
	at := -1
	for i, f := range frames[:min(len(frames), maxPrefixes+1)] {
		if bytes.Equal(f, delimiter) {
			at = i
			break
		}
	}
	if at < 0 {
		return nil, nil, fault.New(fault.Invalid, "no delimiter in a message of %d frames", len(frames))
	}
	frames = frames[at+1:]
	if len(frames) < 1+numParts {
		return nil, nil, fault.New(fault.Invalid, "a message of %d frames after the delimiter", len(frames))
	}
	sig, rest := frames[0], frames[1+numParts:]
	if len(rest) > maxBuffers {
		return nil, nil, fault.New(fault.TooLarge, "a message with %d buffers, at most %d are taken", len(rest), maxBuffers)
	}
	var parts [numParts]json.RawMessage
	for i := range parts {
		parts[i] = frames[1+i]
	}
	if c.macs != nil && !hmac.Equal(sig, c.sign(&parts)) {
		return nil, nil, fault.New(fault.Forbidden, "the message's signature is wrong")
	}
	if len(rest) == 0 {
		rest = nil
	}
	m, err := NewMessage(ch, parts, rest)
	return m, sig, err
}

// sign is the hexadecimal HMAC over the four parts; buffers are not signed, by the protocol.
func (c Codec) sign(parts *[numParts]json.RawMessage) []byte {
	if c.macs == nil {
		return []byte{}
	}
	mac := c.macs.Get().(hash.Hash)
	mac.Reset()
	for _, p := range parts {
		mac.Write(p)
	}
	var sum [sha256.Size]byte
	mac.Sum(sum[:0])
	c.macs.Put(mac)
	return hex.AppendEncode(make([]byte, 0, sigLen), sum[:])
}
