package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
)

// The two protocols of /api/kernels/{id}/channels.
// https://jupyter-server.readthedocs.io/en/latest/developers/websocket-protocols.html
const (
	protocolV1   = "v1.kernel.websocket.jupyter.org"
	protocolJSON = ""
)

const v1Word = 8

// encodeV1 makes the binary message: the count of offsets, the offsets, channel and parts.
func encodeV1(channel string, parts [4]json.RawMessage) []byte {
	pieces := [][]byte{[]byte(channel), parts[0], parts[1], parts[2], parts[3]}
	count := len(pieces) + 1
	at := v1Word * (1 + count)
	frame := binary.LittleEndian.AppendUint64(nil, uint64(count))
	frame = binary.LittleEndian.AppendUint64(frame, uint64(at))
	for _, p := range pieces {
		at += len(p)
		frame = binary.LittleEndian.AppendUint64(frame, uint64(at))
	}
	return append(frame, bytes.Join(pieces, nil)...)
}

var errFrame = errors.New("the server sent a malformed message")

// decodeV1 slices a binary message, of which only the first bytes need to be there as long as the parts are.
func decodeV1(frame []byte) (m message, err error) {
	const pieces = 5
	if len(frame) < v1Word*(2+pieces) || binary.LittleEndian.Uint64(frame) < pieces+1 {
		return m, errFrame
	}
	var at [pieces + 1]uint64
	for i := range at {
		at[i] = binary.LittleEndian.Uint64(frame[v1Word*(1+i):])
		if at[i] > uint64(len(frame)) || i > 0 && at[i] < at[i-1] {
			return m, errFrame
		}
	}
	piece := func(i int) []byte { return frame[at[i]:at[i+1]] }
	m = message{channel: piece(0), parent: piece(2), metadata: piece(3), content: piece(4)}
	m.msgType, err = typeOf(piece(1))
	return m, err
}

// typeOf finds the msg_type in a header, without parsing the rest: it is looked at 100,000 times a second.
func typeOf(header []byte) ([]byte, error) {
	_, rest, ok := bytes.Cut(header, []byte(`"msg_type"`))
	if !ok {
		return nil, fmt.Errorf("%w: a header without msg_type", errFrame)
	}
	value, ok := bytes.CutPrefix(bytes.TrimLeft(rest, ": "), []byte(`"`))
	end := bytes.IndexByte(value, '"')
	if !ok || end < 0 {
		return nil, fmt.Errorf("%w: a header without msg_type", errFrame)
	}
	return value[:end], nil
}

// encodeJSON makes the default protocol's text message.
func encodeJSON(channel string, parts [4]json.RawMessage) []byte {
	return fmt.Appendf(nil, `{"channel":%q,"header":%s,"parent_header":%s,"metadata":%s,"content":%s,"buffers":[]}`,
		channel, parts[0], parts[1], parts[2], parts[3])
}

// decodeJSON reads the default protocol's text message.
func decodeJSON(text []byte) (message, error) {
	var m struct {
		Channel string
		Header  struct {
			MsgType string `json:"msg_type"`
		}
		Parent   json.RawMessage `json:"parent_header"`
		Metadata json.RawMessage
		Content  json.RawMessage
	}
	err := json.Unmarshal(text, &m)
	return message{
		channel: []byte(m.Channel), msgType: []byte(m.Header.MsgType),
		parent: m.Parent, metadata: m.Metadata, content: m.Content,
	}, err
}
