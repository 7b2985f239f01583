package ws

import (
	"encoding/json"

	"github.com/nbserv/nbserv/kernel"
)

// positionKey is the key in a message's metadata under which clients that ask for it (positions=1) find its place in
// the kernel's journal, as ?since= takes it.
const positionKey = "nbserv_position"

// positioned is m with the place p in its metadata. Nothing of the metadata is decoded: the place is its last key,
// and so the one that counts should the kernel have written that key, too.
func positioned(m *kernel.Message, p kernel.Position) *kernel.Message {
	said := *m
	said.Parts[kernel.PartMetadata] = withPosition(m.Parts[kernel.PartMetadata], p)
	return &said
}

// withPosition adds p to the JSON object metadata; what is no object is left as it is, but for null and nothing, which
// stand for an empty one.
func withPosition(metadata json.RawMessage, p kernel.Position) json.RawMessage {
	end := len(metadata)
	for end > 0 && skipSpace(metadata[end-1:], 0) == 1 {
		end--
	}
	start := skipSpace(metadata, 0)
	field := `"` + positionKey + `":"` + p.String() + `"}`
	switch {
	case start >= end || string(metadata[start:end]) == "null":
		return json.RawMessage("{" + field)
	case metadata[start] != '{' || metadata[end-1] != '}':
		return metadata
	}
	out := make(json.RawMessage, 0, end-start+1+len(field))
	out = append(out, metadata[start:end-1]...)
	if skipSpace(metadata, start+1) < end-1 {
		out = append(out, ',')
	}
	return append(out, field...)
}
