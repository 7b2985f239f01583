package ws

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
)

// Whatever a client sends: no panic, no more memory than the frame itself, and what is taken for a message
// comes out of encode and decode as the same bytes.
func fuzzCodec(f *testing.F, name string) {
	c := codecs[name]
	for _, h := range hostileFrames() {
		if h.codec == c {
			f.Add(h.opcode, h.data)
		}
	}
	for _, m := range []*kernel.Message{
		message(f, kernel.Shell, "a", `{"code":"1+1","x":1.0}`),
		message(f, kernel.Control, `b\"`, `{"a":["}",{"b":"\\\""}]}`, []byte("buffer"), nil),
	} {
		op, data := encoded(f, c, m)
		f.Add(op, data)
	}
	f.Fuzz(func(t *testing.T, opcode int, data []byte) {
		opcode = opText + opcode&1
		r, err := c.decode(opcode, data)
		if err != nil {
			var e *closeError
			require.ErrorAs(t, err, &e)
			code, _, ok := closeFrame(err)
			require.True(t, ok)
			require.GreaterOrEqual(t, code, 1000)
			return
		}
		size := len(emptyObject) * len(r.parts)
		for _, b := range r.buffers {
			size += len(b)
		}
		require.LessOrEqual(t, size, len(data)+len(emptyObject)*len(r.parts))
		require.LessOrEqual(t, len(r.buffers), maxBuffers)
		m, err := kernel.NewMessage(kernel.Shell, r.parts, r.buffers)
		if err != nil {
			return
		}
		op, again := encoded(t, c, m)
		same(t, m, decoded(t, c, op, again))
	})
}

func FuzzV1(f *testing.F)      { fuzzCodec(f, "v1") }
func FuzzDefault(f *testing.F) { fuzzCodec(f, "default") }
