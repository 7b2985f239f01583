package kerneltest

import (
	"bufio"
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a client sends after its greeting never panics, and what was read is what was there.
func FuzzReadMessage(f *testing.F) {
	f.Add([]byte("\x00\x02hi"))
	f.Add([]byte("\x01\x02hi\x00\x00"))
	f.Add([]byte("\x02\x00\x00\x00\x00\x00\x00\x00\x03abc"))
	f.Add(hugeFrame(flagMore))
	f.Add(ready("DEALER"))
	f.Add([]byte("\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x99SUB"))
	f.Fuzz(func(t *testing.T, b []byte) {
		frames, command, err := readMessage(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			return
		}
		if command {
			_, _, _ = parseReady(frames[0])
		}
		total := 0
		for _, frame := range frames {
			total += len(frame)
			require.True(t, bytes.Contains(b, frame))
		}
		require.LessOrEqual(t, total+2*len(frames), len(b))
	})
}

func TestReadyIsReadBack(t *testing.T) {
	frames, command, err := readMessage(bufio.NewReader(bytes.NewReader(ready("XPUB"))))
	require.NoError(t, err)
	require.True(t, command)
	socketType, identity, err := parseReady(frames[0][len("\x05READY"):])
	require.NoError(t, err)
	require.Equal(t, "XPUB", socketType)
	require.Empty(t, identity)
}
