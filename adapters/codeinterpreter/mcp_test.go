package codeinterpreter

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"
)

// tools connects a client of the protocol.
func (s *server) tools() *mcp.ClientSession {
	s.t.Helper()
	c := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	session, err := c.Connect(s.t.Context(), &mcp.StreamableClientTransport{Endpoint: s.url + prefix + s.names[0] + "/mcp"}, nil)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = session.Close() })
	return session
}

func call1(t *testing.T, c *mcp.ClientSession, name string, args map[string]any) *mcp.CallToolResult {
	t.Helper()
	r, err := c.CallTool(t.Context(), &mcp.CallToolParams{Name: name, Arguments: args})
	require.NoError(t, err)
	return r
}

func TestTools(t *testing.T) {
	s := scripted(t, nil).serve(nil)
	c := s.tools()
	list, err := c.ListTools(t.Context(), nil)
	require.NoError(t, err)
	var names []string
	for _, tool := range list.Tools {
		names = append(names, tool.Name)
	}
	require.ElementsMatch(t, []string{"launchShell", "launchPythonEnvironment", "runPythonCodeInRemoteEnvironment", "runShellCommandInRemoteEnvironment"}, names)

	id := call1(t, c, "launchPythonEnvironment", nil).StructuredContent.(map[string]any)["environmentId"]
	require.NotEmpty(t, id)
	r := call1(t, c, "runPythonCodeInRemoteEnvironment", map[string]any{"environmentId": id, "pythonCode": "display image/png aGk=\necho x"})
	require.False(t, r.IsError)
	got := r.StructuredContent.(map[string]any)
	require.Equal(t, "x\n", got["stdout"])
	require.Equal(t, "Succeeded", got["status"])
	require.Equal(t, "x", got["result"])
	require.Len(t, r.Content, 2)
	require.Equal(t, &mcp.ImageContent{Data: []byte("hi"), MIMEType: "image/png"}, r.Content[1])

	r = call1(t, c, "runPythonCodeInRemoteEnvironment", map[string]any{"environmentId": id, "pythonCode": "error E no"})
	require.True(t, r.IsError)
	require.Contains(t, r.Content[0].(*mcp.TextContent).Text, "E: no")
	r = call1(t, c, "runPythonCodeInRemoteEnvironment", map[string]any{"environmentId": id, "pythonCode": "sleep 60s", "timeoutInSeconds": 1})
	require.True(t, r.IsError)
	require.Contains(t, r.Content[0].(*mcp.TextContent).Text, "timeout")

	for _, args := range []map[string]any{{"environmentId": "nobody", "pythonCode": "1"}, {"environmentId": id, "pythonCode": "1", "timeoutInSeconds": -1}} {
		r := call1(t, c, "runPythonCodeInRemoteEnvironment", args)
		require.True(t, r.IsError)
	}
	r, err = c.CallTool(t.Context(), &mcp.CallToolParams{Name: "runPythonCodeInRemoteEnvironment", Arguments: map[string]any{"environmentId": id}})
	require.True(t, err != nil || r.IsError, "an argument is missing")
}

// The vendor's own example: curl, no initialize parameters, no Accept.
func TestToolsByCurl(t *testing.T) {
	s := scripted(t, nil).serve(nil)
	for _, path := range []string{"mcp", "/mcp"} {
		a := s.ask("POST", path, `{ "jsonrpc": "2.0", "id": "1", "method": "initialize" }`, "Content-Type", "application/json")
		require.Equal(t, http.StatusOK, a.code, a.body)
		require.Contains(t, a.body, "protocolVersion")
		require.Contains(t, a.body, "serverInfo")
		a = s.ask("POST", path, `{"jsonrpc":"2.0","id":"2","method":"tools/call","params":{"name":"launchShell","arguments":{}}}`, "Content-Type", "application/json")
		answer := decode[struct {
			Result struct {
				StructuredContent launched `json:"structuredContent"`
			} `json:"result"`
		}](t, a.body)
		require.NotEmpty(t, answer.Result.StructuredContent.EnvironmentID)
		require.Equal(t, http.StatusMethodNotAllowed, s.ask("GET", path, "").code)
	}
	for _, body := range []string{"", "nonsense", `{"jsonrpc":"2.0"}`, `[]`} {
		a := s.ask("POST", "mcp", body, "Content-Type", "application/json")
		require.True(t, a.code >= 400 && a.code < 500, "%q: %d", body, a.code)
	}
	a := s.ask("POST", "mcp", `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"nothing"}}`, "Content-Type", "application/json")
	var e struct {
		Error json.RawMessage `json:"error"`
	}
	require.NoError(t, json.Unmarshal([]byte(a.body), &e))
	require.NotEmpty(t, e.Error)
}
