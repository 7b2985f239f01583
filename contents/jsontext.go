package contents

import (
	"encoding/base64"
	"encoding/binary"
	"io"
	"slices"
	"unicode/utf8"
)

// streamBytes is the size of the buffers that content passes through: 256 KiB is where larger ones stopped
// being faster (measured for 50 MB bodies).
const streamBytes = 256 << 10

// firstBytes is the size of a buffer until it has been full once: most files are small, and many are saved
// at the same time.
const firstBytes = 16 << 10

const hexDigits = "0123456789abcdef"

// plain is the length of the prefix of b that stands for itself inside a JSON string: no quote, no backslash,
// no control character. It looks at eight bytes at a time.
func plain(b []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(b); i += 8 {
		v := binary.LittleEndian.Uint64(b[i:])
		quote, slash := v^(ones*'"'), v^(ones*'\\')
		if (((v-ones*0x20)&^v)|((quote-ones)&^quote)|((slash-ones)&^slash))&highs != 0 {
			break
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < 0x20 || c == '"' || c == '\\' {
			break
		}
	}
	return i
}

// appendString appends s as a JSON string. Bytes that are not UTF-8 become U+FFFD.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	if !utf8.ValidString(s) {
		s = string([]rune(s))
	}
	start := 0
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' {
			b = appendEscape(append(b, s[start:i]...), c)
			start = i + 1
		}
	}
	return append(append(b, s[start:]...), '"')
}

func appendEscape(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	}
	return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// writeText copies r, which is UTF-8, to w as one JSON string.
func writeText(w io.Writer, r io.Reader) error {
	in := make([]byte, firstBytes)
	out := append(make([]byte, 0, firstBytes+firstBytes/8), '"')
	for {
		n, err := r.Read(in)
		full := n == len(in)
		for b := in[:n]; len(b) > 0; {
			k := plain(b)
			out = append(out, b[:k]...)
			if b = b[k:]; len(b) > 0 {
				out = appendEscape(out, b[0])
				b = b[1:]
			}
			if len(out) > len(in) {
				if _, err := w.Write(out); err != nil {
					return err
				}
				out = out[:0]
			}
		}
		if err == io.EOF {
			_, err = w.Write(append(out, '"'))
			return err
		}
		if err != nil {
			return err
		}
		if full && len(in) < streamBytes {
			in = make([]byte, streamBytes)
			out = slices.Grow(out, streamBytes+streamBytes/8)
		}
	}
}

// writeBase64 copies r to w as one JSON string in base64, on one line.
func writeBase64(w io.Writer, r io.Reader) error {
	src, dst := make([]byte, firstBytes/4*3), make([]byte, firstBytes)
	if _, err := io.WriteString(w, `"`); err != nil {
		return err
	}
	for {
		n, err := io.ReadFull(r, src)
		base64.StdEncoding.Encode(dst, src[:n])
		if _, err := w.Write(dst[:base64.StdEncoding.EncodedLen(n)]); err != nil {
			return err
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			_, err = io.WriteString(w, `"`)
			return err
		}
		if err != nil {
			return err
		}
		if len(dst) < streamBytes {
			src, dst = make([]byte, streamBytes/4*3), make([]byte, streamBytes)
		}
	}
}

// utf8Check finds out piece by piece whether a text is UTF-8. The zero value is ready.
type utf8Check struct {
	carry [utf8.UTFMax]byte // the beginning of a character whose end has not come
	n     int
	bad   bool
}

// Write never fails: a hash and a check can share one io.MultiWriter.
func (u *utf8Check) Write(p []byte) (int, error) {
	total := len(p)
	for u.n > 0 && len(p) > 0 && !u.bad { // finish the character that was cut
		u.carry[u.n] = p[0]
		u.n, p = u.n+1, p[1:]
		if c := u.carry[:u.n]; utf8.FullRune(c) {
			u.bad, u.n = !utf8.Valid(c), 0
		}
	}
	if u.bad || len(p) == 0 {
		return total, nil
	}
	whole := len(p)
	for i := 1; i < utf8.UTFMax && i <= len(p); i++ {
		if tail := p[len(p)-i:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				whole = len(p) - i
			}
			break
		}
	}
	u.bad = !utf8.Valid(p[:whole])
	u.n = copy(u.carry[:], p[whole:])
	return total, nil
}

// ok says whether all that was written is UTF-8.
func (u *utf8Check) ok() bool { return !u.bad && u.n == 0 }
