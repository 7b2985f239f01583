package kernel

import (
	"encoding/json"
	"strconv"

	"github.com/nbserv/nbserv/internal/httpx"
)

// The ExecutionStates of a kernel whose process is not coming back.
const (
	StateTerminating = "terminating" // it is being shut down
	StateDead        = "dead"        // it has died, or did not start
)

// Model is a kernel as Jupyter's REST API shows it.
// https://jupyter-server.readthedocs.io/en/latest/developers/rest-api.html
type Model struct {
	ID             string `json:"id"`
	Name           string `json:"name"`
	LastActivity   string `json:"last_activity"` // RFC 3339 in UTC with microseconds and Z
	ExecutionState string `json:"execution_state"`
	Connections    int    `json:"connections"`
	Reason         string `json:"reason,omitempty"` // why it is dead

	// Limits in force, which are not in Jupyter's model; nil where there are none.
	Limits *Enforced `json:"limits,omitempty"`
}

// modelTime is the reference server's form of a time; clients compare such strings.
const modelTime = "2006-01-02T15:04:05.000000Z"

// Model is s as clients see it.
func (s Status) Model() Model {
	m := Model{
		ID: s.ID, Name: s.Spec, LastActivity: s.LastActivity.UTC().Format(modelTime),
		ExecutionState: s.ExecutionState, Connections: s.Connections, Reason: s.Reason,
	}
	if s.Limits != (Enforced{}) {
		m.Limits = &s.Limits
	}
	return m
}

// AppendModel appends the JSON of s.Model(). Clients poll lists of kernels and of sessions all the time.
func (s Status) AppendModel(b []byte) []byte {
	b = httpx.AppendString(append(b, `{"id":`...), s.ID)
	b = httpx.AppendString(append(b, `,"name":`...), s.Spec)
	b = append(b, `,"last_activity":"`...)
	b = s.LastActivity.UTC().AppendFormat(b, modelTime)
	b = httpx.AppendString(append(b, `","execution_state":`...), s.ExecutionState)
	b = strconv.AppendInt(append(b, `,"connections":`...), int64(s.Connections), 10)
	if s.Reason != "" {
		b = httpx.AppendString(append(b, `,"reason":`...), s.Reason)
	}
	if s.Limits != (Enforced{}) {
		limits, _ := json.Marshal(s.Limits) // numbers and a word
		b = append(append(b, `,"limits":`...), limits...)
	}
	return append(b, '}')
}

// Alive tells whether s is of a kernel that has, or will have, a process.
func (s Status) Alive() bool {
	return s.ExecutionState != StateDead && s.ExecutionState != StateTerminating
}
