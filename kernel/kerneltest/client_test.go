package kerneltest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/go-zeromq/zmq4"
	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/kernel/kerneltest"
)

const deadline = 20 * time.Second

// client is a frontend made of plain zmq4 sockets: a second implementation of ZMTP to test ours against.
type client struct {
	t       testing.TB
	codec   kernel.Codec
	sockets map[kernel.Channel]zmq4.Socket
	hb      zmq4.Socket
	inbox   map[kernel.Channel]chan *kernel.Message
	bad     chan error
	sent    int
}

func newClient(t testing.TB, k *kerneltest.Kernel) *client {
	return &client{
		t:       t,
		codec:   kernel.NewCodec([]byte(k.Key())),
		sockets: map[kernel.Channel]zmq4.Socket{},
		inbox:   map[kernel.Channel]chan *kernel.Message{},
		bad:     make(chan error, 1000),
	}
}

// dial connects all sockets and waits until the subscription holds.
func dial(t testing.TB, k *kerneltest.Kernel) *client {
	t.Helper()
	c := newClient(t, k)
	for _, ch := range []kernel.Channel{kernel.Shell, kernel.Control, kernel.Stdin, kernel.IOPub} {
		c.connect(k, ch)
	}
	c.hb = zmq4.NewReq(context.Background(), zmq4.WithAutomaticReconnect(false))
	require.NoError(t, c.hb.Dial(k.Endpoint("hb")))
	t.Cleanup(func() { c.hb.Close() })
	// JEP 65: the subscription holds from here on.
	require.Equal(t, "iopub_welcome", c.next(kernel.IOPub).Header.MsgType)
	return c
}

// connect opens one channel for the time of the test.
func (c *client) connect(k *kerneltest.Kernel, ch kernel.Channel) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	id := zmq4.WithID(zmq4.SocketIdentity("client of " + c.t.Name()))
	s := zmq4.NewDealer(ctx, id, zmq4.WithAutomaticReconnect(false))
	if ch == kernel.IOPub {
		s = zmq4.NewSub(ctx, zmq4.WithAutomaticReconnect(false))
		require.NoError(c.t, s.SetOption(zmq4.OptionSubscribe, ""))
	}
	require.NoError(c.t, s.Dial(k.Endpoint(ch.String())))
	inbox, done := make(chan *kernel.Message, 100_000), make(chan struct{})
	c.sockets[ch], c.inbox[ch] = s, inbox
	go func() {
		defer close(done)
		c.receive(ch, s, inbox)
	}()
	c.t.Cleanup(func() {
		// zmq4 leaks a goroutine when a socket is closed with messages unread: end the stream first and
		// read to its end.
		k.Close()
		<-done
		s.Close()
		cancel()
	})
}

// beat sends a heartbeat and waits for its echo.
func (c *client) beat() {
	c.t.Helper()
	require.NoError(c.t, c.hb.Send(zmq4.NewMsgString("ping")))
	m, err := c.hb.Recv()
	require.NoError(c.t, err)
	require.Equal(c.t, "ping", string(m.Frames[0]))
}

func (c *client) receive(ch kernel.Channel, s zmq4.Socket, inbox chan<- *kernel.Message) {
	for {
		frames, err := s.Recv()
		if err != nil {
			return
		}
		m, err := c.codec.Decode(ch, frames.Frames)
		if err != nil {
			c.bad <- err
			continue
		}
		inbox <- m
	}
}

// send sends a request and gives its msg_id.
func (c *client) send(ch kernel.Channel, msgType, content string) string {
	c.t.Helper()
	c.sent++
	id := "req-" + strconv.Itoa(c.sent)
	parts := [4]json.RawMessage{
		json.RawMessage(fmt.Sprintf(`{"msg_id":%q,"msg_type":%q,"session":"s","version":"5.4","subshell_id":"7","x":1.0}`, id, msgType)),
		json.RawMessage(`{}`), json.RawMessage(`{}`), json.RawMessage(content),
	}
	m, err := kernel.NewMessage(ch, parts, nil)
	require.NoError(c.t, err)
	require.NoError(c.t, c.sockets[ch].SendMulti(zmq4.NewMsgFrom(c.codec.Encode(m)...)))
	return id
}

func (c *client) execute(code string) string {
	c.t.Helper()
	content, err := json.Marshal(map[string]any{"code": code, "allow_stdin": true})
	require.NoError(c.t, err)
	return c.send(kernel.Shell, "execute_request", string(content))
}

// next waits for the next message of a channel.
func (c *client) next(ch kernel.Channel) *kernel.Message {
	c.t.Helper()
	select {
	case m := <-c.inbox[ch]:
		return m
	case <-time.After(deadline):
		require.FailNow(c.t, "no message", "on %v", ch)
		return nil
	}
}

// outputs gives the iopub messages of a request up to its idle status; each must answer to it.
func (c *client) outputs(id string) []*kernel.Message {
	c.t.Helper()
	var all []*kernel.Message
	for {
		m := c.next(kernel.IOPub)
		require.Equal(c.t, id, m.Parent.MsgID)
		all = append(all, m)
		if state(m) == "idle" {
			return all
		}
	}
}

func state(m *kernel.Message) string { return field(m, "execution_state") }

// field is a string in a message's content, "" if there is none.
func field(m *kernel.Message, name string) string {
	var content map[string]any
	if json.Unmarshal(m.Parts[kernel.PartContent], &content) != nil {
		return ""
	}
	s, _ := content[name].(string)
	return s
}

func types(messages []*kernel.Message) []string {
	var all []string
	for _, m := range messages {
		all = append(all, m.Header.MsgType)
	}
	return all
}
