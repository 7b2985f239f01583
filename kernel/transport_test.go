package kernel

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// pipe is a link past its greeting, and its peer.
func pipe(t *testing.T) (*link, net.Conn) {
	t.Helper()
	here, there := net.Pipe()
	t.Cleanup(func() { here.Close(); there.Close() })
	l := newLink(here, &linkOptions{dial: context.Background(), readSize: 4 << 10, writeSize: 4 << 10})
	l.body = 0
	return l, there
}

func longHeader(size uint64) []byte { return binary.BigEndian.AppendUint64([]byte{flagLong}, size) }

// zmq4 allocates what a header claims: it sees the header of a large frame once the frame has come (P9).
func TestLargeFrameIsHandedOnWhenItIsThere_S9(t *testing.T) {
	l, peer := pipe(t)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = peer.Write(append(longHeader(maxFrameBytes), "and no more"...))
		peer.Close()
	}()
	n, err := l.Read(make([]byte, 9))
	require.Zero(t, n, "the header of a frame that never came")
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	<-sent

	l, peer = pipe(t)
	body := bytes.Repeat([]byte("0123456789abcde"), 200_000) // 3 MB, no multiple of any buffer
	frame := append(longHeader(uint64(len(body))), body...)
	go func() {
		_, _ = peer.Write(append(frame, 0, 2, 'o', 'k'))
	}()
	got := make([]byte, len(frame)+4)
	_, err = io.ReadFull(l, got)
	require.NoError(t, err)
	require.True(t, bytes.Equal(append(frame, 0, 2, 'o', 'k'), got))
	require.Empty(t, l.held)
}
