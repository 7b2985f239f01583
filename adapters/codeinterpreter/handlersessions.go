package codeinterpreter

import (
	_ "embed"
	"net/http"
	"net/url"
	"strconv"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

func (s *session) resource() sessionResource {
	used, expires, _ := s.times()
	return sessionResource{s.identifier, timeText(s.created), timeText(used), timeText(expires), s.id}
}

func (c *call) getSession() error {
	id, err := c.identifier("")
	if err != nil {
		return err
	}
	s, err := c.pool.find(id) // looking at a session does not keep it
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, s.resource())
}

func (c *call) deleteSession() error {
	s, err := c.known()
	if err != nil {
		return err
	}
	if err := s.end(c.r.Context()); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// stopSession is deleteSession as the older families have it.
func (c *call) stopSession() error {
	s, err := c.known()
	if err != nil {
		return err
	}
	if err := s.end(c.r.Context()); err != nil {
		return err
	}
	return c.answer(http.StatusOK, struct{}{})
}

// pageSize is how many sessions, or files, are listed at once.
const pageSize = 1000

// skip is the query's offset into a list.
func (c *call) skip() (int, error) {
	text := c.r.URL.Query().Get("skip")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fault.New(fault.Invalid, `query "skip" should be 0 or more, not %.60q`, text)
	}
	return n, nil
}

func (c *call) listSessions() error {
	skip, err := c.skip()
	if err != nil {
		return err
	}
	answer := sessionsAnswer{Sessions: []sessionResource{}}
	for _, s := range c.pool.list() {
		if !s.hasBegun() || s.isEnding() {
			continue
		}
		if skip--; skip >= 0 {
			continue
		}
		if len(answer.Sessions) == pageSize {
			next, _ := c.skip()
			link := c.link("listSessions", url.Values{"skip": {strconv.Itoa(next + pageSize)}})
			answer.NextLink = &link
			break
		}
		answer.Sessions = append(answer.Sessions, s.resource())
	}
	return c.answer(http.StatusOK, answer)
}

// metadataAnswer is what a pool says of itself.
type metadataAnswer struct {
	about
	Created string       `json:"createdAt"`
	Updated string       `json:"lastUpdatedAt"`
	Pool    poolMetadata `json:"pool"`
}

// poolMetadata is what is in force in a pool. No other service of this API has it.
type poolMetadata struct {
	Name      string            `json:"name"`
	Kernel    string            `json:"kernelspec"`
	Isolation isolationMetadata `json:"isolation"`
	Limits    limitsMetadata    `json:"limits"`
	InForce   inForceMetadata   `json:"limitsInForce"`
	Ready     int               `json:"readySessions"`
	Sessions  int               `json:"sessions"`
}

type isolationMetadata struct {
	Kind    string `json:"kind"` // bubblewrap, runtime, none
	Reason  string `json:"reason,omitempty"`
	Network bool   `json:"network"`
	Mount   string `json:"workingDirectory"`
}

type limitsMetadata struct {
	MaxSessions int     `json:"maxConcurrentSessions"`
	CoolDown    float64 `json:"coolDownPeriodInSeconds"`
	MaxTimeout  float64 `json:"maxTimeoutInSeconds"`
	Queue       int     `json:"maxQueuedExecutions"`
	Memory      int64   `json:"memoryBytes"`
	CPUs        float64 `json:"cpus"`
	Processes   int     `json:"processes"`
	Disk        int64   `json:"diskBytes"`
	Upload      int64   `json:"maxUploadBytes"`
}

// inForceMetadata is what of the limits this machine keeps; 0 is no limit.
type inForceMetadata struct {
	Memory    int64   `json:"memoryBytes"`
	MemoryBy  string  `json:"memoryBy,omitempty"` // cgroup, rlimit: see kernel.Enforced
	CPUs      float64 `json:"cpus"`
	Processes int     `json:"processes"`
	Disk      int64   `json:"diskBytes"`
}

func (c *call) metadata() error {
	about, err := c.pool.about(c.r.Context())
	if err != nil {
		return err
	}
	p := c.pool
	how := p.isolation()
	m := metadataAnswer{about: about, Created: timeText(p.born), Updated: timeText(p.born), Pool: poolMetadata{
		Name: p.Name, Kernel: p.Kernel, Ready: p.warm.Ready(), Sessions: len(p.list()),
		Isolation: isolationMetadata{Kind: how.kind, Reason: how.why, Network: p.Network, Mount: mount},
		Limits: limitsMetadata{
			MaxSessions: p.MaxSessions, CoolDown: p.CoolDown.Seconds(), MaxTimeout: p.MaxTimeout.Seconds(), Queue: p.Queue,
			Memory: p.Limits.MemoryBytes, CPUs: p.Limits.CPUs, Processes: p.Limits.Processes, Disk: p.Disk, Upload: c.api.Interpreter.cfg.MaxUpload,
		},
	}}
	e := about.enforced
	m.Pool.InForce = inForceMetadata{e.MemoryBytes, e.MemoryBy, e.CPUs, e.Processes, p.Disk}
	if how.kind == isolationNone { // nothing keeps code from the machine's network, and nobody measures its folder
		m.Pool.Isolation.Network, m.Pool.InForce.Disk = true, 0
	}
	return c.answer(http.StatusOK, m)
}

// index says what is here.
func (a *API) index(w http.ResponseWriter, r *http.Request) {
	_ = httpx.WriteJSON(w, http.StatusOK, struct {
		Pools   []string `json:"pools"`
		OpenAPI string   `json:"openapi"`
	}{a.Interpreter.names, a.Interpreter.cfg.BaseURL + "aca/openapi.json"})
}

//go:embed openapi.json
var openAPI []byte

func (a *API) openAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/vnd.oai.openapi+json;version=3.1")
	_, _ = w.Write(openAPI) // net/http drops it for HEAD
}
