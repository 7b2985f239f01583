package e2e

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// requireLanguageServer gives the environment in which a server finds pylsp, and a JupyterLab jupyterlab-lsp.
func requireLanguageServer(t *testing.T, env []string) []string {
	t.Helper()
	venv := os.Getenv("NBSERV_TEST_LSP")
	if venv == "" {
		t.Skip("NBSERV_TEST_LSP is not set: make test prepares it")
	}
	more := map[string]string{"PATH": filepath.Join(venv, "bin"), "JUPYTER_PATH": filepath.Join(venv, "share", "jupyter")}
	all := []string{}
	for _, line := range env {
		name, value, _ := strings.Cut(line, "=")
		if dir, ok := more[name]; ok { // after the others: its Python is nobody's
			line = name + "=" + value + ":" + dir
		}
		all = append(all, line)
	}
	return all
}

// languageClient speaks LSP over a WebSocket.
type languageClient struct {
	t    *testing.T
	conn *websocket.Conn
	last int
	told map[string]json.RawMessage // params of the last notification, by method
}

func (c *languageClient) write(m map[string]any) {
	c.t.Helper()
	m["jsonrpc"] = "2.0"
	require.NoError(c.t, c.conn.WriteJSON(m))
}

func (c *languageClient) tell(method string, params any) {
	c.t.Helper()
	c.write(map[string]any{"method": method, "params": params})
}

// read takes one message; an answer is given back, a question is answered with nothing.
func (c *languageClient) read() (id int, result json.RawMessage) {
	c.t.Helper()
	var m struct {
		ID     any
		Method string
		Params json.RawMessage
		Result json.RawMessage
		Error  json.RawMessage
	}
	require.NoError(c.t, c.conn.SetReadDeadline(time.Now().Add(3*patience)))
	require.NoError(c.t, c.conn.ReadJSON(&m))
	switch {
	case m.Method != "" && m.ID != nil:
		c.write(map[string]any{"id": m.ID, "result": nil})
	case m.Method != "":
		c.told[m.Method] = m.Params
	default:
		require.Empty(c.t, string(m.Error))
		return int(m.ID.(float64)), m.Result
	}
	return 0, nil
}

func (c *languageClient) ask(method string, params, v any) {
	c.t.Helper()
	c.last++
	c.write(map[string]any{"id": c.last, "method": method, "params": params})
	for {
		if id, result := c.read(); id == c.last {
			require.NoError(c.t, json.Unmarshal(result, v))
			return
		}
	}
}

// until reads until the server has notified of method with a text in it.
func (c *languageClient) until(method, text string) {
	c.t.Helper()
	for !strings.Contains(string(c.told[method]), text) {
		c.read()
	}
}

// A real language server, found where it is installed, over the WebSocket of the built server: who may use it, what it
// says of a document, and its end.
func TestLanguageServer(t *testing.T) {
	env := requireLanguageServer(t, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "JUPYTER_PATH=" + os.Getenv("JUPYTER_PATH")})
	s := prepare(t)
	s.env = env
	s.run()
	require.Equal(t, "not_started", s.languageServer().Status)
	s.python("lspstatus.py")

	address := "ws" + strings.TrimPrefix(s.url, "http") + "lsp/ws/pylsp"
	for _, header := range []http.Header{{}, {"Authorization": {"token wrong"}}, s.login().header(http.Header{"Origin": {"http://evil.example"}})} {
		_, res, err := websocket.DefaultDialer.Dial(address, header)
		require.Error(t, err)
		require.Equal(t, http.StatusForbidden, res.StatusCode)
		_ = res.Body.Close()
	}
	require.Equal(t, "not_started", s.languageServer().Status, "nothing is started for a stranger")

	conn, res, err := websocket.DefaultDialer.Dial(address, s.bearer())
	require.NoError(t, err)
	_ = res.Body.Close()
	defer conn.Close()
	c := &languageClient{t: t, conn: conn, told: map[string]json.RawMessage{}}
	require.Equal(t, 1, s.languageServer().Handlers)

	var initialized struct{ Capabilities map[string]any }
	c.ask("initialize", map[string]any{"processId": nil, "rootUri": "file://" + s.root, "capabilities": map[string]any{}}, &initialized)
	require.Contains(t, initialized.Capabilities, "completionProvider")
	c.tell("initialized", map[string]any{})

	uri := "file://" + s.root + "/a.py"
	document := map[string]any{"uri": uri}
	c.tell("textDocument/didOpen", map[string]any{"textDocument": map[string]any{
		"uri": uri, "languageId": "python", "version": 1, "text": "import os\nos.path.joi\nno_such_name\n",
	}})
	c.until("textDocument/publishDiagnostics", "undefined name 'no_such_name'")
	var completions struct{ Items []struct{ Label string } }
	c.ask("textDocument/completion", map[string]any{"textDocument": document, "position": map[string]int{"line": 1, "character": 11}}, &completions)
	require.Contains(t, completions.Items[0].Label, "join")
	c.tell("textDocument/didChange", map[string]any{"textDocument": map[string]any{"uri": uri, "version": 2},
		"contentChanges": []map[string]string{{"text": "def greet():\n    \"\"\"Says hällo.\"\"\"\n\n\ngreet()\n"}}})
	var hover struct{ Contents struct{ Value string } }
	c.ask("textDocument/hover", map[string]any{"textDocument": document, "position": map[string]int{"line": 4, "character": 2}}, &hover)
	require.Contains(t, hover.Contents.Value, "Says hällo.")

	var none any
	c.ask("shutdown", nil, &none)
	c.tell("exit", nil)
	for {
		if _, _, err = conn.ReadMessage(); err != nil {
			break
		}
	}
	var end *websocket.CloseError
	require.True(t, errors.As(err, &end), "%v", err)
	require.Contains(t, end.Text, "the language server pylsp ended")
	_ = conn.Close()
	require.Eventually(t, func() bool { return s.languageServer().Status == "stopped" }, patience, 10*time.Millisecond)
}

// languageState is what /lsp/status tells of pylsp.
type languageState struct {
	Status   string
	Handlers int `json:"handler_count"`
	Spec     struct{ Languages []string }
}

func (s *server) languageServer() languageState {
	s.t.Helper()
	var st struct{ Sessions map[string]languageState }
	require.Equal(s.t, http.StatusOK, s.call("GET", "lsp/status", nil, &st).StatusCode)
	require.Equal(s.t, []string{"python"}, st.Sessions["pylsp"].Spec.Languages)
	return st.Sessions["pylsp"]
}

// TestLanguageServerInJupyterLab has jupyterlab-lsp show what pylsp says of cells and files.
func TestLanguageServerInJupyterLab(t *testing.T) {
	node, env := requireLab(t)
	requireChromium(t)
	s := prepare(t)
	s.env = requireLanguageServer(t, env)
	s.run()
	args := []string{s.url, s.token}
	if dir := os.Getenv("NBSERV_TEST_SHOTS"); dir != "" {
		args = append(args, dir)
	}
	script(t, node, "lsp.mjs", args...)
	require.NotContains(t, s.log.String(), "level=ERROR")
}
