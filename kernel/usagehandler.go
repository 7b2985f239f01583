package kernel

import (
	"net/http"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/gorilla/mux"

	"github.com/nbserv/nbserv/internal/httpx"
)

// UsageAPI is what the JupyterLab extension of jupyter-resource-usage asks its server.
// https://github.com/jupyter-server/jupyter-resource-usage
type UsageAPI struct {
	Host  Host
	Meter Meter

	mu   sync.Mutex
	last map[string]cpuSample // guarded by mu; by kernel
}

// cpuSample is how much processor time a kernel had used at a time.
type cpuSample struct {
	at  time.Time
	cpu time.Duration
}

// Register adds the routes to r, whose paths are relative to the base URL.
func (a *UsageAPI) Register(r *mux.Router) {
	r.Handle("/api/metrics/v1", httpx.Handler(a.total)).Methods(http.MethodGet)
	r.Handle("/api/metrics/v1/kernel_usage/get_usage/{id}", httpx.Handler(a.one)).Methods(http.MethodGet)
}

// total is the memory of the server and its kernels.
func (a *UsageAPI) total(w http.ResponseWriter, r *http.Request) error {
	rss := residentBytes(os.Getpid())
	for _, s := range a.Host.List() {
		if u, err := a.Meter.Usage(r.Context(), s.ID); err == nil { // else it is gone by now
			rss += u.MemoryBytes
		}
	}
	return httpx.WriteJSON(w, http.StatusOK, struct {
		RSS    int64    `json:"rss"`
		Limits struct{} `json:"limits"` // of all together there are none
	}{RSS: rss})
}

// one is the usage of a kernel as ipykernel would tell it, measured from outside: of any kernel, however busy.
func (a *UsageAPI) one(w http.ResponseWriter, r *http.Request) error {
	id := mux.Vars(r)["id"]
	u, err := a.Meter.Usage(r.Context(), id)
	if err != nil {
		return err
	}
	type content struct {
		Hostname      string  `json:"hostname"`
		PID           int     `json:"pid"`
		CPU           float64 `json:"kernel_cpu"`    // percent of one processor
		Memory        int64   `json:"kernel_memory"` // bytes
		CPUCount      int     `json:"cpu_count"`
		ShowsHostToo  bool    `json:"host_usage_flag"`
		MemoryLimit   int64   `json:"kernel_memory_limit,omitempty"` // not in ipykernel's
		ProcessesUsed int     `json:"kernel_processes,omitempty"`    // the same
	}
	host, _ := os.Hostname()
	c := content{Hostname: host, PID: u.PID, CPU: a.percent(id, u.CPU), Memory: u.MemoryBytes, CPUCount: runtime.NumCPU(), ProcessesUsed: u.Processes}
	if s, err := a.Host.Get(id); err == nil {
		c.MemoryLimit = s.Limits.MemoryBytes
	}
	return httpx.WriteJSON(w, http.StatusOK, struct {
		Content  content `json:"content"`
		KernelID string  `json:"kernel_id"`
	}{c, id})
}

// percent is the share of a processor that a kernel used since it was last asked for; 0 at first.
func (a *UsageAPI) percent(id string, cpu time.Duration) float64 {
	now := cpuSample{time.Now(), cpu}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.last) > 2*len(a.Host.List())+16 { // most are gone
		a.last = nil
	}
	if a.last == nil {
		a.last = make(map[string]cpuSample)
	}
	before, ok := a.last[id]
	a.last[id] = now
	if !ok || now.cpu < before.cpu || !now.at.After(before.at) { // another process since then
		return 0
	}
	return 100 * float64(now.cpu-before.cpu) / float64(now.at.Sub(before.at))
}
