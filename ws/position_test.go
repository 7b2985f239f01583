package ws

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
)

func TestPositionIsAddedToMetadata(t *testing.T) {
	p := kernel.Position{Epoch: 0xab, Seq: 7}
	for metadata, want := range map[string]string{
		``:                          `{"nbserv_position":"ab:7"}`,
		`null`:                      `{"nbserv_position":"ab:7"}`,
		`{}`:                        `{"nbserv_position":"ab:7"}`,
		" { \n } ":                  `{"nbserv_position":"ab:7"}`,
		`{"a":1.0}`:                 `{"a":1.0,"nbserv_position":"ab:7"}`,
		" {\"a\": {} } ":            `{"a": {} ,"nbserv_position":"ab:7"}`,
		`{"nbserv_position":"9:9"}`: `{"nbserv_position":"9:9","nbserv_position":"ab:7"}`,
		`[1]`:                       `[1]`,
	} {
		given := json.RawMessage(metadata)
		require.JSONEq(t, want, string(withPosition(given, p)), "%q", metadata)
		require.Equal(t, metadata, string(given))
	}
	require.Equal(t, `{"nbserv_position":"9:9","nbserv_position":"ab:7"}`,
		string(withPosition(json.RawMessage(`{"nbserv_position":"9:9"}`), p)), "the last one counts: ours")
}

// place is a message's position, as a client with positions=1 finds it.
func place(t *testing.T, m *kernel.Message) kernel.Position {
	t.Helper()
	var metadata struct {
		Position string `json:"nbserv_position"`
	}
	require.NoError(t, json.Unmarshal(m.Parts[kernel.PartMetadata], &metadata))
	p, err := kernel.ParsePosition(metadata.Position)
	require.NoError(t, err)
	return p
}

// Two clients of different protocols see one order, by the numbers of one journal; and a third reads on from any of
// them and sees the same.
func TestPositionsAreOneOrder_P5_P4(t *testing.T) {
	s := startKernel(t)
	a, b := s.dial(t, "?session_id=a&positions=1", subprotocolV1), s.dial(t, "?session_id=b&positions=1", "")
	plain := s.dial(t, "?session_id=c", subprotocolV1)
	transmit(t, a, v1{}, executeRequest(t, "a", "one", "order 200"))
	transmit(t, b, newLegacy(), executeRequest(t, "b", "two", "order 200"))
	read := func(c *websocket.Conn, k codec) (ids []string, places []kernel.Position) {
		for idle := false; !idle; {
			m := receive(t, c, k)
			if m.Channel == kernel.IOPub {
				ids, places = append(ids, m.Header.MsgID), append(places, place(t, m))
			}
			idle = m.Parent.MsgID == "two" && strings.Contains(string(m.Parts[kernel.PartContent]), `"idle"`)
		}
		return ids, places
	}
	idsA, placesA := read(a, v1{})
	idsB, placesB := read(b, newLegacy())
	require.Equal(t, idsA[len(idsA)-200:], idsB[len(idsB)-200:])
	require.Equal(t, placesA[len(placesA)-200:], placesB[len(placesB)-200:])
	for i := range placesA[1:] {
		require.Greater(t, placesA[i+1].Seq, placesA[i].Seq)
		require.Equal(t, placesA[0].Epoch, placesA[i+1].Epoch)
	}
	at := len(placesA) / 2
	again := s.dial(t, "?session_id=d&positions=1&since="+placesA[at].String(), subprotocolV1)
	ids, places := read(again, v1{})
	require.Equal(t, idsA[at+1:], ids)
	require.Equal(t, placesA[at+1:], places)
	m := receive(t, plain, v1{})
	require.NotContains(t, string(m.Parts[kernel.PartMetadata]), positionKey, "who does not ask gets the kernel's bytes")
}

// A notice's position is the place before it: what follows it may have lower numbers than the last that is missing.
func TestGapNoticeHasAPosition_P4(t *testing.T) {
	s := serve(t, nil)
	c := s.dial(t, "?session_id=me&positions=1", subprotocolV1)
	s.say(message(t, kernel.IOPub, "first", `{}`))
	s.gap(kernel.Gap{Dropped: 3, Reason: "why"})
	s.say(message(t, kernel.IOPub, "after", `{}`))
	require.Equal(t, uint64(1), place(t, receive(t, c, v1{})).Seq)
	notice := receive(t, c, v1{})
	require.Contains(t, string(notice.Parts[kernel.PartMetadata]), `"dropped":3`)
	require.Equal(t, uint64(1), place(t, notice).Seq)
	require.Equal(t, uint64(3), place(t, receive(t, c, v1{})).Seq)
}

// road is a network between client and server that can be cut: what is on the way is lost, and neither end hears of
// it.
type road struct {
	net.Listener
	to    string
	cut   chan struct{}
	conns sync.WaitGroup
}

func newRoad(t *testing.T, s *served) *road {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &road{Listener: l, to: strings.TrimPrefix(s.http.URL, "http://"), cut: make(chan struct{})}
	r.conns.Go(r.serve)
	t.Cleanup(func() {
		_ = l.Close()
		r.conns.Wait()
	})
	return r
}

// serve carries one connection.
func (r *road) serve() {
	client, err := r.Accept()
	if err != nil {
		return
	}
	defer client.Close()
	server, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer server.Close()
	var both sync.WaitGroup
	both.Go(func() { r.carry(server, client) })
	both.Go(func() { r.carry(client, server) })
	both.Wait()
	_, _ = r.Accept() // the connections stay as they are until the test ends
}

func (r *road) carry(from, to net.Conn) {
	buf := make([]byte, 4<<10)
	for {
		_ = from.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		n, err := from.Read(buf)
		select {
		case <-r.cut:
			return
		default:
		}
		if _, e := to.Write(buf[:n]); e != nil || err != nil && !isTimeout(err) {
			return
		}
	}
}

func isTimeout(err error) bool {
	n, ok := err.(net.Error)
	return ok && n.Timeout()
}

// dial connects over the road.
func (r *road) dial(t *testing.T, query string) *websocket.Conn {
	t.Helper()
	d := websocket.Dialer{Subprotocols: []string{subprotocolV1}}
	c, _, err := d.Dial("ws://"+r.Addr().String()+"/api/kernels/k/channels"+query, nil)
	require.NoError(t, err)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// What was written to a connection that had died is written again to the next one, and nothing else is: JupyterLab
// shows what it gets twice twice.
func TestWhatDiedOnTheWayComesAgain_P4(t *testing.T) {
	s := serve(t, nil)
	r := newRoad(t, s)
	first := r.dial(t, "?session_id=me")
	all := stream(t, 20)
	s.say(all[:10]...)
	for _, m := range all[:10] {
		same(t, m, receive(t, first, v1{}))
	}
	_, ended := keepReading(first, 10)
	place := func() (at, confirmed int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		c := s.clients["me"]
		return c.at, c.confirmed
	}
	require.Eventually(t, func() bool { _, confirmed := place(); return confirmed == 10 }, patience, time.Millisecond)

	close(r.cut)
	s.say(all[10:]...)
	require.Eventually(t, func() bool { at, _ := place(); return at == 20 }, patience, time.Millisecond, "they are written")
	second := s.dial(t, "?session_id=me", subprotocolV1)
	for _, m := range all[10:] {
		same(t, m, receive(t, second, v1{}))
	}
	_ = first.Close()
	<-ended
}

// A connection that dies before its client has answered the first ping has delivered nothing, whatever was written.
func TestWhatDiedBeforeTheFirstAnswerComesAgain_P4(t *testing.T) {
	s := serve(t, nil)
	r := newRoad(t, s)
	first := r.dial(t, "?session_id=me")
	close(r.cut)
	all := stream(t, 10)
	s.say(all...)
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.clients["me"].at == 10
	}, patience, time.Millisecond, "they are written")
	second := s.dial(t, "?session_id=me", subprotocolV1)
	for _, m := range all {
		same(t, m, receive(t, second, v1{}))
	}
	_ = first.Close()
}

// A server that stops asks its clients what they got before it says goodbye, and counts what they do not say as lost.
func TestStoppingServerAsksWhatCame_P4(t *testing.T) {
	s := serve(t, nil)
	reads, silent := s.dial(t, "?session_id=reads", subprotocolV1), s.dial(t, "?session_id=silent", subprotocolV1)
	_, ended := keepReading(reads, 10)
	s.say(stream(t, 10)...)
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.clients["reads"].at == 10 && s.clients["silent"].at == 10
	}, patience, time.Millisecond, "they are taken")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, s.server.CloseForRestart(ctx))
	require.True(t, websocket.IsCloseError(<-ended, websocket.CloseServiceRestart))
	require.Equal(t, 10, s.confirmed("reads"))
	require.Zero(t, s.confirmed("silent"))
	_ = silent.Close()
}

// keepReading reads on, so that pings are answered. The first channel is closed once that was done for one about the
// place seq; the second gets why reading ended.
func keepReading(c *websocket.Conn, seq uint64) (told <-chan struct{}, ended <-chan error) {
	tell, end := make(chan struct{}), make(chan error, 1)
	answer := c.PingHandler()
	said := false
	c.SetPingHandler(func(data string) error {
		err := answer(data)
		if len(data) == placeBytes && binary.BigEndian.Uint64([]byte(data)) >= seq && !said {
			said = true
			close(tell)
		}
		return err
	})
	go func() {
		for {
			if _, _, err := c.ReadMessage(); err != nil {
				end <- err
				return
			}
		}
	}()
	return tell, end
}

// A client that answers no pings, against the protocol, does not get everything again: what was written counts.
func TestClientThatAnswersNoPingsGetsNothingTwice(t *testing.T) {
	s := serve(t, func(c *Config) { c.PingInterval, c.PongTimeout = time.Millisecond, patience })
	first := s.dial(t, "?session_id=me", subprotocolV1)
	first.SetPingHandler(func(string) error { return nil })
	all := stream(t, 20)
	s.say(all[:10]...)
	for _, m := range all[:10] {
		same(t, m, receive(t, first, v1{}))
	}
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.clients["me"].confirmed == 10
	}, patience, time.Millisecond)
	second := s.dial(t, "?session_id=me", subprotocolV1)
	s.say(all[10:]...)
	for _, m := range all[10:] {
		same(t, m, receive(t, second, v1{}))
	}
}

// A connection that dies in the middle of a flood costs no message: the next one begins before the first that is
// missing, and not before the last that the client was known to have.
func TestFloodOverABrokenConnectionIsWhole_P4(t *testing.T) {
	s := startKernel(t)
	r := newRoad(t, s)
	first := r.dial(t, "?session_id=me&positions=1")
	var known uint64
	answer := first.PingHandler()
	got, last := 0, uint64(0)
	first.SetPingHandler(func(data string) error {
		if err := answer(data); err != nil {
			return err
		}
		return first.WriteControl(websocket.PingMessage, binary.BigEndian.AppendUint64(nil, last), time.Now().Add(patience))
	})
	first.SetPongHandler(func(data string) error { // the answer before it has come, too
		known = binary.BigEndian.Uint64([]byte(data))
		return nil
	})
	const lines = 12_000
	transmit(t, first, v1{}, executeRequest(t, "me", "one", "flood 12000 300"))
	for got < lines/3 {
		m := receive(t, first, v1{})
		if m.Header.MsgType == "stream" {
			got++
		}
		last = place(t, m).Seq
	}
	close(r.cut)
	second := s.dial(t, "?session_id=me&positions=1", subprotocolV1)
	repeated := 0
	for next := last; got < lines; {
		m := receive(t, second, v1{})
		p := place(t, m).Seq
		if p <= last {
			require.Greater(t, p, known)
			repeated++
			continue
		}
		require.Greater(t, p, next)
		next = p
		if m.Header.MsgType == "stream" {
			got++
		}
	}
	require.Less(t, repeated, lines/3)
}
