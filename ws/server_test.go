package ws

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/mux"
	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

const patience = 20 * time.Second // for what should come at once

// served is a Server over a fakeHost behind a real listener.
type served struct {
	*fakeHost
	server *Server
	http   *httptest.Server
	reg    *prometheus.Registry
	log    *bytes.Buffer // to be read after the server's end
}

func serve(t testing.TB, adjust func(*Config)) *served {
	t.Helper()
	cfg := DefaultConfig()
	if adjust != nil {
		adjust(&cfg)
	}
	require.NoError(t, cfg.Validate())
	s := &served{fakeHost: newFakeHost(), reg: prometheus.NewRegistry(), log: new(bytes.Buffer)}
	s.server = New(s.fakeHost, cfg, slog.New(slog.NewTextHandler(s.log, nil)), s.reg)
	r := mux.NewRouter()
	s.server.Register(r)
	s.http = httptest.NewServer(r)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, s.server.Close(ctx))
		s.http.Close()
		require.Zero(t, s.attached(), "every client is detached")
	})
	return s
}

func (s *served) dial(t testing.TB, query, protocol string) *websocket.Conn {
	t.Helper()
	d := websocket.Dialer{ReadBufferSize: 64 << 10}
	if protocol != "" {
		d.Subprotocols = []string{"x.other", protocol}
	}
	c, _, err := d.Dial("ws"+strings.TrimPrefix(s.http.URL, "http")+"/api/kernels/k/channels"+query, nil)
	require.NoError(t, err)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
	t.Cleanup(func() { _ = c.Close() })
	require.Equal(t, protocol, c.Subprotocol())
	return c
}

// get asks without a WebSocket client's help.
func (s *served) get(t testing.TB, path string, header http.Header) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, s.http.URL+path, nil)
	require.NoError(t, err)
	req.Header = header
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	var v struct{ Message string }
	require.NoError(t, json.Unmarshal(body, &v), "%s", body)
	return res.StatusCode, res.Header, v.Message
}

func upgradeHeader() http.Header {
	return http.Header{
		"Connection": {"keep-alive, Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
}

func (s *served) counter(t testing.TB, name, label string) float64 {
	t.Helper()
	families, err := s.reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		for _, m := range f.Metric {
			if f.GetName() == name && (label == "" || m.Label[0].GetValue() == label) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	require.Fail(t, "no such metric", "%s %s", name, label)
	return 0
}

// counted waits for what is counted when a WebSocket has ended, which is after its client hears of it.
func (s *served) counted(t testing.TB, name, label string, want float64) {
	t.Helper()
	require.Eventually(t, func() bool { return s.counter(t, name, label) == want }, patience, time.Millisecond)
}

func receive(t testing.TB, c *websocket.Conn, k codec) *kernel.Message {
	t.Helper()
	op, data, err := c.ReadMessage()
	require.NoError(t, err)
	return decoded(t, k, op, data)
}

func transmit(t testing.TB, c *websocket.Conn, k codec, m *kernel.Message) {
	t.Helper()
	op, data := encoded(t, k, m)
	require.NoError(t, c.WriteMessage(op, data))
}

// closed waits for the WebSocket's end, hangs up and gives code and reason.
func closed(t testing.TB, c *websocket.Conn) (int, string) {
	t.Helper()
	defer c.Close()
	for {
		_, _, err := c.ReadMessage()
		if err == nil {
			continue
		}
		var e *websocket.CloseError
		require.True(t, errors.As(err, &e), "got %v", err)
		return e.Code, e.Text
	}
}

func (s *served) next(t testing.TB) *kernel.Message {
	t.Helper()
	select {
	case m := <-s.sent:
		return m
	case <-time.After(patience):
		require.Fail(t, "nothing reached the kernel")
		return nil
	}
}

var protocols = map[string]string{"v1": subprotocolV1, "default": ""}

// What either side says arrives as the same bytes, through sockets, both ways.
func TestRelaysBothWays(t *testing.T) {
	for name, protocol := range protocols {
		t.Run(name, func(t *testing.T) {
			s, k := serve(t, nil), codecs[name]
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
		})
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

func TestRequestsThatAreNoUpgrade(t *testing.T) {
	s := serve(t, nil)
	for name, tt := range map[string]struct {
		path   string
		change func(http.Header)
		status int
		says   string
	}{
		"no upgrade":       {"/api/kernels/k/channels", func(h http.Header) { h.Del("Upgrade") }, 400, "proxy"},
		"no connection":    {"/api/kernels/k/channels", func(h http.Header) { h.Set("Connection", "close") }, 400, "proxy"},
		"bad version":      {"/api/kernels/k/channels", func(h http.Header) { h.Set("Sec-Websocket-Version", "8") }, 400, "version"},
		"bad key":          {"/api/kernels/k/channels", func(h http.Header) { h.Del("Sec-Websocket-Key") }, 400, "Key"},
		"unknown kernel":   {"/api/kernels/x/channels", func(http.Header) {}, 404, "kernel x"},
		"bad position":     {"/api/kernels/k/channels?since=1", func(http.Header) {}, 400, "since: "},
		"long session id":  {"/api/kernels/k/channels?session_id=" + strings.Repeat("x", 257), func(http.Header) {}, 400, "session_id"},
		"kernel is busy":   {"/api/kernels/k/channels?session_id=busy", func(http.Header) {}, 503, "too many"},
		"negative numbers": {"/api/kernels/k/channels?since=-1:2", func(http.Header) {}, 400, "since: "},
	} {
		t.Run(name, func(t *testing.T) {
			s.fakeHost.attach = func(o kernel.AttachOptions) error {
				if o.ClientSession == "busy" {
					return fault.New(fault.Busy, "too many clients")
				}
				return nil
			}
			h := upgradeHeader()
			tt.change(h)
			status, _, message := s.get(t, tt.path, h)
			require.Equal(t, tt.status, status, message)
			require.Contains(t, message, tt.says)
		})
	}
	require.Zero(t, s.attached())
	s.counted(t, "nbserv_websocket_refused_total", "no_upgrade", 2.0)
}

func TestQueryReachesAttach(t *testing.T) {
	s := serve(t, nil)
	s.dial(t, "?session_id=me&since=1f:42&1700000000", subprotocolV1)
	s.dial(t, "", subprotocolV1)
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Equal(t, []kernel.AttachOptions{
		{ClientSession: "me", Since: &kernel.Position{Epoch: 0x1f, Seq: 42}}, {},
	}, s.options)
}

// jupyterlab.md 9.9: two sockets with one session id in quick succession; the second is served, the first goes
// with a code after which JupyterLab does not reconnect, and no message is lost between them (P4).
func TestTakeOver_P4(t *testing.T) {
	s := serve(t, nil)
	first := s.dial(t, "?session_id=me", subprotocolV1)
	ms := stream(t, 20)
	s.say(ms[:10]...)
	for _, m := range ms[:10] {
		same(t, m, receive(t, first, v1{}))
	}
	second := s.dial(t, "?session_id=me", "")
	code, reason := closed(t, first)
	require.Equal(t, closeNormal, code)
	require.Contains(t, reason, "taken over")
	s.say(ms[10:]...)
	for _, m := range ms[10:] {
		same(t, m, receive(t, second, newLegacy()))
	}
	s.counted(t, "nbserv_websocket_cut_total", "taken_over", 1.0)
}

// A kernel's end is told after its last words, with a code that makes clients ask whether the kernel still is.
func TestKernelEndClosesAfterItsLastWords(t *testing.T) {
	s := serve(t, nil)
	c := s.dial(t, "?session_id=me", subprotocolV1)
	ms := stream(t, 300)
	s.say(ms...)
	s.end()
	for _, m := range ms {
		same(t, m, receive(t, c, v1{}))
	}
	code, reason := closed(t, c)
	require.Equal(t, closeKernelGone, code)
	require.Equal(t, "the kernel was shut down", reason)
}

func TestBusyKernelClosesWithTryAgainLater(t *testing.T) {
	s := serve(t, nil)
	s.full = true
	c := s.dial(t, "", subprotocolV1)
	transmit(t, c, v1{}, message(t, kernel.Shell, "a", `{}`))
	code, reason := closed(t, c)
	require.Equal(t, closeTryAgainLater, code)
	require.Contains(t, reason, "queue")
	s.counted(t, "nbserv_websocket_refused_total", "busy", 1.0)
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

// P15: Close tells every client, waits for all, and takes no new ones.
func TestCloseTellsAndWaits_P15(t *testing.T) {
	for _, stopCode := range []int{closeGoingAway, closeServiceRestart} {
		s := serve(t, func(c *Config) { c.StopCode = stopCode })
		var cs []*websocket.Conn
		for range 20 {
			cs = append(cs, s.dial(t, "", subprotocolV1))
		}
		s.counted(t, "nbserv_websocket_connections", "", 20)
		done := make(chan error, 1)
		go func() { done <- s.server.Close(t.Context()) }()
		for _, c := range cs {
			code, reason := closed(t, c)
			require.Equal(t, stopCode, code)
			require.Equal(t, "the server is stopping", reason)
		}
		require.NoError(t, <-done)
		require.Zero(t, s.attached())
		require.Zero(t, s.counter(t, "nbserv_websocket_connections", ""))

		status, h, _ := s.get(t, "/api/kernels/k/channels", upgradeHeader())
		require.Equal(t, http.StatusServiceUnavailable, status)
		require.NotEmpty(t, h.Get("Retry-After"))
	}
}

// A client that neither reads nor hangs up cannot hold Close up.
func TestCloseIsBounded_P15(t *testing.T) {
	s := serve(t, nil)
	c := s.dial(t, "", subprotocolV1)
	s.flood(t, 64<<20)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.server.Close(ctx), context.DeadlineExceeded)
	require.Zero(t, s.attached())
	require.NoError(t, c.Close())
}

// flood makes the kernel say more than any socket buffers, and waits until one client at least has begun.
func (s *served) flood(t testing.TB, size int) {
	t.Helper()
	big := message(t, kernel.IOPub, "big", `{}`, make([]byte, 1<<20))
	for range size >> 20 {
		s.say(big)
	}
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, c := range s.clients {
			if c.at > 0 {
				return true
			}
		}
		return len(s.clients) == 0
	}, patience, time.Millisecond)
}

// P10, P13: a client that takes nothing is closed alone, after its time; its neighbour reads everything.
func TestStalledClientIsClosedAlone_P10(t *testing.T) {
	s := serve(t, func(c *Config) { c.WriteTimeout = 200 * time.Millisecond })
	s.dial(t, "?session_id=stuck", subprotocolV1)
	good := s.dial(t, "?session_id=good", subprotocolV1)
	s.flood(t, 64<<20)
	for range 64 {
		m := receive(t, good, v1{})
		require.Len(t, m.Buffers[0], 1<<20)
	}
	s.mu.Lock()
	gone := s.clients["stuck"].gone
	s.mu.Unlock()
	select {
	case <-gone:
	case <-time.After(patience):
		require.Fail(t, "the stuck client stays")
	}
	require.Equal(t, 1, s.attached())
	s.counted(t, "nbserv_websocket_cut_total", "takes_no_bytes", 1)
	m := message(t, kernel.IOPub, "after", `{}`)
	s.say(m)
	same(t, m, receive(t, good, v1{}))
}

// A client that is slow but takes some bytes within each WriteTimeout is kept, however long a message lasts.
func TestSlowClientIsKept_P10(t *testing.T) {
	s := serve(t, func(c *Config) { c.WriteTimeout = 400 * time.Millisecond })
	c := s.dial(t, "?session_id=slow", subprotocolV1)
	require.NoError(t, c.NetConn().(*net.TCPConn).SetReadBuffer(64<<10))
	m := message(t, kernel.IOPub, "big", `{}`, make([]byte, 32<<20))
	s.say(m)
	began := time.Now()
	_, r, err := c.NextReader()
	require.NoError(t, err)
	total, chunk := 0, make([]byte, 1<<20)
	tick := time.NewTicker(40 * time.Millisecond)
	defer tick.Stop()
	for {
		<-tick.C
		n, err := io.ReadFull(r, chunk)
		total += n
		if err != nil {
			require.True(t, errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF), "%v", err)
			break
		}
	}
	require.Greater(t, time.Since(began), 2*s.server.cfg.WriteTimeout)
	require.Greater(t, total, 32<<20)
	require.Equal(t, 1, s.attached())
}

func TestPingsAreSentAndAnswered(t *testing.T) {
	s := serve(t, func(c *Config) { c.PingInterval, c.PongTimeout = 20*time.Millisecond, 200*time.Millisecond })
	c := s.dial(t, "", subprotocolV1)
	pings := make(chan struct{}, 100)
	answer := c.PingHandler()
	c.SetPingHandler(func(data string) error {
		pings <- struct{}{}
		return answer(data)
	})
	pongs := make(chan string, 10)
	c.SetPongHandler(func(data string) error {
		pongs <- data
		return nil
	})
	require.NoError(t, c.WriteControl(websocket.PingMessage, []byte("hello"), time.Now().Add(patience)))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _, _ = c.ReadMessage()
	}()
	require.Equal(t, "hello", <-pongs)
	for range 20 { // twice as long as a silent client would live
		<-pings
	}
	require.Equal(t, 1, s.attached())
	require.NoError(t, c.Close())
	<-done
}

func TestSilentClientIsClosed(t *testing.T) {
	s := serve(t, func(c *Config) { c.PingInterval, c.PongTimeout = 20*time.Millisecond, 60*time.Millisecond })
	c := s.dial(t, "", subprotocolV1)
	c.SetPingHandler(func(string) error { return nil })
	code, reason := closed(t, c)
	require.Equal(t, closeNoPong, code)
	require.Contains(t, reason, "ping")
	s.counted(t, "nbserv_websocket_cut_total", "no_pong", 1.0)
}

// Control frames never land inside of a message, however large the messages and many the pings.
func TestControlAndDataFramesDoNotInterleave(t *testing.T) {
	for name, protocol := range protocols {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(c *Config) { c.PingInterval = time.Millisecond })
			c := s.dial(t, "", protocol)
			pongs := 0
			c.SetPongHandler(func(data string) error {
				pongs++
				return nil
			})
			pinged := make(chan error, 1)
			go func() {
				var err error
				for i := 0; i < 2000 && err == nil; i++ {
					err = c.WriteControl(websocket.PingMessage, []byte("p"), time.Now().Add(patience))
				}
				pinged <- err
			}()
			ms := stream(t, 2000)
			for i := 0; i < len(ms); i += 50 {
				ms[i] = message(t, kernel.IOPub, "big", `{}`, bytes.Repeat([]byte{byte(i)}, 300_000))
			}
			for chunk := range len(ms) / 100 {
				s.say(ms[chunk*100 : chunk*100+100]...)
			}
			for _, m := range ms {
				same(t, m, receive(t, c, codecs[name]))
			}
			require.NoError(t, <-pinged)
			require.Positive(t, pongs)
		})
	}
}

// A client that leaves is answered with its own code and detached, its position kept by the kernel.
func TestClientLeaves(t *testing.T) {
	s := serve(t, nil)
	for _, code := range []int{closeNormal, closeGoingAway, 4321} {
		c := s.dial(t, "", subprotocolV1)
		require.NoError(t, c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, "bye"),
			time.Now().Add(patience)))
		got, _ := closed(t, c)
		require.Equal(t, code, got)
	}
	c := s.dial(t, "", subprotocolV1)
	require.NoError(t, c.NetConn().Close())
	require.Eventually(t, func() bool { return s.attached() == 0 }, patience, time.Millisecond)
}

// A burst shares writes; a lone message never waits.
func TestBurstIsCoalesced(t *testing.T) {
	s := serve(t, nil)
	ms := stream(t, 2560)
	s.say(ms...)
	c := s.dial(t, "", subprotocolV1)
	for _, m := range ms {
		same(t, m, receive(t, c, v1{}))
	}
	require.Less(t, s.counter(t, "nbserv_websocket_writes_total", ""), 60.0)
	s.counted(t, "nbserv_websocket_messages_total", "out", 2560.0)
}

func TestConfigValidate(t *testing.T) {
	require.NoError(t, DefaultConfig().Validate())
	for name, change := range map[string]func(*Config){
		"write timeout": func(c *Config) { c.WriteTimeout = 0 },
		"ping interval": func(c *Config) { c.PingInterval = -1 },
		"pong timeout":  func(c *Config) { c.PongTimeout = time.Second },
		"message limit": func(c *Config) { c.MaxMessageBytes = 100 },
		"batch":         func(c *Config) { c.MaxBatch = 0 },
		"stop code":     func(c *Config) { c.StopCode = 1000 },
	} {
		c := DefaultConfig()
		change(&c)
		err := c.Validate()
		require.Equal(t, fault.Invalid, fault.KindOf(err), name)
		require.Contains(t, err.Error(), name)
	}
}
