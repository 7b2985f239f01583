package contents

import (
	"bytes"
	"encoding/base64"
	"io"

	"github.com/nbserv/nbserv/internal/fault"
)

// base64Writer decodes what is written to it into w. White space is skipped, as encoders that break lines
// leave it; anything else that is not base64 is Invalid.
type base64Writer struct {
	w     io.Writer
	carry []byte // fewer than four characters
	dense []byte
	out   []byte
	ended bool // padding was seen
}

func (b *base64Writer) Write(p []byte) (int, error) {
	in := p
	if len(b.carry) > 0 || hasSpace(p) {
		b.dense = appendDense(append(b.dense[:0], b.carry...), p)
		in = b.dense
	}
	whole := len(in) &^ 3
	b.carry = append(b.carry[:0], in[whole:]...)
	if whole == 0 {
		return len(p), nil
	}
	if need := base64.StdEncoding.DecodedLen(whole); cap(b.out) < need {
		b.out = make([]byte, need)
	}
	n, err := base64.StdEncoding.Decode(b.out[:cap(b.out)], in[:whole])
	if err != nil || b.ended {
		return 0, errBase64()
	}
	b.ended = in[whole-1] == '='
	if _, err := b.w.Write(b.out[:n]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// close says whether the text ended where base64 may end.
func (b *base64Writer) close() error {
	if len(b.carry) > 0 {
		return errBase64()
	}
	return nil
}

// hasSpace is four passes that each look at 32 bytes at a time: faster than one that looks at each.
func hasSpace(p []byte) bool {
	return bytes.IndexByte(p, '\n') >= 0 || bytes.IndexByte(p, '\r') >= 0 || bytes.IndexByte(p, ' ') >= 0 || bytes.IndexByte(p, '\t') >= 0
}

// appendDense appends p without its white space.
func appendDense(b, p []byte) []byte {
	for len(p) > 0 {
		line := p
		if i := bytes.IndexByte(p, '\n'); i >= 0 {
			line, p = p[:i], p[i+1:]
		} else {
			p = nil
		}
		if !hasSpace(line) {
			b = append(b, line...)
			continue
		}
		for _, c := range line {
			if c != ' ' && c != '\t' && c != '\r' {
				b = append(b, c)
			}
		}
	}
	return b
}

func errBase64() error { return fault.New(fault.Invalid, `field "content" is not base64`) }
