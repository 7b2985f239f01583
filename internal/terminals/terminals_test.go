package terminals

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gorilla/mux"
	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nbserv/nbserv/internal/socket"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waits for what a shell does; it is never reached unless something is broken.
const patience = 60 * time.Second

func serve(t *testing.T, change func(*Config)) (*Manager, *httptest.Server) {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Shell = []string{"/bin/sh"}
	cfg.Environ = []string{"PATH=" + os.Getenv("PATH"), "PS1=$ ", "HOME=" + t.TempDir()}
	if change != nil {
		change(&cfg)
	}
	m := New(cfg)
	r := mux.NewRouter()
	api := &API{Terminals: m, BaseURL: "/", Sockets: socket.Config{}}
	api.Register(r)
	srv := httptest.NewServer(r)
	t.Cleanup(func() {
		m.Close()
		api.Wait()
		srv.Close()
	})
	return m, srv
}

// page is a client of one terminal.
type page struct {
	t    *testing.T
	ws   *websocket.Conn
	seen strings.Builder
}

func open(t *testing.T, srv *httptest.Server, name string) *page {
	t.Helper()
	ws, res, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(srv.URL, "http")+"/terminals/websocket/"+name, nil)
	require.NoError(t, err)
	_ = res.Body.Close()
	t.Cleanup(func() { _ = ws.Close() })
	p := &page{t: t, ws: ws}
	require.Equal(t, "setup", p.next()[0])
	return p
}

func (p *page) next() []any {
	p.t.Helper()
	require.NoError(p.t, p.ws.SetReadDeadline(time.Now().Add(patience)))
	var m []any
	require.NoError(p.t, p.ws.ReadJSON(&m))
	return m
}

func (p *page) say(parts ...any) {
	p.t.Helper()
	require.NoError(p.t, p.ws.WriteJSON(parts))
}

// until reads until text was printed.
func (p *page) until(text string) {
	p.t.Helper()
	for !strings.Contains(p.seen.String(), text) {
		m := p.next()
		require.Equal(p.t, "stdout", m[0], "waiting for %q after %q", text, p.seen.String())
		p.seen.WriteString(m[1].(string))
	}
}

func request(t *testing.T, method, url, body string, want int) []byte {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	require.NoError(t, err)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	var raw json.RawMessage
	if res.ContentLength != 0 {
		require.NoError(t, json.NewDecoder(res.Body).Decode(&raw))
	}
	require.Equal(t, want, res.StatusCode, "%s", raw)
	return raw
}

func TestTerminalFromCreateToDelete(t *testing.T) {
	_, srv := serve(t, nil)
	require.JSONEq(t, "[]", string(request(t, "GET", srv.URL+"/api/terminals", "", 200)))
	var created model
	require.NoError(t, json.Unmarshal(request(t, "POST", srv.URL+"/api/terminals", "", 200), &created))
	require.Equal(t, "1", created.Name)

	p := open(t, srv, "1")
	p.say("stdin", "echo $((6*7))-ünï $TERM\r")
	p.until("42-ünï xterm-256color")

	require.Contains(t, string(request(t, "GET", srv.URL+"/api/terminals/1", "", 200)), `"name":"1"`)
	request(t, "DELETE", srv.URL+"/api/terminals/1", "", 204)
	request(t, "GET", srv.URL+"/api/terminals/1", "", 404)
	request(t, "DELETE", srv.URL+"/api/terminals/1", "", 404)
	for m := p.next(); m[0] != "disconnect"; m = p.next() {
	}
	_, _, err := p.ws.ReadMessage()
	require.True(t, websocket.IsCloseError(err, websocket.CloseNormalClosure), "%v", err)
}

func TestNamesAndFolders(t *testing.T) {
	dir := t.TempDir()
	_, srv := serve(t, func(c *Config) {
		c.MaxTerminals = 2
		c.Dir = func(name string) string { return filepath.Join(dir, name) }
	})
	require.NoError(t, os.Mkdir(filepath.Join(dir, "sub"), 0o700))
	request(t, "POST", srv.URL+"/api/terminals", `{"name": "mine", "cwd": "sub"}`, 200)
	p := open(t, srv, "mine")
	p.say("stdin", "echo =$(pwd)=\r")
	p.until("=" + filepath.Join(dir, "sub") + "=")

	t.Run("a second create of one name gives the same", func(t *testing.T) {
		require.Contains(t, string(request(t, "POST", srv.URL+"/api/terminals", `{"name": "mine"}`, 200)), `"mine"`)
		require.Len(t, decode[[]model](t, request(t, "GET", srv.URL+"/api/terminals", "", 200)), 1)
	})
	t.Run("bad names and bodies", func(t *testing.T) {
		request(t, "POST", srv.URL+"/api/terminals", `{"name": "../x"}`, 400)
		request(t, "POST", srv.URL+"/api/terminals", `{"name": 3}`, 400)
		request(t, "POST", srv.URL+"/api/terminals", `[`, 400)
	})
	t.Run("the limit", func(t *testing.T) {
		request(t, "POST", srv.URL+"/api/terminals", `{}`, 200)
		request(t, "POST", srv.URL+"/api/terminals", `{}`, 503)
	})
	t.Run("no terminal", func(t *testing.T) {
		_, res, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(srv.URL, "http")+"/terminals/websocket/none", nil)
		require.Error(t, err)
		require.Equal(t, 404, res.StatusCode)
		_ = res.Body.Close()
		request(t, "GET", srv.URL+"/terminals/websocket/mine", "", 400)
	})
}

func decode[T any](t *testing.T, raw []byte) (v T) {
	t.Helper()
	require.NoError(t, json.Unmarshal(raw, &v))
	return v
}

func TestSecondPageSeesThePastAndTypesToo(t *testing.T) {
	_, srv := serve(t, nil)
	request(t, "POST", srv.URL+"/api/terminals", "", 200)
	first := open(t, srv, "1")
	first.say("stdin", "echo before-$((1+1)); printf '\\033[6n'; echo after\r")
	first.until("before-2")
	first.until("\x1b[6n")
	first.until("after\r\n")

	second := open(t, srv, "1")
	second.until("before-2")
	second.until("after\r\n")
	require.NotContains(t, second.seen.String(), "\x1b[6n", "a query of the past must not be answered again")
	second.say("stdin", "echo both-$((2+2))\r")
	first.until("both-4")
	second.until("both-4")
}

func TestSizeIsOfTheSmallestPage(t *testing.T) {
	_, srv := serve(t, nil)
	request(t, "POST", srv.URL+"/api/terminals", "", 200)
	big, small := open(t, srv, "1"), open(t, srv, "1")
	big.say("set_size", 60, 200)
	big.say("set_size", nil, nil)
	small.say("set_size", 30, 90, 400, 800)
	small.say("stdin", "stty size\r") // its own messages are obeyed in order
	small.until("30 90")
	require.NoError(t, small.ws.Close())
	big.say("stdin", "while [ \"$(stty size)\" != '60 200' ]; do sleep 0.01; done; echo grown-$((1+1))\r")
	big.until("grown-2")
}

func TestDeleteEndsTheWholeSession_P11(t *testing.T) {
	dir := t.TempDir()
	_, srv := serve(t, func(c *Config) { c.Dir = func(string) string { return dir } })
	request(t, "POST", srv.URL+"/api/terminals", "", 200)
	p := open(t, srv, "1")
	p.say("stdin", "nohup sh -c 'trap \"\" HUP TERM; echo $$ >new; mv new pid; exec sleep 1000' & wait\r")
	var pid string
	require.Eventually(t, func() bool {
		raw, err := os.ReadFile(filepath.Join(dir, "pid"))
		pid = strings.TrimSpace(string(raw))
		return err == nil
	}, patience, time.Millisecond)
	require.DirExists(t, "/proc/"+pid)
	request(t, "DELETE", srv.URL+"/api/terminals/1", "", 204)
	require.Eventually(t, func() bool {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ")
	}, patience, time.Millisecond)
}

func TestShellThatExitsEndsItsTerminal(t *testing.T) {
	m, srv := serve(t, nil)
	request(t, "POST", srv.URL+"/api/terminals", "", 200)
	p := open(t, srv, "1")
	p.say("stdin", "echo last words; exit\r")
	p.until("last words\r\n")
	for msg := p.next(); msg[0] != "disconnect"; msg = p.next() {
	}
	require.Eventually(t, func() bool { return len(m.List()) == 0 }, patience, time.Millisecond)
}

func TestFloodIsWhole_P4(t *testing.T) {
	_, srv := serve(t, nil)
	request(t, "POST", srv.URL+"/api/terminals", "", 200)
	p := open(t, srv, "1")
	p.say("stdin", "i=0; while [ $i -lt 200 ]; do i=$((i+1)); yes 0123456789abcdef-$i- | head -1000; done; echo fini''shed\r")
	p.until("finished")
	for _, line := range []string{"-1-", "-100-", "-200-"} {
		require.Equal(t, 1000, strings.Count(p.seen.String(), "def"+line+"\r\n"), line)
	}
	require.NotContains(t, p.seen.String(), "too fast")
}

func TestStuckPageIsLeftBehind_P10(t *testing.T) {
	_, srv := serve(t, nil)
	request(t, "POST", srv.URL+"/api/terminals", "", 200)
	open(t, srv, "1") // reads nothing more
	p := open(t, srv, "1")
	p.say("stdin", "yes 0123456789abcdef0123456789abcdef | head -300000; echo fini''shed\r")
	p.until("finished")
}

func TestBadMessagesCostTheirSenderOnly_P13(t *testing.T) {
	_, srv := serve(t, nil)
	request(t, "POST", srv.URL+"/api/terminals", "", 200)
	good := open(t, srv, "1")
	for _, bad := range []string{`{`, `[]`, `{"a":1}`, `[1]`, `["stdin"]`, `["stdin", 7]`} {
		p := open(t, srv, "1")
		require.NoError(t, p.ws.WriteMessage(websocket.TextMessage, []byte(bad)))
		var err error
		for err == nil {
			_, _, err = p.ws.ReadMessage()
		}
		require.True(t, websocket.IsCloseError(err, websocket.CloseInvalidFramePayloadData), "%s: %v", bad, err)
	}
	good.say("dance")
	good.say("set_size", -1, 1e9)
	good.say("stdin", "echo still-$((1+1))\r")
	good.until("still-2")
}

func TestInactiveTerminalIsCulled(t *testing.T) {
	m, _ := serve(t, func(c *Config) {
		c.CullInactiveTimeout, c.CullInterval = time.Nanosecond, time.Millisecond
	})
	_, err := m.Create("", "")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var culler sync.WaitGroup
	culler.Go(func() { m.Run(ctx) })
	require.Eventually(t, func() bool { return len(m.List()) == 0 }, patience, time.Millisecond)
	cancel()
	culler.Wait()
}

func FuzzScroll(f *testing.F) {
	f.Add([]byte("one\ntwo\n"), uint64(2), 5)
	f.Add([]byte("äöü\xff"), uint64(0), 3)
	f.Fuzz(func(t *testing.T, text []byte, at uint64, limit int) {
		if limit < utf8.UTFMax || limit > 1<<20 {
			return
		}
		var s scroll
		s.write(text)
		at = min(at, s.end)
		var all []byte
		for place := at; ; {
			chunk, next, lost := s.from(place, limit)
			require.Zero(t, lost)
			require.LessOrEqual(t, len(chunk), limit)
			all = append(all, chunk...)
			if next == place {
				break
			}
			place = next
		}
		require.Equal(t, string(text[at:]), string(all))
	})
}

func TestScrollKeepsTheEnd(t *testing.T) {
	var s scroll
	line := strings.Repeat("x", 99) + "\n"
	for range 5 * scrollBytes / len(line) {
		s.write([]byte(line))
	}
	require.LessOrEqual(t, cap(s.buf), 4*scrollBytes)
	text, next, lost := s.from(0, 1000)
	require.Equal(t, strings.Repeat(line, 10), string(text), "it begins with a line")
	require.Equal(t, next, lost+uint64(len(text)))
	require.InDelta(t, float64(s.end-scrollBytes), float64(lost), 100)
}

func TestPartialCharacters(t *testing.T) {
	for text, want := range map[string]int{"": 0, "a": 0, "ä": 0, "\xc3": 1, "a\xe2\x82": 2, "\xf0\x9f\x98": 3, "\xff": 0, "\x80\x80\x80\x80": 0} {
		require.Equal(t, want, partial([]byte(text)), "%q", text)
	}
}
