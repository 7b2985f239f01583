package contents

import (
	"io"

	"github.com/nbserv/nbserv/internal/fault"
)

// ExactBody reads n bytes from body. A body that has more fails before its last byte is given away, so that a
// part which is not what its range says is not stored.
func ExactBody(body io.Reader, n int64) io.Reader { return &exactBody{body, n} }

type exactBody struct {
	r    io.Reader
	left int64
}

func (b *exactBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, io.EOF
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	if b.left -= int64(n); b.left > 0 || n == 0 {
		return n, err
	}
	var more [1]byte
	if m, _ := io.ReadFull(b.r, more[:]); m > 0 {
		return n - 1, fault.New(fault.Invalid, "the body has more bytes than Content-Range says")
	}
	return n, nil
}
