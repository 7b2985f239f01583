package kernel

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAppendModelIsTheModel(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 89_000, time.FixedZone("", 3600))
	for _, s := range []Status{
		{},
		{ID: "a-b", Spec: `py"3`, ExecutionState: "idle", LastActivity: at, Connections: 2},
		{ID: "b", ExecutionState: StateTerminating},
		{ID: "c", Spec: "ir", ExecutionState: StateDead, LastActivity: at, Reason: "exit code 1\n<&>"},
		{ID: "d", Limits: Enforced{Limits: Limits{MemoryBytes: 200 << 20, CPUs: 1.5}, MemoryBy: "rlimit"}},
	} {
		var got Model
		require.NoError(t, json.Unmarshal(s.AppendModel(nil), &got))
		require.Equal(t, s.Model(), got)
		require.Equal(t, s.Reason == "" && s.ID != "b", s.Alive())
	}
	require.Contains(t, string(Status{Limits: Enforced{Limits: Limits{Processes: 9}}}.AppendModel(nil)), `,"limits":{"processes":9}}`)
	require.Equal(t, "2026-03-04T04:06:07.000089Z", Status{LastActivity: at}.Model().LastActivity)
}
