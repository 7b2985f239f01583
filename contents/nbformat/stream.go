package nbformat

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// stream is the text of one stream output as a page shows it: JupyterLab carries out \r and \b before it saves
// (outputarea's processText in 4.6), so that a progress bar is one line and not thousands. It counts in UTF-16
// units, and so does this.
type stream struct {
	name string
	text []byte // finished: nothing changes it any more
	line []byte // what follows, up to the end: \r and \b work on it
	at   int    // the cursor in line, in UTF-16 units; atEnd is where it mostly is
	sum  Digest // of name and text, unless it has to be found anew
	cuts bool   // it has
}

const (
	atEnd = -1
	// maxLine bounds the line that \r goes back over, in bytes. A longer one is taken for finished.
	maxLine = 16 << 10
)

func newStream(name string) *stream {
	return &stream{name: name, at: atEnd, sum: streamDigest(name)}
}

func (s *stream) digest() Digest {
	if s.cuts {
		s.sum, s.cuts = streamDigest(s.name).add(s.text), false
	}
	return s.sum.add(s.line)
}

func (s *stream) len() int { return len(s.text) + len(s.line) }

// write appends text. Bytes that are no UTF-8 are decode's halves of surrogate pairs.
func (s *stream) write(text []byte) {
	for len(text) > 0 {
		if s.at == atEnd {
			plain := text
			if i := bytes.IndexAny(text, "\r\b"); i >= 0 {
				plain = text[:i]
			}
			s.append(plain)
			if text = text[len(plain):]; len(text) == 0 {
				return
			}
		}
		part, rest, newline := bytes.Cut(text, []byte{'\n'})
		s.edit(part)
		if newline {
			s.finish(append(s.line, '\n'))
			s.line, s.at = nil, atEnd
		}
		text = rest
	}
}

// append writes text without \r and \b at the end.
func (s *stream) append(text []byte) {
	if i := bytes.LastIndexByte(text, '\n'); i >= 0 {
		s.finish(s.line)
		s.finish(text[:i+1])
		s.line, text = nil, text[i+1:]
	}
	s.line = append(s.line, text...)
	s.bound()
}

func (s *stream) finish(text []byte) {
	s.text = append(s.text, text...)
	if !s.cuts {
		s.sum = s.sum.add(text)
	}
}

func (s *stream) bound() {
	if len(s.line) > maxLine {
		s.finish(s.line)
		s.line, s.at = nil, atEnd
	}
}

// edit writes one line's part at the cursor.
func (s *stream) edit(part []byte) {
	line := units(s.line)
	at := s.at
	if at == atEnd {
		at = len(line)
	}
	for len(part) > 0 {
		switch part[0] {
		case '\r':
			at, part = 0, part[1:]
			continue
		case '\b': // JupyterLab takes the character under the cursor as well, if there is one
			if at > 0 {
				line = append(line[:at-1], line[min(at+1, len(line)):]...)
				at--
			}
			part = part[1:]
			continue
		}
		n := bytes.IndexAny(part, "\r\b")
		if n < 0 {
			n = len(part)
		}
		over := units(part[:n])
		line = append(line[:at+copy(line[at:], over)], over[min(len(over), len(line)-at):]...)[:max(len(line), at+len(over))]
		at, part = at+len(over), part[n:]
	}
	s.line = fromUnits(line)
	if s.at = at; at == len(line) {
		s.at = atEnd
	}
	s.bound()
}

// cut drops at least n bytes of what is finished from the beginning, up to the end of a line where one is
// near, and says how many.
func (s *stream) cut(n int) int {
	n = lineEnd(s.text, n)
	s.text = bytes.Clone(s.text[n:])
	s.cuts = true
	return n
}

// split ends s after about n bytes and gives the rest.
func (s *stream) split(n int) (rest *stream) {
	n = lineEnd(s.text, n)
	rest = newStream(s.name)
	rest.finish(s.text[n:])
	rest.line, rest.at = s.line, s.at
	s.text = bytes.Clone(s.text[:n])
	s.cuts = true
	s.line, s.at = nil, atEnd
	return rest
}

// lineEnd is the end of the line in which text's n-th byte lies, or of its character when the line is long.
func lineEnd(text []byte, n int) int {
	if n >= len(text) {
		return len(text)
	}
	if i := bytes.IndexByte(text[n:min(len(text), n+maxLine)], '\n'); i >= 0 {
		return n + i + 1
	}
	for n < len(text) && text[n]&0xc0 == 0x80 {
		n++
	}
	return n
}

// units are the UTF-16 units of a text that may have decode's halves of surrogate pairs.
func units(text []byte) []uint16 {
	list := make([]uint16, 0, len(text))
	for len(text) > 0 {
		if isSurrogateAt(text, 0) {
			list = append(list, 0xd000|uint16(text[1]&0x3f)<<6|uint16(text[2]&0x3f))
			text = text[3:]
			continue
		}
		r, n := utf8.DecodeRune(text)
		list = utf16.AppendRune(list, r)
		text = text[n:]
	}
	return list
}

// fromUnits is the reverse of units. Halves that have come together are one character.
func fromUnits(list []uint16) []byte {
	b := make([]byte, 0, len(list))
	for i := 0; i < len(list); i++ {
		r := rune(list[i])
		if utf16.IsSurrogate(r) && i+1 < len(list) {
			if pair := utf16.DecodeRune(r, rune(list[i+1])); pair != utf8.RuneError {
				b = utf8.AppendRune(b, pair)
				i++
				continue
			}
		}
		b = appendHalf(b, r)
	}
	return b
}
