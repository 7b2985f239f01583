package nbformat

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range b[:4] {
		i := bytes.IndexByte([]byte(hexDigits), c)
		if i < 0 {
			i = bytes.IndexByte([]byte("0123456789ABCDEF"), c)
		}
		if i < 0 {
			return 0, false
		}
		r = r<<4 | rune(i)
	}
	return r, true
}

var unescaped = map[byte]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// decode gives the characters of a valid string literal. Half a surrogate pair, which UTF-8 cannot hold, is
// kept as three bytes that encode turns back into its escape.
func decode(raw []byte) []byte {
	in := raw[1 : len(raw)-1]
	if bytes.IndexByte(in, '\\') < 0 {
		return in
	}
	out := make([]byte, 0, len(in))
	for i := 0; i < len(in); i++ {
		if in[i] != '\\' {
			out = append(out, in[i])
			continue
		}
		i++
		if in[i] != 'u' {
			out = append(out, unescaped[in[i]])
			continue
		}
		r, _ := hex4(in[i+1:])
		i += 4
		if utf16.IsSurrogate(r) && i+6 < len(in) && in[i+1] == '\\' && in[i+2] == 'u' {
			low, _ := hex4(in[i+3:])
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				r = pair
				i += 6
			}
		}
		out = appendHalf(out, r)
	}
	return out
}

// appendHalf appends a character; half a surrogate pair as three bytes.
func appendHalf(b []byte, r rune) []byte {
	if utf16.IsSurrogate(r) {
		return append(b, 0xe0|byte(r>>12), 0x80|byte(r>>6)&0xbf, 0x80|byte(r)&0xbf)
	}
	return utf8.AppendRune(b, r)
}

// encode appends text as nbformat writes strings: only what must be escaped is.
func encode(b, text []byte) []byte { return append(escape(append(b, '"'), text), '"') }

// escape is encode without the quotes.
func escape(b, text []byte) []byte {
	for i, c := range text {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\r':
			b = append(b, '\\', 'r')
		case c == '\t':
			b = append(b, '\\', 't')
		case c == '\b':
			b = append(b, '\\', 'b')
		case c == '\f':
			b = append(b, '\\', 'f')
		case c < 0x20:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		case isSurrogateAt(text, i):
			lo := text[i+1]<<6 | text[i+2]&0x3f
			b = append(b, '\\', 'u', 'd', hexDigits[text[i+1]>>2&15], hexDigits[lo>>4], hexDigits[lo&15])
		case i >= 1 && isSurrogateAt(text, i-1), i >= 2 && isSurrogateAt(text, i-2):
		default:
			b = append(b, c)
		}
	}
	return b
}

// isSurrogateAt recognises decode's three bytes: UTF-8 itself never has 0xed followed by 0xa0 or more.
func isSurrogateAt(text []byte, i int) bool {
	return text[i] == 0xed && i+2 < len(text) && text[i+1] >= 0xa0
}

// canonical is a string literal as nbformat would write it.
func canonical(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw
	}
	return encode(make([]byte, 0, len(raw)), decode(raw))
}

// quote makes a string node.
func quote(s string) node {
	return node{kind: str, raw: encode(make([]byte, 0, len(s)+2), []byte(s))}
}

// splitLines cuts a text after each line's end, as Python's splitlines(True) does: at more characters than
// a newline, and with no empty line at the end.
func splitLines(text []byte) [][]byte {
	var lines [][]byte
	for len(text) > 0 {
		n := lineLength(text)
		lines = append(lines, text[:n])
		text = text[n:]
	}
	return lines
}

func lineLength(text []byte) int {
	for i, c := range text {
		switch {
		case c == '\r' && i+1 < len(text) && text[i+1] == '\n':
			return i + 2
		case c >= '\n' && c <= '\r', c >= 0x1c && c <= 0x1e:
			return i + 1
		case c == 0xc2 && i+1 < len(text) && text[i+1] == 0x85: // U+0085
			return i + 2
		case c == 0xe2 && i+2 < len(text) && text[i+1] == 0x80 && text[i+2]&^1 == 0xa8: // U+2028, U+2029
			return i + 3
		}
	}
	return len(text)
}
