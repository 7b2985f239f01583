package remote

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
)

// pipes gives the two ends of a connection.
func pipes(t *testing.T) (a, b *pipe) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	defer ln.Close()
	there, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	here, err := ln.AcceptUnix()
	require.NoError(t, err)
	a, err = newPipe(here, nil)
	require.NoError(t, err)
	b, err = newPipe(there, nil)
	require.NoError(t, err)
	t.Cleanup(func() { a.close(); b.close() })
	return a, b
}

// message is a message with a content and buffers of such sizes.
func message(t testing.TB, content int, buffers ...int) *kernel.Message {
	t.Helper()
	header := json.RawMessage(fmt.Sprintf(`{"msg_id":"%d","msg_type":"stream","session":"s"}`, rand.Int()))
	text, err := json.Marshal(map[string]string{"text": string(bytes.Repeat([]byte("x"), content))})
	require.NoError(t, err)
	var list [][]byte
	for _, n := range buffers {
		list = append(list, bytes.Repeat([]byte{byte(n)}, n))
	}
	m, err := kernel.NewMessage(kernel.IOPub, [4]json.RawMessage{header, header, json.RawMessage("{}"), text}, list)
	require.NoError(t, err)
	return m
}

func TestEntriesCrossAPipe(t *testing.T) {
	for name, c := range map[string]struct {
		send  func(*pipe, *outbox) error
		lends bool
	}{"write": {(*pipe).write, false}, "post": {(*pipe).post, false}, "lent": {(*pipe).write, true}} {
		t.Run(name, func(t *testing.T) {
			a, b := pipes(t)
			b.lends = c.lends
			send := c.send
			var sent []kernel.Entry
			for i := range 3000 {
				e := kernel.Entry{Seq: uint64(i), Kind: kernel.EntryKind(i % 4), To: fmt.Sprint("to ", i%3)}
				switch i % 5 {
				case 0:
					e.Message = message(t, 10)
				case 1:
					e.Message = message(t, 100, 0, 5, 20_000)
				case 2:
					e.Message = message(t, rand.IntN(40_000))
				case 3:
					e.Message = message(t, rand.IntN(150_000)*(i%50/48), 1_000_000*(i%500/499))
				}
				sent = append(sent, e)
			}
			failed := make(chan error, 1)
			go func() {
				o := newOutbox()
				defer o.free()
				for i, e := range sent {
					o.entry(frameEntry, e)
					if i%7 == 0 || o.full() {
						if err := send(a, o); err != nil {
							failed <- err
							return
						}
						o.reset()
					}
				}
				failed <- send(a, o)
			}()
			for i := 0; i < len(sent); {
				_ = b.conn.SetReadDeadline(time.Now().Add(20 * time.Microsecond)) // it may be interrupted anywhere
				frames, err := b.read(nil)
				if errors.Is(err, os.ErrDeadlineExceeded) {
					continue
				}
				require.NoError(t, err)
				for len(frames) > 0 {
					kind, payload, rest, ok, err := cutFrame(frames)
					require.True(t, ok)
					require.NoError(t, err)
					require.Equal(t, frameEntry, kind)
					e, err := decodeEntry(payload)
					require.NoError(t, err)
					if e.Message != nil && e.Message.Buffers == nil {
						e.Message.Buffers = sent[i].Message.Buffers[:0:0]
					}
					require.Equal(t, sent[i], e)
					frames = rest
					i++
				}
			}
			require.NoError(t, <-failed)
		})
	}
}

// A client that waits keeps no buffer, and one that is stuck with a little keeps that alone.
func TestWhoBorrowsGivesBack_P9(t *testing.T) {
	a, b := pipes(t)
	b.lends = true
	for _, n := range []int{100, 100_000} {
		require.NoError(t, a.postBytes(frameOf(n)))
		frames, err := b.read(nil)
		require.NoError(t, err)
		require.Equal(t, frameOf(n), frames)
		require.Equal(t, n >= lendFrom, b.buf != nil)
		require.NoError(t, b.conn.SetReadDeadline(time.Unix(1, 0)))
		_, err = b.read(nil)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Nil(t, b.buf)
		require.NoError(t, b.conn.SetReadDeadline(time.Time{}))
	}
}

// frameOf is a frame with a payload of n bytes.
func frameOf(n int) []byte {
	o := newOutbox()
	defer o.free()
	o.head(frameRefused, n)
	o.put(bytes.Repeat([]byte{byte(n)}, n))
	return bytes.Join(o.pieces(), nil)
}
