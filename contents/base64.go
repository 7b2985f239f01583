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
	in    []byte
	out   []byte
	ended bool // padding was seen
}

func (b *base64Writer) Write(p []byte) (int, error) {
	b.in = appendDense(append(b.in[:0], b.carry...), p)
	whole := len(b.in) &^ 3
	b.carry = append(b.carry[:0], b.in[whole:]...)
	if whole == 0 {
		return len(p), nil
	}
	if b.ended {
		return 0, errBase64()
	}
	if need := base64.StdEncoding.DecodedLen(whole); cap(b.out) < need {
		b.out = make([]byte, need)
	}
	n, err := base64.StdEncoding.Decode(b.out[:cap(b.out)], b.in[:whole])
	if err != nil {
		return 0, errBase64()
	}
	b.ended = b.in[whole-1] == '='
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

// appendDense appends p without its white space.
func appendDense(b, p []byte) []byte {
	for len(p) > 0 {
		i := bytes.IndexAny(p, " \t\r\n")
		if i < 0 {
			return append(b, p...)
		}
		b = append(b, p[:i]...)
		p = p[i+1:]
	}
	return b
}

func errBase64() error { return fault.New(fault.Invalid, `field "content" is not base64`) }
