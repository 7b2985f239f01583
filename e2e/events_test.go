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
