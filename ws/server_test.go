package ws

import (
	"context"
	"encoding/binary"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

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
		"unknown, no ws":   {"/api/kernels/x/channels", func(h http.Header) { h.Del("Upgrade") }, 404, "kernel x"},
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
		{ClientSession: "me", Since: &kernel.Position{Epoch: 0x1f, Seq: 42}, Confirm: true, Borrow: true}, {Confirm: true, Borrow: true},
	}, s.options)
}

// As when a page reconnects: two sockets with one session id in quick succession; the second is served, the first goes
// with a code after which JupyterLab does not reconnect, and no message is lost between them (P4).
func TestTakeOver_P4(t *testing.T) {
	s := serve(t, nil)
	first := s.dial(t, "?session_id=me", subprotocolV1)
	ms := stream(t, 20)
	s.say(ms[:10]...)
	for _, m := range ms[:10] {
		same(t, m, receive(t, first, v1{}))
	}
	told, ended := keepReading(first, 10)
	<-told
	require.Eventually(t, func() bool { return s.confirmed("me") == 10 }, patience, time.Millisecond)
	second := s.dial(t, "?session_id=me", "")
	var closed *websocket.CloseError
	require.ErrorAs(t, <-ended, &closed)
	require.Equal(t, closeNormal, closed.Code)
	require.Contains(t, closed.Text, "taken over")
	s.say(ms[10:]...)
	for _, m := range ms[10:] {
		same(t, m, receive(t, second, newLegacy()))
	}
	s.counted(t, "nbserv_websocket_cut_total", "taken_over", 1.0)
}

// Clients of the default protocol are let in when the kernel is ready, those that offer v1 at once.
func TestHandshakeOfTheDefaultProtocolWaitsForTheKernel(t *testing.T) {
	s := serve(t, nil)
	asked, let := make(chan struct{}), make(chan struct{})
	s.ready = func(ctx context.Context) error {
		close(asked)
		select {
		case <-let:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	url := "ws" + strings.TrimPrefix(s.http.URL, "http") + "/api/kernels/k/channels"
	page := websocket.Dialer{Subprotocols: []string{subprotocolV1}}
	c, _, err := page.Dial(url, nil)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	done := make(chan error, 1)
	go func() {
		c, _, err := websocket.DefaultDialer.Dial(url, nil)
		if err == nil {
			err = c.Close()
		}
		done <- err
	}()
	select {
	case <-asked:
	case err := <-done:
		require.FailNow(t, "the handshake did not wait", "%v", err)
	}
	require.Empty(t, done)
	close(let)
	require.NoError(t, <-done)
}

// Connections of one session that waited for the kernel attach in the order in which they came, whoever is let go first:
// the last one is the one that its client uses.
func TestLastToComeIsLastToAttach(t *testing.T) {
	for firstToGo := 1; firstToGo <= 2; firstToGo++ {
		s := serve(t, nil)
		let := []chan struct{}{1: make(chan struct{}), 2: make(chan struct{})}
		waiting := make(chan int, 1)
		came := 0 // the second comes when the first waits
		s.ready = func(context.Context) error {
			came++
			n := came
			waiting <- n
			<-let[n]
			return nil
		}
		url := "ws" + strings.TrimPrefix(s.http.URL, "http") + "/api/kernels/k/channels?session_id=one"
		conns := []chan *websocket.Conn{1: make(chan *websocket.Conn, 1), 2: make(chan *websocket.Conn, 1)}
		for n := 1; n <= 2; n++ {
			go func() {
				c, _, _ := websocket.DefaultDialer.Dial(url, nil) // nil when it is refused
				conns[n] <- c
			}()
			require.Equal(t, n, <-waiting)
		}
		got := make([]*websocket.Conn, 3)
		for _, n := range []int{firstToGo, 3 - firstToGo} {
			close(let[n])
			got[n] = <-conns[n]
		}
		require.NotNil(t, got[2])
		if firstToGo == 1 {
			code, _ := closed(t, got[1])
			require.Equal(t, closeNormal, code)
		} else {
			require.Nil(t, got[1], "a later one is there")
		}
		m := stream(t, 1)[0]
		s.say(m)
		same(t, m, receive(t, got[2], newLegacy()))
		require.NoError(t, got[2].Close())
	}
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

// P9, S9: a frame's header may claim what it likes; memory goes to what has come.
func TestClaimedLengthIsNotAllocated_P9(t *testing.T) {
	s := serve(t, nil)
	const conns, claim = 50, 60 << 20
	before := inUse()
	for range conns {
		c := s.dial(t, "", subprotocolV1)
		head := binary.BigEndian.AppendUint64([]byte{finBit | opBinary, 0x80 | len127}, claim)
		_, err := c.NetConn().Write(append(head, make([]byte, 4+100)...))
		require.NoError(t, err)
	}
	s.counted(t, "nbserv_websocket_connections", "", conns)
	require.Less(t, int64(inUse())-int64(before), int64(claim), "all of them together take less than one claims")
}

// P9: an idle WebSocket costs at most 60 KiB, HTTP's part included.
func TestIdleWebSocketIsSmall_P9(t *testing.T) {
	s := serve(t, nil)
	d := startDrains(t, s)
	const count = 300
	d.order(t, "open -%s 1", subprotocolV1)
	before := inUse()
	d.order(t, "open -%s %d", subprotocolV1, count)
	s.say(stream(t, 300)...) // idle, but not for ever
	d.order(t, "read 300")
	per := (int64(inUse()) - int64(before)) / count
	t.Logf("%d bytes each", per)
	require.Less(t, per, int64(60<<10))
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

func TestClosedTellsWhoSaidGoodbye(t *testing.T) {
	type end struct {
		kernel, session string
		left            bool
	}
	ends := make(chan end, 3)
	s := serve(t, func(c *Config) {
		c.Closed = func(kernel, session string, left bool) { ends <- end{kernel, session, left} }
	})
	next := func() end {
		select {
		case e := <-ends:
			return e
		case <-time.After(patience):
			require.FailNow(t, "nobody was told")
			return end{}
		}
	}
	page := s.dial(t, "?session_id=page", subprotocolV1)
	require.NoError(t, page.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseGoingAway, ""), time.Now().Add(patience)))
	require.Equal(t, end{"k", "page", true}, next())
	laptop := s.dial(t, "?session_id=laptop", subprotocolV1)
	require.NoError(t, laptop.NetConn().Close())
	require.Equal(t, end{"k", "laptop", false}, next())
	s.dial(t, "", subprotocolV1).Close() // nobody could come back as this one
	require.Empty(t, ends)
}

func TestConfigValidate(t *testing.T) {
	require.NoError(t, Config{}.Validate())
	require.NoError(t, Config{PingInterval: -1}.Validate())
	for flag, c := range map[string]Config{
		"--ws-write-timeout":     {WriteTimeout: -1},
		"PongTimeout":            {PongTimeout: time.Second},
		"--ws-max-message-bytes": {MaxMessageBytes: 100},
		"MaxBatch":               {MaxBatch: -1},
		"StopCode":               {StopCode: 1000},
	} {
		err := c.Validate()
		require.Equal(t, fault.Invalid, fault.KindOf(err), flag)
		require.Contains(t, err.Error(), flag)
	}
}
