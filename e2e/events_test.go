package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// Who subscribes to events hears why kernels end: by themselves, and because somebody has ended them.
func TestEndsOfKernelsAreEvents_P12(t *testing.T) {
	s := startSynth(t)
	made := s.create("a.ipynb", "synth")
	c := s.dial(t, made.Kernel.ID)
	c.execute("echo warm")
	conn, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(s.url, "http")+"api/events/subscribe", s.bearer())
	require.NoError(t, err)
	defer conn.Close()
	next := func() (reason string) {
		for {
			var e struct {
				Schema string `json:"schema_id"`
				ID     string `json:"kernel_id"`
				Name   string `json:"kernel_name"`
				Reason string `json:"reason"`
			}
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
			require.NoError(t, conn.ReadJSON(&e))
			if e.Schema == "urn:nbserv:kernel_ends:v1" {
				require.Equal(t, made.Kernel.ID, e.ID)
				require.Equal(t, "synth", e.Name)
				return e.Reason
			}
		}
	}
	c.request("shell", "execute_request", code("die 3"))
	require.Contains(t, next(), "exit code 3")
	s.ready(made.Kernel.ID, "idle")
	require.Equal(t, 204, s.call("DELETE", "api/sessions/"+made.ID, nil, nil).StatusCode)
	require.NotEmpty(t, next())
}

// Who subscribes hears of actions by the names that the reference server has for them: a new file is saved, and every action on a
// kernel says which kind of kernel it is.
func TestActionsAreEvents(t *testing.T) {
	s := startSynth(t)
	conn, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(s.url, "http")+"api/events/subscribe", s.bearer())
	require.NoError(t, err)
	defer conn.Close()
	type action struct {
		Action string `json:"action"`
		Path   string `json:"path"`
		ID     string `json:"kernel_id"`
		Name   string `json:"kernel_name"`
		Status string `json:"status"`
	}
	next := func(schema string) action {
		for {
			var e struct {
				Schema string `json:"schema_id"`
				action
			}
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
			require.NoError(t, conn.ReadJSON(&e))
			if e.Schema == schema && e.Action != "get" {
				return e.action
			}
		}
	}
	const contents = "https://events.jupyter.org/jupyter_server/contents_service/v1"
	require.Equal(t, 201, s.call("POST", "api/contents", map[string]string{"type": "file", "ext": ".txt"}, nil).StatusCode)
	require.Equal(t, action{Action: "save", Path: "untitled.txt"}, next(contents))

	const kernels = "https://events.jupyter.org/jupyter_server/kernel_actions/v1"
	var k struct{ ID string }
	require.Equal(t, 201, s.call("POST", "api/kernels", map[string]string{"name": "synth"}, &k).StatusCode)
	require.Equal(t, action{Action: "start", ID: k.ID, Name: "synth", Status: "success"}, next(kernels))
	s.ready(k.ID, "idle")
	for _, verb := range []string{"interrupt", "restart"} {
		require.Less(t, s.call("POST", "api/kernels/"+k.ID+"/"+verb, nil, nil).StatusCode, 300)
		require.Equal(t, action{Action: verb, ID: k.ID, Name: "synth", Status: "success"}, next(kernels))
	}
	require.Equal(t, 204, s.call("DELETE", "api/kernels/"+k.ID, nil, nil).StatusCode)
	require.Equal(t, action{Action: "shutdown", ID: k.ID, Name: "synth", Status: "success"}, next(kernels))
}
