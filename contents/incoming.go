package contents

import (
	"encoding/json"
	"io"
	"unicode/utf8"

	"github.com/nbserv/nbserv/internal/fault"
)

// Incoming is a model that a client sends: read from its body once, the content streamed to where the store
// wants it. Not safe for concurrent use.
type Incoming struct {
	body  *bodyReader
	limit int64

	Type     Type
	Format   Format
	Path     string // of the body; the URL's decides
	CopyFrom string
	Chunk    *int

	fields int    // that the body has
	text   bool   // the content was a string, and went to the sink
	packed bool   // it was still base64 when it went there
	raw    []byte // the content when it was no string; nil without content and for null
}

// NewIncoming reads a model from body. A content that must be held in memory may have limit bytes.
func NewIncoming(body io.Reader, limit int64) *Incoming {
	return &Incoming{body: newBodyReader(body), limit: limit}
}

// decode reads the body. A content that is a string is written to what sink returns, decoded from base64
// when the format came before it. Malformed JSON and wrong types are Invalid.
func (in *Incoming) decode(sink func() (io.Writer, error)) error {
	return in.body.object(func(key string) error {
		in.fields++
		switch key {
		case "type":
			return in.stringField(key, (*string)(&in.Type))
		case "format":
			return in.stringField(key, (*string)(&in.Format))
		case "path":
			return in.stringField(key, &in.Path)
		case "copy_from":
			return in.stringField(key, &in.CopyFrom)
		case "chunk":
			return in.chunk()
		case "content":
			return in.content(sink)
		}
		raw, err := in.body.raw(in.limit)
		if err == nil && !json.Valid(raw) {
			err = fault.New(fault.Invalid, "field %q is not JSON", key)
		}
		return err
	})
}

func (in *Incoming) stringField(key string, to *string) error {
	raw, err := in.body.raw(maxFieldBytes)
	if err != nil {
		return err
	}
	var s *string
	if !utf8.Valid(raw) || json.Unmarshal(raw, &s) != nil {
		return fault.New(fault.Invalid, "field %q should be a string of UTF-8", key)
	}
	if s != nil {
		*to = *s
	}
	return nil
}

func (in *Incoming) chunk() error {
	raw, err := in.body.raw(maxFieldBytes)
	if err != nil {
		return err
	}
	in.Chunk = nil
	if json.Unmarshal(raw, &in.Chunk) != nil || in.Chunk != nil && *in.Chunk < 1 && *in.Chunk != lastChunk {
		return fault.New(fault.Invalid, `field "chunk" should be 1, 2, … or -1 for the last`)
	}
	return nil
}

func (in *Incoming) content(sink func() (io.Writer, error)) error {
	if in.text || in.raw != nil {
		return fault.New(fault.Invalid, `field "content" is there twice`)
	}
	c, err := in.body.next()
	if err == io.EOF {
		return in.body.malformed("it ends early")
	}
	if err != nil {
		return err
	}
	if c != '"' {
		in.raw, err = in.body.raw(in.limit)
		if string(in.raw) == "null" {
			in.raw = nil
		}
		return err
	}
	w, err := sink()
	if err != nil {
		return err
	}
	in.text = true
	if in.Format != FormatBase64 {
		in.packed = true
		return in.body.text(w)
	}
	dec := &base64Writer{w: w}
	if err := in.body.text(dec); err != nil {
		return err
	}
	return dec.close()
}

// knownType replaces a type that does not exist by file, as Jupyter does.
func knownType(t Type) Type {
	switch t {
	case "", TypeDirectory, TypeFile, TypeNotebook:
		return t
	}
	return TypeFile
}
