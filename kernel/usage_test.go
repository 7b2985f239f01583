package kernel

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gorilla/mux"
	"github.com/stretchr/testify/require"
)

// get asks the API and decodes its answer.
func get(t *testing.T, h http.Handler, path string, status int, into any) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	require.Equal(t, status, w.Code, w.Body)
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), into))
}

// What JupyterLab's extension asks of jupyter-resource-usage, in its words.
func TestUsageOverHTTP(t *testing.T) {
	m := NewManager(Config{}, NewSpecs(SpecsConfig{}), nil, nil)
	r := mux.NewRouter()
	(&UsageAPI{Host: m, Meter: m}).Register(r)
	p := &metered{limit: Enforced{Limits: Limits{MemoryBytes: 1 << 30}}, usage: Usage{MemoryBytes: 64 << 20, Processes: 12, CPU: time.Second}}
	idleKernel(m, "k").inc = &incarnation{proc: p}
	idleKernel(m, "dead")

	var one struct {
		Content  map[string]any `json:"content"`
		KernelID string         `json:"kernel_id"`
	}
	get(t, r, "/api/metrics/v1/kernel_usage/get_usage/k", http.StatusOK, &one)
	require.Equal(t, "k", one.KernelID)
	require.EqualValues(t, 64<<20, one.Content["kernel_memory"])
	require.EqualValues(t, 1<<30, one.Content["kernel_memory_limit"])
	require.EqualValues(t, 4711, one.Content["pid"])
	require.Zero(t, one.Content["kernel_cpu"], "there is nothing to compare with yet")
	require.Equal(t, false, one.Content["host_usage_flag"])
	require.NotContains(t, one.Content, "reason", "which the extension would show instead")
	p.usage.CPU += 10 * time.Hour
	get(t, r, "/api/metrics/v1/kernel_usage/get_usage/k", http.StatusOK, &one)
	require.Greater(t, one.Content["kernel_cpu"], 100.0)
	p.usage.CPU = 0 // another process
	get(t, r, "/api/metrics/v1/kernel_usage/get_usage/k", http.StatusOK, &one)
	require.Zero(t, one.Content["kernel_cpu"])
	get(t, r, "/api/metrics/v1/kernel_usage/get_usage/dead", http.StatusOK, &one)
	require.Zero(t, one.Content["kernel_memory"])
	var missing map[string]any
	get(t, r, "/api/metrics/v1/kernel_usage/get_usage/nobody", http.StatusNotFound, &missing)

	var all struct {
		RSS    int64          `json:"rss"`
		Limits map[string]any `json:"limits"`
	}
	get(t, r, "/api/metrics/v1", http.StatusOK, &all)
	require.Greater(t, all.RSS, int64(64<<20))
	require.NotNil(t, all.Limits)
}
