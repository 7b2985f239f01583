package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// answer is a message as a server sends it in v1.
func answer(msgType, parent, metadata, content string) []byte {
	return encodeV1("iopub", [4]json.RawMessage{
		[]byte(`{"msg_id":"1","msg_type": "` + msgType + `"}`), []byte(`{"msg_id":"` + parent + `"}`), []byte(metadata), []byte(content),
	})
}

func TestDecodeBothProtocols(t *testing.T) {
	parts := newExecution("print x", "", 0).parts("me")
	for name, c := range map[string]struct {
		frame  []byte
		decode func([]byte) (message, error)
	}{
		"v1":   {encodeV1("shell", parts), decodeV1},
		"json": {encodeJSON("shell", parts), decodeJSON},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := c.decode(c.frame)
			require.NoError(t, err)
			require.Equal(t, "shell", string(m.channel))
			require.Equal(t, "execute_request", string(m.msgType))
			require.JSONEq(t, string(parts[3]), string(m.content))
		})
	}
}

func TestExecutionEndsWithReplyAndIdleInEitherOrder(t *testing.T) {
	for name, order := range map[string][]string{"reply first": {"execute_reply", "status"}, "idle first": {"status", "execute_reply"}} {
		t.Run(name, func(t *testing.T) {
			e := newExecution("", "", 0)
			for i, kind := range order {
				other := message{msgType: []byte(kind), parent: []byte("another"), content: []byte(`{"status":"ok","execution_state":"idle"}`)}
				done, err := e.take(other)
				require.NoError(t, err)
				require.False(t, done, "another request's end")
				own := other
				own.parent = []byte(e.id)
				done, err = e.take(own)
				require.NoError(t, err)
				require.Equal(t, i == 1, done)
			}
		})
	}
}

func TestExecutionSeesWhatIsLost(t *testing.T) {
	e := newExecution("", "stream", 4)
	numbered := func(seq string) error {
		_, err := e.take(message{msgType: []byte("stream"), metadata: []byte(`{"seq":` + seq + `}`)})
		return err
	}
	require.NoError(t, numbered("0"))
	require.NoError(t, numbered("2"))
	require.Error(t, numbered("1"), "out of order")
	require.NoError(t, numbered("3"))
	require.Equal(t, 3, e.got)
	require.Equal(t, 1, e.lost())
}

func TestExecutionFailsWithTheKernel(t *testing.T) {
	e := newExecution("", "", 0)
	_, err := e.take(message{msgType: []byte("execute_reply"), parent: []byte(e.id), content: []byte(`{"status":"error"}`)})
	require.Error(t, err)
}

// frameOf is an unmasked frame.
func frameOf(opcode byte, payload []byte) []byte {
	head := []byte{finBit | opcode, 127, 0, 0, 0, 0, byte(len(payload) >> 24), byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload))}
	switch {
	case len(payload) < 126:
		head = []byte{finBit | opcode, byte(len(payload))}
	case len(payload) < 1<<16:
		head = []byte{finBit | opcode, 126, byte(len(payload) >> 8), byte(len(payload))}
	}
	return append(head, payload...)
}

// Frames of every form of length, inside of the buffer and beyond it.
func TestSocketReadsFrames(t *testing.T) {
	const buffer = 70_000
	var wire bytes.Buffer
	sizes := []int{0, 1, 125, 126, 4096, 1<<16 - 1, 1 << 16, buffer - 10, buffer, 200_000, 3}
	for i, n := range sizes {
		wire.Write(frameOf(opBinary, bytes.Repeat([]byte{byte('a' + i)}, n)))
	}
	w := &socket{r: bufio.NewReaderSize(&wire, buffer)}
	for i, n := range sizes {
		payload, err := w.next()
		require.NoError(t, err)
		require.Equal(t, strings.Repeat(string(rune('a'+i)), n), string(payload))
	}
	_, err := w.next()
	require.ErrorIs(t, err, io.EOF)
}

func TestSocketAnswersPings(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	var wire bytes.Buffer
	wire.Write(frameOf(opPing, []byte("beat")))
	wire.Write(frameOf(opText, []byte("data")))
	w := &socket{conn: ours, r: bufio.NewReader(&wire)}
	defer w.close()
	pong := make(chan []byte, 1)
	go func() {
		got := make([]byte, 10)
		_, _ = io.ReadFull(theirs, got)
		pong <- got
	}()
	payload, err := w.next()
	require.NoError(t, err)
	require.Equal(t, "data", string(payload))
	require.Equal(t, append([]byte{finBit | opPong, maskBit | 4, 0, 0, 0, 0}, "beat"...), <-pong)
}

func TestSocketSaysWhyItEnded(t *testing.T) {
	for name, c := range map[string]struct {
		wire []byte
		want string
	}{
		"closed":     {frameOf(opClose, []byte("\x03\xe9going")), "going"},
		"fragmented": {[]byte{opText, 1, 'x'}, "malformed"},
		"masked":     {[]byte{finBit | opText, maskBit | 1, 0, 0, 0, 0, 'x'}, "malformed"},
		"huge":       {[]byte{finBit | opText, 127, 1, 0, 0, 0, 0, 0, 0, 0}, "malformed"},
		"cut":        {frameOf(opText, []byte("data"))[:3], "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &socket{r: bufio.NewReader(bytes.NewReader(c.wire))}
			_, err := w.next()
			require.ErrorContains(t, err, c.want)
		})
	}
}

func FuzzDecodeV1(f *testing.F) {
	f.Add(answer("stream", "1", `{"seq":3}`, `{"text":"x"}`))
	f.Add(answer("", "", "", ""))
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 64))
	f.Fuzz(func(t *testing.T, frame []byte) {
		m, err := decodeV1(frame)
		if err == nil && len(m.parent)+len(m.metadata)+len(m.content) > len(frame) {
			t.Fatal("the parts are larger than the message")
		}
	})
}
