package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// message is a Jupyter message in the default protocol's JSON.
type message struct {
	Channel string `json:"channel"`
	Header  struct {
		MsgID   string `json:"msg_id"`
		MsgType string `json:"msg_type"`
		Session string `json:"session"`
	} `json:"header"`
	Parent struct {
		MsgID string `json:"msg_id"`
	} `json:"parent_header"`
	Metadata json.RawMessage `json:"metadata"`
	Content  struct {
		State  string `json:"execution_state"`
		Status string `json:"status"`
		Name   string `json:"name"`
		Text   string `json:"text"`
		EName  string `json:"ename"`
		EValue string `json:"evalue"`
	} `json:"content"`
}

// socket is a client on a kernel's WebSocket. One goroutine reads, one writes.
type socket struct {
	*websocket.Conn
	t       *testing.T
	kernel  string
	session string
	early   []message // read while waiting for others: sockets of one kernel are not in step
}

// dial opens a kernel's WebSocket and fails the test when that fails.
func (s *server) dial(t *testing.T, kernelID string) *socket {
	t.Helper()
	session := uuid.NewString()
	conn, _, err := s.upgrade(kernelID+"/channels?session_id="+session, s.bearer())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return &socket{Conn: conn, t: t, kernel: kernelID, session: session}
}

// upgrade asks for a WebSocket below api/kernels/; the error carries the answer when it is refused.
func (s *server) upgrade(path string, header http.Header) (*websocket.Conn, *http.Response, error) {
	dialer := websocket.Dialer{HandshakeTimeout: patience}
	return dialer.DialContext(s.t.Context(), "ws"+strings.TrimPrefix(s.url, "http")+"api/kernels/"+path, header)
}

// request writes one message and gives its id.
func (c *socket) request(channel, kind string, content map[string]any) (msgID string) {
	c.t.Helper()
	msgID = uuid.NewString()
	require.NoError(c.t, c.send(msgID, channel, kind, content))
	return msgID
}

// send is request for goroutines that are not the test's.
func (c *socket) send(msgID, channel, kind string, content map[string]any) error {
	return c.WriteJSON(map[string]any{
		"channel":       channel,
		"header":        map[string]any{"msg_id": msgID, "msg_type": kind, "session": c.session, "username": "e2e", "version": "5.4", "date": "2026-01-01T00:00:00Z"},
		"parent_header": map[string]any{}, "metadata": map[string]any{}, "content": content,
	})
}

func code(text string) map[string]any {
	return map[string]any{"code": text, "silent": false, "store_history": true, "allow_stdin": false, "stop_on_error": true}
}

// next reads a message.
func (c *socket) next() (m message, err error) {
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return m, err
	}
	err = c.ReadJSON(&m)
	return m, err
}

// heard waits until the server has read all that was sent so far: it answers a ping in turn.
func (c *socket) heard() {
	c.t.Helper()
	answered := false
	c.SetPongHandler(func(string) error {
		answered = true
		return nil
	})
	require.NoError(c.t, c.WriteControl(websocket.PingMessage, nil, time.Now().Add(patience)))
	for !answered {
		m, err := c.next()
		require.NoError(c.t, err)
		c.early = append(c.early, m)
	}
}

// run is what came of one execution.
type run struct {
	id      string
	all     []message // with it as parent, in order
	reply   *message
	text    string // of its streams
	errName string // of its error output
}

// collect reads until both the reply and the idle status of a request have come.
func (c *socket) collect(msgID string) (r run, err error) {
	r.id = msgID
	idle := false
	early := c.early
	c.early = nil
	for r.reply == nil || !idle {
		var m message
		if len(early) > 0 {
			m, early = early[0], early[1:]
		} else if m, err = c.next(); err != nil {
			return r, fmt.Errorf("reply %v, idle %v: %w", r.reply != nil, idle, err)
		}
		if m.Parent.MsgID != msgID {
			c.early = append(c.early, m)
			continue
		}
		r.all = append(r.all, m)
		switch kind := m.Header.MsgType; {
		case kind == "status":
			idle = idle || m.Content.State == "idle"
		case kind == "stream":
			r.text += m.Content.Text
		case kind == "error":
			r.errName = m.Content.EName
		case strings.HasSuffix(kind, "_reply"):
			r.reply = &m
		}
	}
	c.early = append(c.early, early...)
	return r, nil
}

// execute runs code to its end.
func (c *socket) execute(text string) run {
	c.t.Helper()
	r, err := c.collect(c.request("shell", "execute_request", code(text)))
	require.NoError(c.t, err, text)
	return r
}

// begin sends code and waits until the kernel is at work on it.
func (c *socket) begin(text string) (msgID string) {
	c.t.Helper()
	id := c.request("shell", "execute_request", code(text))
	for {
		m, err := c.next()
		require.NoError(c.t, err, text)
		if m.Parent.MsgID == id && m.Header.MsgType == "execute_input" {
			return id
		}
	}
}

// closeCode reads until the server closes, and gives its code: 1006 when it had none to say (RFC 6455, 7.1.5).
func (c *socket) closeCode() int {
	c.t.Helper()
	require.NoError(c.t, c.SetReadDeadline(time.Now().Add(patience)))
	for {
		if _, _, err := c.NextReader(); err != nil { // what it skips is not decoded: it may be a flood
			var closed *websocket.CloseError
			if errors.As(err, &closed) {
				return closed.Code
			}
			require.NotErrorIs(c.t, err, os.ErrDeadlineExceeded)
			return websocket.CloseAbnormalClosure
		}
	}
}
