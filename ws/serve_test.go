package ws

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/mux"
	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
)

const patience = 60 * time.Second // for what should come at once

// served is a Server behind a real listener.
type served struct {
	*fakeHost // nil over another host
	server    *Server
	http      *httptest.Server
	reg       *prometheus.Registry
	log       *bytes.Buffer // to be read after the server's end
}

func serve(t testing.TB, adjust func(*Config)) *served {
	t.Helper()
	return serveFake(t, adjust, (*httptest.Server).Start)
}

func serveTLS(t testing.TB, adjust func(*Config)) *served {
	t.Helper()
	return serveFake(t, adjust, (*httptest.Server).StartTLS)
}

func serveFake(t testing.TB, adjust func(*Config), start func(*httptest.Server)) *served {
	t.Helper()
	var cfg Config
	if adjust != nil {
		adjust(&cfg)
	}
	h := newFakeHost()
	t.Cleanup(func() { require.Zero(t, h.attached(), "every client is detached") })
	s := serveHost(t, h, cfg, start)
	s.fakeHost = h
	return s
}

func serveHost(t testing.TB, h kernel.Host, cfg Config, start func(*httptest.Server)) *served {
	t.Helper()
	require.NoError(t, cfg.Validate())
	s := &served{reg: prometheus.NewRegistry(), log: new(bytes.Buffer)}
	s.server = New(h, cfg, slog.New(slog.NewTextHandler(s.log, nil)), s.reg)
	r := mux.NewRouter()
	s.server.Register(r)
	s.http = httptest.NewUnstartedServer(wrapped{r})
	start(s.http)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, s.server.Close(ctx))
		s.http.Close()
	})
	return s
}

// wrapped puts a ResponseWriter around the server's, as access logs do.
type wrapped struct{ http.Handler }

type wrapper struct{ http.ResponseWriter }

func (w wrapper) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (h wrapped) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.Handler.ServeHTTP(wrapper{w}, r)
}

func (s *served) dial(t testing.TB, query, protocol string) *websocket.Conn {
	t.Helper()
	d := websocket.Dialer{ReadBufferSize: 64 << 10}
	if s.http.TLS != nil {
		d.TLSClientConfig = s.http.Client().Transport.(*http.Transport).TLSClientConfig
	}
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
