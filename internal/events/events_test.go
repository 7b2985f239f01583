package events

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/mux"
	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nbserv/nbserv/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 60 * time.Second

const testSchema = `
"$id": http://event.example.org/message
version: 1
title: A message
type: object
required: [text]
properties:
  text: {type: string}
`

func serve(t *testing.T) (*Bus, *httptest.Server) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "test.yaml"), []byte(testSchema), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "README"), []byte("not a schema"), 0o600))
	b, err := NewBus(dir, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	r := mux.NewRouter()
	(&API{Bus: b}).Register(r)
	srv := httptest.NewServer(r)
	t.Cleanup(func() {
		b.Close()
		srv.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return b, srv
}

func subscribe(t *testing.T, srv *httptest.Server) *websocket.Conn {
	t.Helper()
	ws, res, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(srv.URL, "http")+"/api/events/subscribe", nil)
	require.NoError(t, err)
	_ = res.Body.Close()
	t.Cleanup(func() { _ = ws.Close() })
	require.NoError(t, ws.SetReadDeadline(time.Now().Add(patience)))
	return ws
}

func post(t *testing.T, srv *httptest.Server, body string, want int) string {
	t.Helper()
	res, err := http.Post(srv.URL+"/api/events", "application/json", strings.NewReader(body))
	require.NoError(t, err)
	defer res.Body.Close()
	var answer struct{ Message string }
	_ = json.NewDecoder(res.Body).Decode(&answer)
	require.Equal(t, want, res.StatusCode, "%s: %s", body, answer.Message)
	return answer.Message
}

func TestEventReachesAllSubscribers(t *testing.T) {
	bus, srv := serve(t)
	a, b := subscribe(t, srv), subscribe(t, srv)
	post(t, srv, `{"schema_id": "http://event.example.org/message", "version": "1", "data": {"text": "hi", "n": 1.0}}`, 204)
	for _, ws := range []*websocket.Conn{a, b} {
		_, text, err := ws.ReadMessage()
		require.NoError(t, err)
		require.JSONEq(t, `{"schema_id": "http://event.example.org/message", "text": "hi", "n": 1.0}`, string(text))
	}
	bus.Tell(KernelSchema, map[string]string{"action": "start", "kernel_id": "k", "msg": "started"})
	_, text, err := a.ReadMessage()
	require.NoError(t, err)
	require.Contains(t, string(text), `"schema_id":"`+KernelSchema+`"`)
}

func TestEventsThatAreRefused_P13(t *testing.T) {
	_, srv := serve(t)
	for _, c := range []struct{ body, names string }{
		{`[]`, ""},
		{`{"version": "1", "data": {"text": "x"}}`, "schema_id"},
		{`{"schema_id": "http://event.example.org/message", "data": {"text": "x"}}`, "version"},
		{`{"schema_id": "http://event.example.org/message", "version": "1"}`, "data"},
		{`{"schema_id": "http://event.example.org/message", "version": 2, "data": {"text": "x"}}`, "version"},
		{`{"schema_id": "http://event.example.org/other", "version": 1, "data": {"text": "x"}}`, "schema_id"},
		{`{"schema_id": "http://event.example.org/message", "version": 1, "data": {"text": 7}}`, "/text"},
		{`{"schema_id": "http://event.example.org/message", "version": 1, "data": {}}`, "text"},
		{`{"schema_id": "http://event.example.org/message", "version": 1, "data": "text"}`, "data"},
		{`{"schema_id": "http://event.example.org/message", "version": 1, "data": {"text": "x"}, "timestamp": "yesterday"}`, "timestamp"},
	} {
		require.Contains(t, post(t, srv, c.body, 400), c.names)
	}
}

func TestTimestamps(t *testing.T) {
	for _, s := range []string{"2022-05-26T12:50:00+06:00Z", "2022-05-26T12:50:00-0600Z", "2022-05-26T12:50:00Z", "2022-05-26T12:50:00.25+01:00"} {
		require.True(t, isTime(s), s)
	}
	for _, s := range []string{"", "2022-05-26 12:50:00", "2022-05-26", "12:50"} {
		require.False(t, isTime(s), s)
	}
}

func TestSlowSubscriberIsEnded_P10(t *testing.T) {
	bus, _ := serve(t)
	s, err := bus.subscribe()
	require.NoError(t, err)
	defer bus.leave(s)
	for range maxQueued + 1 {
		bus.Tell(ContentsSchema, map[string]string{"action": "save", "path": "a"})
	}
	for range maxQueued {
		_, ok := <-s.events
		require.True(t, ok)
	}
	_, ok := <-s.events
	require.False(t, ok)
	require.Equal(t, fault.Busy, fault.KindOf(bus.end(s)))
}

func TestCloseEndsSubscriptions(t *testing.T) {
	bus, srv := serve(t)
	ws := subscribe(t, srv)
	done := make(chan struct{})
	go func() { bus.Close(); close(done) }()
	_, _, err := ws.ReadMessage()
	require.True(t, websocket.IsCloseError(err, websocket.CloseGoingAway), "%v", err)
	<-done
	_, res, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(srv.URL, "http")+"/api/events/subscribe", nil)
	require.Error(t, err)
	require.Equal(t, 503, res.StatusCode)
	_ = res.Body.Close()
}

func TestSchemasThatAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"no YAML":    "\t:",
		"no id":      "version: 1\ntype: object",
		"no version": "$id: http://a/b\ntype: object",
		"a file":     "$id: http://a/b\nversion: 1\n$ref: file:///etc/passwd",
		"bad rules":  "$id: http://a/b\nversion: 1\ntype: 7",
	} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "x.yml"), []byte(text), 0o600))
		_, err := NewBus(dir, nil)
		require.ErrorContains(t, err, "x.yml", name)
	}
}
