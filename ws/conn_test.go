package ws

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
)

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
	s := serve(t, func(c *Config) { c.PingInterval, c.PongTimeout = 20*time.Millisecond, time.Second })
	c := s.dial(t, "", subprotocolV1)
	began := time.Now()
	pings := make(chan struct{}, 1)
	answer := c.PingHandler()
	c.SetPingHandler(func(data string) error {
		select {
		case pings <- struct{}{}:
		default:
		}
		return answer(data)
	})
	pongs := make(chan string, 1)
	c.SetPongHandler(func(data string) error {
		pongs <- data
		return nil
	})
	require.NoError(t, c.WriteControl(websocket.PingMessage, []byte("hello"), time.Now().Add(patience)))
	ended := make(chan error, 1)
	go func() {
		_, _, err := c.ReadMessage() // until the test hangs up
		ended <- err
	}()
	for heard := ""; heard == "" || time.Since(began) < 3*s.server.cfg.PongTimeout/2; { // a silent client would be gone
		select {
		case heard = <-pongs:
			require.Equal(t, "hello", heard)
		case <-pings:
		case err := <-ended:
			require.FailNow(t, "the connection ended", "%v", err)
		}
	}
	require.Equal(t, 1, s.attached())
	require.NoError(t, c.Close())
	<-ended
}

// Reads over TLS survive the deadlines that time the pings, and the end of one is told as over plain TCP.
func TestPingsAndCloseOverTLS(t *testing.T) {
	s := serveTLS(t, func(c *Config) { c.PingInterval, c.PongTimeout = 5*time.Millisecond, patience })
	c := s.dial(t, "", subprotocolV1)
	pings := 0
	answer := c.PingHandler()
	c.SetPingHandler(func(data string) error {
		if pings++; pings == 5 {
			s.say(message(t, kernel.IOPub, "after five", `{}`))
		}
		return answer(data)
	})
	require.Equal(t, "after five", receive(t, c, v1{}).Header.MsgID)
	m := message(t, kernel.Shell, "a", `{}`)
	transmit(t, c, v1{}, m)
	same(t, m, s.next(t))
	s.end()
	code, _ := closed(t, c)
	require.Equal(t, closeKernelGone, code)
}

// A stalled client over TLS, whose connection tells its progress only between writes.
func TestStalledClientOverTLS_P10(t *testing.T) {
	s := serveTLS(t, func(c *Config) { c.WriteTimeout = 100 * time.Millisecond })
	s.dial(t, "?session_id=stuck", subprotocolV1)
	s.flood(t, 32<<20)
	s.counted(t, "nbserv_websocket_cut_total", "takes_no_bytes", 1)
	require.Zero(t, s.attached())
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
			s := serve(t, func(c *Config) { c.PingInterval, c.PongTimeout = time.Millisecond, patience })
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
