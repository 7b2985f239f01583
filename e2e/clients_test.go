package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestClientsRunANotebookOverBothProtocols_P4_P5(t *testing.T) {
	s := start(t)
	for _, client := range []string{"kernel_client.py", "v1_client.py"} {
		t.Run(client, func(t *testing.T) {
			one := *s
			one.t = t
			require.Contains(t, one.python(client, "testdata/day.ipynb"), "ok buffers")
		})
	}
	var kernels []any
	s.call("GET", "api/kernels", nil, &kernels)
	require.Empty(t, kernels, "the clients ended their kernels")
}

func TestNbclientThroughTheGatewayManager(t *testing.T) {
	s := start(t, "--token=")
	saved := filepath.Join(t.TempDir(), "out.ipynb")
	require.Contains(t, s.python("gateway_nbclient.py", "testdata/day.ipynb", saved), "ok")

	// What it made is saved through the server and read back without a change.
	raw, err := os.ReadFile(saved)
	require.NoError(t, err)
	var notebook json.RawMessage = raw
	resp := s.call("PUT", "api/contents/day.ipynb", map[string]any{"type": "notebook", "format": "json", "content": notebook}, nil)
	require.Equal(t, 201, resp.StatusCode)
	onDisk, err := os.ReadFile(filepath.Join(s.root, "day.ipynb"))
	require.NoError(t, err)
	require.Equal(t, string(raw), string(onDisk), "byte for byte what nbformat itself wrote")
}

// A sessions client generated from Jupyter's description of its API sends more than it means to: these are its requests.
func TestGeneratedSessionsClient(t *testing.T) {
	s := startSynth(t)
	require.Contains(t, s.python("sessions_client.py", "synth"), "ok sessions")
}

// A kernel that a gateway client asks for starts in the notebook's folder when that is on this machine, else in the root.
func TestGatewayClientNamesItsFolder(t *testing.T) {
	s := startSynth(t)
	there := t.TempDir()
	for dir, want := range map[string]string{there: there, there + "/gone": s.root, "relative": s.root, "": s.root} {
		var k struct{ ID string }
		body := map[string]any{"name": "synth", "env": map[string]string{"KERNEL_LAUNCH_TIMEOUT": "40", "KERNEL_WORKING_DIR": dir, "KERNEL_USERNAME": "ada"}}
		require.Equal(t, 201, s.call("POST", "api/kernels", body, &k).StatusCode)
		require.Equal(t, want+"\n", s.dial(t, k.ID).execute("cwd").text, dir)
		require.Equal(t, 204, s.call("DELETE", "api/kernels/"+k.ID, nil, nil).StatusCode)
	}
}
