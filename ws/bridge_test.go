package ws

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
)

// What either side says arrives as the same bytes, through sockets, both ways.
func TestRelaysBothWays(t *testing.T) {
	for name, protocol := range protocols {
		t.Run(name, func(t *testing.T) { relaysBothWays(t, serve(t, nil), codecs[name], protocol) })
		t.Run(name+"/tls", func(t *testing.T) { relaysBothWays(t, serveTLS(t, nil), codecs[name], protocol) })
	}
}

func relaysBothWays(t *testing.T, s *served, k codec, protocol string) {
	c := s.dial(t, "?session_id=a", protocol)
	ms := []*kernel.Message{
		message(t, kernel.Shell, "a", `{"x":1.0,"é":"\ud83d"}`),
		message(t, kernel.Control, "b", `{}`, []byte("1"), nil, bytes.Repeat([]byte("2"), 1<<20)),
		message(t, kernel.Stdin, "c", `{"t":"`+strings.Repeat("é", 100_000)+`"}`),
	}
	for _, m := range ms {
		transmit(t, c, k, m)
		same(t, m, s.next(t))
	}
	ms = append(ms, stream(t, 1000)...)
	ms = append(ms, message(t, kernel.IOPub, "d", `{}`, bytes.Repeat([]byte("3"), 3<<20)))
	s.say(ms...)
	for _, m := range ms {
		same(t, m, receive(t, c, k))
	}
}

// P5, S9: a client speaks for itself only.
func TestForgedOutputIsDropped(t *testing.T) {
	s := serve(t, nil)
	c := s.dial(t, "", subprotocolV1)
	for range 3 {
		transmit(t, c, v1{}, message(t, kernel.IOPub, "forged", `{}`))
	}
	transmit(t, c, v1{}, message(t, kernel.Shell, "honest", `{}`))
	require.Equal(t, "honest", s.next(t).Header.MsgID)
	s.counted(t, "nbserv_websocket_refused_total", "forged_iopub", 3.0)
	require.NoError(t, c.Close())
	require.NoError(t, s.server.Close(t.Context()))
	require.Equal(t, 1, strings.Count(s.log.String(), "as if it were the kernel's output"), "logged once")
}

// What the reference server ignores is ignored here, and counted.
func TestUnknownChannelsAndTypesAreDropped(t *testing.T) {
	s := serve(t, nil)
	c := s.dial(t, "", "")
	for _, text := range []string{
		`{"header":{"msg_type":"x"},"content":{},"channel":"heartbeat"}`,
		`{"header":{"msg_type":"x"},"content":{},"channel":""}`,
		`{"header":{"msg_type":"x"},"content":{},"channel":{"a":1}}`,
		`{"header":{"msg_type":"forbidden_request"},"content":{},"channel":"shell"}`,
		`{"header":{"msg_type":"x","msg_id":"ok"},"content":{}}`,
	} {
		require.NoError(t, c.WriteMessage(websocket.TextMessage, []byte(text)))
	}
	m := s.next(t)
	require.Equal(t, "ok", m.Header.MsgID)
	require.Equal(t, kernel.Shell, m.Channel)
	s.counted(t, "nbserv_websocket_refused_total", "unknown_channel", 3.0)
	s.counted(t, "nbserv_websocket_refused_total", "not_allowed", 1.0)
}

// P13, S9: a hostile frame ends its own connection, with a code and a reason; nothing reaches the kernel, and
// the neighbour notices nothing.
func TestHostileFrameCostsItsSenderOnly_P13(t *testing.T) {
	s := serve(t, nil)
	neighbour := s.dial(t, "?session_id=n", subprotocolV1)
	for name, h := range hostileFrames() {
		protocol := ""
		if _, ok := h.codec.(v1); ok {
			protocol = subprotocolV1
		}
		c := s.dial(t, "?session_id=h", protocol)
		require.NoError(t, c.WriteMessage(h.opcode, h.data))
		code, reason := closed(t, c)
		require.Equal(t, h.code, code, name)
		require.NotEmpty(t, reason, name)
	}
	require.Empty(t, s.sent)
	m := message(t, kernel.Shell, "a", `{}`)
	transmit(t, neighbour, v1{}, m)
	same(t, m, s.next(t))
	s.say(m)
	same(t, m, receive(t, neighbour, v1{}))
	s.counted(t, "nbserv_websocket_refused_total", "malformed", float64(len(hostileFrames())-1))
	s.counted(t, "nbserv_websocket_refused_total", "frame_kind", 1)
}

// Frames against RFC 6455 itself.
func TestProtocolErrors_P13(t *testing.T) {
	mask := "\x01\x02\x03\x04"
	for name, tt := range map[string]struct {
		raw  string
		code int
	}{
		"unmasked":              {"\x81\x02hi", closeProtocol},
		"reserved bits":         {"\xf1\x80" + mask, closeProtocol},
		"unknown opcode":        {"\x83\x80" + mask, closeProtocol},
		"long control frame":    {"\x89\xfe\x00\x7e" + mask + strings.Repeat("x", 126), closeProtocol},
		"continuation of none":  {"\x80\x80" + mask, closeProtocol},
		"a frame of 2^63 bytes": {"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00" + mask, closeTooBig},
		"a frame of 2^62 bytes": {"\x82\xff\x40\x00\x00\x00\x00\x00\x00\x00" + mask, closeTooBig},
		"fragments over limit":  {"\x02\xfe\xff\xff" + mask + strings.Repeat("x", 65535) + "\x80\xfe\xff\xff" + mask, closeTooBig},
		"bad close code":        {"\x88\x82" + "\x00\x00\x00\x00" + "\x03\xed", closeProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(c *Config) { c.MaxMessageBytes = 100_000 })
			c := s.dial(t, "", subprotocolV1)
			_, err := io.WriteString(c.NetConn(), tt.raw)
			require.NoError(t, err)
			code, reason := closed(t, c)
			require.Equal(t, tt.code, code)
			require.NotEmpty(t, reason)
		})
	}
}

func TestFragmentedMessageIsJoined(t *testing.T) {
	s := serve(t, nil)
	c := s.dial(t, "", "")
	want := message(t, kernel.Shell, "a", `{"t":"`+strings.Repeat("y", 10_000)+`"}`)
	_, data := encoded(t, newLegacy(), want)
	w, err := c.NextWriter(websocket.TextMessage)
	require.NoError(t, err)
	for len(data) > 0 {
		n := min(len(data), 5000) // more than the dialer's write buffer: each goes as a fragment
		_, err = w.Write(data[:n])
		require.NoError(t, err)
		data = data[n:]
	}
	require.NoError(t, w.Close())
	same(t, want, s.next(t))
}

// P4: a gap is told where it is, as a message that stock clients accept.
func TestGapNotice_P4(t *testing.T) {
	for name, protocol := range protocols {
		t.Run(name, func(t *testing.T) {
			s, k := serve(t, nil), codecs[name]
			ms := stream(t, 2)
			s.gap(kernel.Gap{Dropped: 1234, Reason: "the \"journal\" was full"})
			s.say(ms[0])
			s.gap(kernel.Gap{Reason: "another epoch"})
			c := s.dial(t, "", protocol)

			m := receive(t, c, k)
			require.Equal(t, kernel.IOPub, m.Channel)
			require.Equal(t, "stream", m.Header.MsgType)
			require.Equal(t, "kernel-session", m.Header.Session, "JupyterLab skips what other sessions interleave")
			require.Equal(t, "{}", string(m.Parts[kernel.PartParent]))
			require.JSONEq(t, `{"nbserv":{"gap":{"dropped":1234,"seq":1,"reason":"the \"journal\" was full"}}}`,
				string(m.Parts[kernel.PartMetadata]))
			require.JSONEq(t, `{"name":"stderr","text":"nbserv: 1234 messages of this kernel could not be delivered: `+
				`the \"journal\" was full\n"}`, string(m.Parts[kernel.PartContent]))
			var h map[string]string // what JupyterLab's validator asks for: strings, none missing
			require.NoError(t, json.Unmarshal(m.Parts[kernel.PartHeader], &h))
			for _, f := range []string{"msg_id", "msg_type", "session", "username", "version", "date"} {
				require.NotEmpty(t, h[f], f)
			}
			_, err := time.Parse(time.RFC3339Nano, h["date"])
			require.NoError(t, err)

			same(t, ms[0], receive(t, c, k))
			m = receive(t, c, k)
			require.Contains(t, string(m.Parts[kernel.PartContent]), "an unknown number of messages")
			require.Equal(t, "kernel-session", m.Header.Session)
			s.counted(t, "nbserv_websocket_gaps_total", "", 2.0)
		})
	}
}

// P9: what a stuck client holds is about one flush, not a batch of whatever size.
func TestBatchesOfLargeMessagesAreShort_P9(t *testing.T) {
	const mib = flushAt
	for _, tt := range []struct{ room, n, size, want int }{
		{256, 256, 180_000, 256}, // small messages: all the room there is
		{256, 10, 10 * mib, 1},   // 1 MiB each
		{256, 100, 10 * mib, 10}, // 100 KiB each
		{1, 1, 64 * mib, 1},      // never none
		{1, 1, 700, 2},           // and back, step by step
		{200, 200, 140_000, 256}, // up to the limit
		{256, 256, 2 * mib, 128}, // just over
	} {
		require.Equal(t, tt.want, nextRoom(tt.room, tt.n, tt.size, 256))
	}
}
