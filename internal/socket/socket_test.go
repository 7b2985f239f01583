package socket

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 60 * time.Second

// dial serves s to one client. ended is closed when Serve has returned.
func dial(t *testing.T, ctx context.Context, cfg Config, s Stream) (ws *websocket.Conn, ended chan struct{}) {
	t.Helper()
	ended = make(chan struct{})
	srv := httptest.NewServer(httpx.Handler(func(w http.ResponseWriter, r *http.Request) error {
		defer close(ended)
		return Serve(ctx, w, r, cfg, s)
	}))
	t.Cleanup(srv.Close)
	ws, res, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(srv.URL, "http"), nil)
	require.NoError(t, err)
	_ = res.Body.Close()
	t.Cleanup(func() { _ = ws.Close() })
	return ws, ended
}

// forever says nothing until its WebSocket ends.
func forever(ctx context.Context, _ func([]byte) error) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func closedWith(t *testing.T, ws *websocket.Conn, code int) {
	t.Helper()
	require.NoError(t, ws.SetReadDeadline(time.Now().Add(patience)))
	for {
		if _, _, err := ws.ReadMessage(); err != nil {
			require.True(t, websocket.IsCloseError(err, code), "%v", err)
			return
		}
	}
}

func await(t *testing.T, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		require.FailNow(t, "it did not end")
	}
}

func TestBothWays(t *testing.T) {
	heard := make(chan string, 1)
	ws, ended := dial(t, t.Context(), Config{}, Stream{
		In: func(text []byte) error { heard <- string(text); return nil },
		Out: func(ctx context.Context, send func([]byte) error) error {
			select {
			case text := <-heard:
				return send([]byte("you said " + text))
			case <-ctx.Done():
				return ctx.Err()
			}
		},
	})
	require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte("hello")))
	_, text, err := ws.ReadMessage()
	require.NoError(t, err)
	require.Equal(t, "you said hello", string(text))
	closedWith(t, ws, websocket.CloseNormalClosure)
	await(t, ended)
}

func TestEnds(t *testing.T) {
	t.Run("a message that is refused", func(t *testing.T) {
		ws, ended := dial(t, t.Context(), Config{}, Stream{Out: forever, In: func([]byte) error {
			return fault.New(fault.Invalid, "%s", strings.Repeat("ü", 100))
		}})
		require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte("x")))
		closedWith(t, ws, websocket.CloseInvalidFramePayloadData)
		await(t, ended)
	})
	t.Run("a message that is refused, while the other side takes its time to end", func(t *testing.T) {
		ws, ended := dial(t, t.Context(), Config{}, Stream{
			In: func([]byte) error { return fault.New(fault.Invalid, "no") },
			Out: func(ctx context.Context, send func([]byte) error) error {
				<-ctx.Done()
				<-time.After(closeWait + closeWait/2)
				return send(nil)
			},
		})
		require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte("x")))
		closedWith(t, ws, websocket.CloseInvalidFramePayloadData)
		_ = ws.Close()
		await(t, ended)
	})
	t.Run("a message that is too large", func(t *testing.T) {
		ws, ended := dial(t, t.Context(), Config{MaxMessageBytes: 10}, Stream{Out: forever})
		require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte("12345678901")))
		closedWith(t, ws, websocket.CloseMessageTooBig)
		await(t, ended)
	})
	t.Run("the server's end", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ws, ended := dial(t, ctx, Config{}, Stream{Out: forever})
		cancel()
		closedWith(t, ws, websocket.CloseGoingAway)
		await(t, ended)
	})
	t.Run("the server's end that comes before anything else", func(t *testing.T) {
		for range 20 {
			ctx, cancel := context.WithCancel(t.Context())
			go cancel()
			ws, ended := dial(t, ctx, Config{}, Stream{Out: forever})
			closedWith(t, ws, websocket.CloseGoingAway)
			_ = ws.Close()
			await(t, ended)
		}
	})
	t.Run("the server's end while a client takes nothing", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		text, sent := []byte(strings.Repeat("x", 1<<20)), make(chan struct{}, 100)
		_, ended := dial(t, ctx, Config{WriteTimeout: time.Hour}, Stream{Out: func(_ context.Context, send func([]byte) error) error {
			for {
				if err := send(text); err != nil {
					return err
				}
				sent <- struct{}{}
			}
		}})
		<-sent // the next ones fill the buffers between, and then hang
		cancel()
		await(t, ended)
	})
	t.Run("a client that goes without a word", func(t *testing.T) {
		ws, ended := dial(t, t.Context(), Config{}, Stream{Out: forever})
		require.NoError(t, ws.NetConn().Close())
		await(t, ended)
	})
	t.Run("a client that says goodbye", func(t *testing.T) {
		ws, ended := dial(t, t.Context(), Config{}, Stream{Out: forever})
		bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
		require.NoError(t, ws.WriteMessage(websocket.CloseMessage, bye))
		closedWith(t, ws, websocket.CloseNormalClosure)
		await(t, ended)
	})
	t.Run("a client that no longer answers", func(t *testing.T) {
		_, ended := dial(t, t.Context(), Config{PingInterval: time.Millisecond}, Stream{Out: forever}) // it reads nothing
		await(t, ended)
	})
}

func TestClientThatAnswersPingsStays(t *testing.T) {
	pings := make(chan struct{}, 100)
	ws, ended := dial(t, t.Context(), Config{PingInterval: 50 * time.Millisecond}, Stream{Out: forever})
	ws.SetPingHandler(func(data string) error {
		pings <- struct{}{}
		return ws.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(patience))
	})
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _, _ = ws.ReadMessage()
	}()
	for range 3 * missedPings {
		<-pings
	}
	select {
	case <-ended:
		require.FailNow(t, "it was cut off")
	default:
	}
	require.NoError(t, ws.NetConn().Close())
	await(t, ended)
	await(t, read)
}

func TestRequestThatIsNoWebSocket(t *testing.T) {
	srv := httptest.NewServer(httpx.Handler(func(w http.ResponseWriter, r *http.Request) error {
		return Serve(r.Context(), w, r, Config{}, Stream{Out: forever})
	}))
	defer srv.Close()
	for _, header := range []http.Header{{}, {"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"7"}}} {
		req, err := http.NewRequest(http.MethodGet, srv.URL, nil)
		require.NoError(t, err)
		req.Header = header
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		_ = res.Body.Close()
		require.Equal(t, http.StatusBadRequest, res.StatusCode)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestEveryKindHasACloseCode(t *testing.T) {
	for _, k := range fault.Kinds() {
		require.NotZero(t, closeCodes[k], "kind %d", k)
	}
}
