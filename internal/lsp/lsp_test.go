package lsp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/mux"
	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/socket"
)

// patience bounds waits for what a process does; it is never reached unless something is broken.
const patience = 60 * time.Second

// site is a server of language servers, one of which is the fake one.
type site struct {
	t       *testing.T
	url     string
	servers *Servers
	log     *logBuffer
}

type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func serve(t *testing.T, change func(*Config)) *site {
	t.Helper()
	home := t.TempDir()
	s := &site{t: t, log: &logBuffer{}}
	cfg := DefaultConfig()
	cfg.Find = false
	cfg.Dir = home
	cfg.Env = map[string]string{"HOME": home, "PATH": os.Getenv("PATH"), "JUPYTER_CONFIG_DIR": filepath.Join(home, "config")}
	cfg.Environ = []string{"PATH=" + os.Getenv("PATH"), "BASE=base"}
	cfg.Files = []string{filepath.Join(home, "fake.json")}
	exe, err := os.Executable()
	require.NoError(t, err)
	write(t, cfg.Files[0], fmt.Sprintf(`{"LanguageServerManager": {"language_servers": {"fake": {"argv": [%q], "version": 2, "languages": ["fake"],
		"display_name": "Fake", "env": {%q: "1", "EXTRA": "of ${BASE}, $$5 and ${NONE}"}}}}}`, exe, fakeVariable))
	cfg.Logger = slog.New(slog.NewTextHandler(s.log, nil))
	if change != nil {
		change(&cfg)
	}
	s.servers = New(cfg)
	r := mux.NewRouter()
	(&API{Servers: s.servers, Sockets: socket.Config{WriteTimeout: 2 * time.Second}}).Register(r)
	srv := httptest.NewServer(r)
	s.url = srv.URL
	t.Cleanup(func() {
		s.servers.Close()
		srv.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return s
}

func write(t *testing.T, file, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o700))
}

// status is the answer of /lsp/status.
type status struct {
	Version  int
	Sessions map[string]struct {
		HandlerCount int     `json:"handler_count"`
		Status       string  `json:"status"`
		FromServer   *string `json:"last_server_message_at"`
		FromClient   *string `json:"last_handler_message_at"`
		Spec         Spec
	}
	Specs map[string]Spec
}

func (s *site) status() (st status) {
	s.t.Helper()
	res, err := http.Get(s.url + "/lsp/status")
	require.NoError(s.t, err)
	defer res.Body.Close()
	require.Equal(s.t, http.StatusOK, res.StatusCode)
	require.NoError(s.t, json.NewDecoder(res.Body).Decode(&st))
	return st
}

// page is a client of one language server.
type page struct {
	t  *testing.T
	ws *websocket.Conn
}

func (s *site) open(name string) *page {
	s.t.Helper()
	ws, res, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(s.url, "http")+"/lsp/ws/"+name, nil)
	require.NoError(s.t, err)
	_ = res.Body.Close()
	s.t.Cleanup(func() { _ = ws.Close() })
	return &page{s.t, ws}
}

func (p *page) say(text string) {
	p.t.Helper()
	require.NoError(p.t, p.ws.WriteMessage(websocket.TextMessage, []byte(text)))
}

func (p *page) hear() string {
	p.t.Helper()
	require.NoError(p.t, p.ws.SetReadDeadline(time.Now().Add(patience)))
	kind, text, err := p.ws.ReadMessage()
	require.NoError(p.t, err)
	require.Equal(p.t, websocket.TextMessage, kind)
	return string(text)
}

// closed waits for the end of the WebSocket, and gives its reason.
func (p *page) closed(code int) string {
	p.t.Helper()
	require.NoError(p.t, p.ws.SetReadDeadline(time.Now().Add(patience)))
	for {
		if _, _, err := p.ws.ReadMessage(); err != nil {
			var end *websocket.CloseError
			require.ErrorAs(p.t, err, &end)
			require.Equal(p.t, code, end.Code, "%v", end)
			_ = p.ws.Close() // which the server waits for, for a moment
			return end.Text
		}
	}
}

// pid asks the fake language server, with method, for the number of a process.
func (p *page) pid(method string) (pid int) {
	p.t.Helper()
	p.say(`{"method": "` + method + `"}`)
	var m struct{ PID int }
	require.NoError(p.t, json.Unmarshal([]byte(p.hear()), &m))
	require.NotZero(p.t, m.PID)
	return m.PID
}

// gone waits until a process has ended. One that this process is not the parent of may be left as a zombie.
func gone(t *testing.T, pid int) {
	t.Helper()
	require.Eventually(t, func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(stat), ") Z ")
	}, patience, time.Millisecond)
}

func TestFromTheFirstMessageToTheLast(t *testing.T) {
	s := serve(t, nil)
	st := s.status()
	require.Equal(t, 2, st.Version)
	require.Equal(t, "not_started", st.Sessions["fake"].Status)
	require.Nil(t, st.Sessions["fake"].FromServer)
	require.Equal(t, Spec{Argv: []string{""}, Env: nil, Languages: []string{"fake"}, Version: 2, DisplayName: "Fake"}, st.Specs["fake"],
		"commands and environments are not for pages")

	p := s.open("fake")
	for _, text := range []string{`{"method": "echo", "id": 1.0, "ä": "\u2028€"}`, ` {"method": "echo"}`, `{"method": "greet"}`} {
		p.say(text)
		require.Equal(t, text, p.hear(), "the bytes of a message are as they were sent")
	}
	p.say(`{"method": "where"}`)
	require.Contains(t, p.hear(), `"extra": "of base, $5 and ${NONE}"`)
	st = s.status()
	require.Equal(t, "started", st.Sessions["fake"].Status)
	require.Equal(t, 1, st.Sessions["fake"].HandlerCount)
	for _, at := range []*string{st.Sessions["fake"].FromServer, st.Sessions["fake"].FromClient} {
		_, err := time.Parse(time.RFC3339Nano, *at)
		require.NoError(t, err)
	}

	require.NoError(t, p.ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")))
	p.closed(websocket.CloseNormalClosure)
	require.Eventually(t, func() bool { return s.status().Sessions["fake"].Status == "stopped" }, patience, time.Millisecond)
	require.NotContains(t, s.log.String(), "level=WARN")
}

// Answers carry numbers that each page counts for itself.
func TestPagesDoNotHearEachOther(t *testing.T) {
	s := serve(t, nil)
	a, b := s.open("fake"), s.open("fake")
	require.NotEqual(t, a.pid("where"), b.pid("where"))
	a.say(`{"method": "echo", "id": 1, "from": "a"}`)
	require.Contains(t, a.hear(), `"from": "a"`)
	b.say(`{"method": "echo", "id": 1, "from": "b"}`)
	require.Contains(t, b.hear(), `"from": "b"`)
	require.Equal(t, 2, s.status().Sessions["fake"].HandlerCount)
}

func TestNothingIsLeftOfALanguageServer_P11(t *testing.T) {
	for name, leave := range map[string]func(*site, *page){
		"its page goes":    func(_ *site, p *page) { _ = p.ws.Close() },
		"the server stops": func(s *site, _ *page) { s.servers.Close() },
		"it dies":          func(_ *site, p *page) { p.say(`{"method": "die"}`) },
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, nil)
			p := s.open("fake")
			itself, child := p.pid("where"), p.pid("child")
			leave(s, p)
			gone(t, itself)
			gone(t, child)
		})
	}
}

func TestDeathIsExplained_P12(t *testing.T) {
	s := serve(t, nil)
	p := s.open("fake")
	p.say(`{"method": "die"}`)
	require.Equal(t, "the language server fake ended: exit status 3", p.closed(websocket.CloseInternalServerErr))
	require.Eventually(t, func() bool { return s.status().Sessions["fake"].Status == "stopped" }, patience, time.Millisecond)
	require.Contains(t, s.log.String(), "last words")
	require.Contains(t, s.log.String(), "exit status 3")

	p = s.open("fake") // another one
	require.NotZero(t, p.pid("where"))
	p.say(`{"method": "exit"}`)
	require.Equal(t, "the language server fake ended: exit status 0", p.closed(websocket.CloseNormalClosure))
}

func TestBadMessagesCostTheirSenderOnly_P13(t *testing.T) {
	s := serve(t, nil)
	good := s.open("fake")
	for _, bad := range []string{"", "{", "[]", "null", `"x"`, "{}{}", "{\"a\": \"\xff\"}", "Content-Length: 2\r\n\r\n{}"} {
		p := s.open("fake")
		p.say(bad)
		require.Equal(t, "a message is one JSON object", p.closed(websocket.CloseInvalidFramePayloadData), "%q", bad)
	}
	p := s.open("fake")
	p.say(strings.Repeat("x", maxFromPage+1))
	p.closed(websocket.CloseMessageTooBig)
	for bad, why := range map[string]string{
		"Content-Length: -1\r\n\r\n":          "it gave a message the length",
		"Content-Length: 9999999999\r\n\r\n":  "it sent a message of 9999999999 bytes",
		"Content-Length: many\r\n\r\n":        "it gave a message the length",
		"Content-Length: 2\r\n\r\n[]":         "it sent what is no JSON object",
		"Content-Length: 3\r\n\r\n\xff{}":     "it sent what is no JSON object",
		strings.Repeat("no message\n", 1<<17): "that are no message",
	} {
		p := s.open("fake")
		raw, err := json.Marshal(map[string]string{"method": "raw", "text": strings.ReplaceAll(bad, "\xff", "\u00ff")})
		require.NoError(t, err)
		p.say(string(raw))
		require.Contains(t, p.closed(websocket.CloseInternalServerErr), why, "%.40q", bad)
		require.Contains(t, s.log.String(), why)
	}
	good.say(`{"method": "echo"}`)
	require.Equal(t, `{"method": "echo"}`, good.hear())
}

// A language server that takes nothing, and a page that takes nothing, hold up nobody else, and are cut off.
func TestStuckOnesAreCutOff_P9_P10(t *testing.T) {
	s := serve(t, func(c *Config) { c.InputTimeout = 50 * time.Millisecond })
	p := s.open("fake")
	p.say(`{"method": "stop"}`)
	p.hear()
	for range 3 {
		_ = p.ws.WriteMessage(websocket.TextMessage, []byte(`{"text": "`+strings.Repeat("x", 1<<20)+`"}`)) // it may be closed already
	}
	require.Equal(t, "the language server fake takes no input", p.closed(websocket.CloseTryAgainLater))

	deaf := s.open("fake")
	pid := deaf.pid("where")
	deaf.say(`{"method": "flood"}`)
	good := s.open("fake")
	good.say(`{"method": "echo"}`)
	good.hear()
	gone(t, pid)
}

// What is switched off is told as nothing.
func TestNoLanguageServers(t *testing.T) {
	r := mux.NewRouter()
	(&API{}).Register(r)
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest("GET", "/lsp/status", nil))
	require.JSONEq(t, `{"version": 2, "sessions": {}, "specs": {}}`, w.Body.String())
	w = httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest("GET", "/lsp/ws/pylsp", nil))
	require.Equal(t, http.StatusNotFound, w.Code)
}

func TestWhoGetsNoLanguageServer(t *testing.T) {
	s := serve(t, func(c *Config) {
		c.Max = 1
		write(t, c.Files[0]+"2", `{"LanguageServerManager": {"language_servers": {"none": {"argv": ["/none/server"], "version": 2, "languages": ["x"]}}}}`)
		c.Files = append(c.Files, c.Files[0]+"2")
	})
	refused := func(name string, want int, why string) {
		t.Helper()
		_, res, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(s.url, "http")+"/lsp/ws/"+name, nil)
		require.Error(t, err)
		var body struct{ Message string }
		require.NoError(t, json.NewDecoder(res.Body).Decode(&body))
		require.NoError(t, res.Body.Close())
		require.Equal(t, want, res.StatusCode)
		require.Contains(t, body.Message, why)
		require.NotContains(t, body.Message, "/none")
	}
	refused("nothing", http.StatusNotFound, `no language server "nothing"`)
	refused("none", http.StatusNotImplemented, `"none" cannot be started`)
	require.Contains(t, s.log.String(), "/none/server")
	res, err := http.Get(s.url + "/lsp/ws/fake")
	require.NoError(t, err)
	_ = res.Body.Close()
	require.Equal(t, http.StatusBadRequest, res.StatusCode)
	require.Equal(t, "not_started", s.status().Sessions["fake"].Status, "nothing was started for it")

	p := s.open("fake")
	p.pid("where")
	refused("fake", http.StatusServiceUnavailable, "which is the limit")
	_ = p.ws.Close()
	require.Eventually(t, func() bool { return s.status().Sessions["fake"].Status == "stopped" }, patience, time.Millisecond)
	p = s.open("fake")
	s.servers.Close()
	p.closed(websocket.CloseGoingAway)
	refused("fake", http.StatusServiceUnavailable, "stopping")
}
