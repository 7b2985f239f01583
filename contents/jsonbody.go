package contents

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

// maxFieldBytes bounds every field of a model but its content: a path is the longest that makes sense.
const maxFieldBytes = 64 << 10

// bodyReader reads one JSON text from a stream: enough of JSON for a contents model, without holding its
// content in memory.
type bodyReader struct {
	r        io.Reader
	buf      []byte
	pos, end int
	read     int64 // bytes before buf
}

func newBodyReader(r io.Reader) *bodyReader {
	return &bodyReader{r: r, buf: make([]byte, firstBytes)}
}

// fill makes at least one byte available. The end of the body is io.EOF.
func (b *bodyReader) fill() error {
	for b.pos == b.end {
		if b.end == len(b.buf) && b.end < streamBytes {
			b.read, b.pos, b.end, b.buf = b.read+int64(b.end), 0, 0, make([]byte, streamBytes)
		}
		n, err := b.r.Read(b.buf)
		b.read += int64(b.end)
		b.pos, b.end = 0, n
		if n > 0 {
			return nil
		}
		var over *http.MaxBytesError
		switch {
		case err == io.EOF:
			return io.EOF
		case errors.As(err, &over):
			return fault.New(fault.TooLarge, "the body has more than the %d bytes that are taken", over.Limit)
		case err != nil:
			return fault.Wrap(fault.Invalid, err, "the body ended early")
		}
	}
	return nil
}

func (b *bodyReader) malformed(what string) error {
	return fault.New(fault.Invalid, "malformed JSON at byte %d: %s", b.read+int64(b.pos), what)
}

// need is fill where the text may not end.
func (b *bodyReader) need() error {
	err := b.fill()
	if err == io.EOF {
		return b.malformed("it ends early")
	}
	return err
}

// next is the next byte that is not white space, left where it is.
func (b *bodyReader) next() (byte, error) {
	for {
		if err := b.fill(); err != nil {
			return 0, err
		}
		switch c := b.buf[b.pos]; c {
		case ' ', '\t', '\n', '\r':
			b.pos++
		default:
			return c, nil
		}
	}
}

// take consumes c, which must come next.
func (b *bodyReader) take(c byte) error {
	got, err := b.next()
	if err == io.EOF {
		return b.malformed("it ends early")
	}
	if err != nil {
		return err
	}
	if got != c {
		return b.malformed("expected " + string(c))
	}
	b.pos++
	return nil
}

// object calls member for each key; member reads the value. A body of white space only, and null, have none.
func (b *bodyReader) object(member func(key string) error) error {
	c, err := b.next()
	if err == io.EOF {
		return nil
	}
	if err != nil {
		return err
	}
	if c == 'n' {
		_, err := b.raw(maxFieldBytes)
		return err
	}
	if err := b.take('{'); err != nil {
		return fault.New(fault.Invalid, "the body should be a JSON object")
	}
	for first := true; ; first = false {
		c, err := b.next()
		if err == io.EOF {
			return b.malformed("it ends early")
		}
		if err != nil {
			return err
		}
		if c == '}' {
			b.pos++
			return b.atEnd()
		}
		if !first {
			if err := b.take(','); err != nil {
				return err
			}
		}
		key, err := b.short()
		if err != nil {
			return err
		}
		if err := b.take(':'); err != nil {
			return err
		}
		if err := member(key); err != nil {
			return err
		}
	}
}

func (b *bodyReader) atEnd() error {
	if _, err := b.next(); err == nil {
		return fault.New(fault.Invalid, "the body has more than one JSON value")
	} else if err != io.EOF {
		return err
	}
	return nil
}

// short reads a string of at most maxFieldBytes.
func (b *bodyReader) short() (string, error) {
	raw, err := b.raw(maxFieldBytes)
	if err != nil {
		return "", err
	}
	var s string
	if json.Unmarshal(raw, &s) != nil || raw[0] != '"' {
		return "", b.malformed("expected a string")
	}
	return s, nil
}

// raw copies the bytes of one value, of any kind. Only strings and brackets are looked at: the caller parses.
func (b *bodyReader) raw(limit int64) ([]byte, error) {
	if _, err := b.next(); err == io.EOF {
		return nil, b.malformed("it ends early")
	} else if err != nil {
		return nil, err
	}
	var out []byte
	var s scanner
	for {
		err := b.fill()
		if err == io.EOF && s.depth == 0 && !s.inString && len(out) > 0 {
			return out, nil
		}
		if err == io.EOF {
			return nil, b.malformed("it ends early")
		}
		if err != nil {
			return nil, err
		}
		n, done := s.scan(b.buf[b.pos:b.end])
		out = append(out, b.buf[b.pos:b.pos+n]...)
		b.pos += n
		switch {
		case s.depth > httpx.MaxDepth:
			return nil, fault.New(fault.Invalid, "the JSON nests deeper than %d levels", httpx.MaxDepth)
		case int64(len(out)) > limit:
			return nil, fault.New(fault.TooLarge, "a field has more than %d bytes", limit)
		case done && len(out) == 0:
			return nil, b.malformed("a value is missing")
		case done:
			return out, nil
		}
	}
}

// scanner finds the end of a JSON value.
type scanner struct {
	depth             int
	inString, escaped bool
}

// scan is how many bytes of p belong to the value, and whether it ends there.
func (s *scanner) scan(p []byte) (int, bool) {
	for i := 0; i < len(p); i++ {
		if s.inString {
			if s.escaped {
				s.escaped = false
				continue
			}
			if i += plain(p[i:]); i == len(p) {
				return i, false
			}
			s.escaped = p[i] == '\\'
			if p[i] == '"' {
				s.inString = false
				if s.depth == 0 {
					return i + 1, true
				}
			}
			continue
		}
		switch p[i] {
		case '"':
			s.inString = true
		case '{', '[':
			s.depth++
		case '}', ']':
			if s.depth--; s.depth < 0 {
				return i, true // of what the value is in
			}
			if s.depth == 0 {
				return i + 1, true
			}
		case ',', ' ', '\t', '\r', '\n':
			if s.depth == 0 {
				return i, true
			}
		}
	}
	return len(p), false
}

// text decodes a string into w. The caller has seen its quote. Text that is not UTF-8, and half of a
// surrogate pair, which no file can hold, are Invalid.
func (b *bodyReader) text(w io.Writer) error {
	b.pos++
	out := textWriter{w: w}
	for {
		if err := b.need(); err != nil {
			return err
		}
		n := plain(b.buf[b.pos:b.end])
		if err := out.add(b.buf[b.pos : b.pos+n]); err != nil {
			return err
		}
		if b.pos += n; b.pos == b.end {
			continue
		}
		switch b.buf[b.pos] {
		case '"':
			b.pos++
			return out.close()
		case '\\':
			var err error
			if out.held, err = b.escape(out.held); err != nil {
				return err
			}
		default:
			return b.malformed("a control character in a string")
		}
	}
}

// textWriter checks that a text is UTF-8 and hands it on in large pieces.
type textWriter struct {
	w     io.Writer
	held  []byte
	check utf8Check
}

// directBytes is from where a piece is handed on without being copied first.
const directBytes = 4 << 10

func (t *textWriter) add(p []byte) error {
	if len(p) < directBytes {
		if t.held = append(t.held, p...); len(t.held) < streamBytes {
			return nil
		}
		p = nil
	}
	if err := t.write(t.held); err != nil {
		return err
	}
	t.held = t.held[:0]
	return t.write(p)
}

func (t *textWriter) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if _, _ = t.check.Write(p); t.check.bad {
		return errNotUTF8()
	}
	_, err := t.w.Write(p)
	return err
}

func (t *textWriter) close() error {
	if err := t.write(t.held); err != nil {
		return err
	}
	if !t.check.ok() {
		return errNotUTF8()
	}
	return nil
}

func errNotUTF8() error { return fault.New(fault.Invalid, `field "content" is not UTF-8`) }

var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// escape decodes one escape, two for a surrogate pair, onto out.
func (b *bodyReader) escape(out []byte) ([]byte, error) {
	b.pos++
	if err := b.need(); err != nil {
		return nil, err
	}
	c := b.buf[b.pos]
	b.pos++
	if c != 'u' {
		if escapes[c] == 0 {
			return nil, b.malformed("not an escape")
		}
		return append(out, escapes[c]), nil
	}
	r, err := b.hex4()
	if err != nil || !utf16.IsSurrogate(r) {
		return utf8.AppendRune(out, r), err
	}
	for _, want := range []byte{'\\', 'u'} {
		if err := b.need(); err != nil {
			return nil, err
		}
		if b.buf[b.pos] != want {
			return nil, fault.New(fault.Invalid, `field "content" has half of a surrogate pair`)
		}
		b.pos++
	}
	low, err := b.hex4()
	if err != nil {
		return nil, err
	}
	if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
		return nil, fault.New(fault.Invalid, `field "content" has half of a surrogate pair`)
	}
	return utf8.AppendRune(out, r), nil
}

func (b *bodyReader) hex4() (rune, error) {
	var r rune
	for range 4 {
		if err := b.need(); err != nil {
			return 0, err
		}
		c := b.buf[b.pos]
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, b.malformed("not an escape")
		}
		r = r<<4 | rune(c)
		b.pos++
	}
	return r, nil
}
