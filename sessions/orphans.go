package sessions

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/nbserv/nbserv/kernel"
)

// owner names this package to the Host, as who started a kernel. What follows it is the session that the kernel was
// started for: where the rows are lost, the kernels still know (P16).
const owner = "sessions "

// origin is a session as its kernel remembers it.
type origin struct {
	ID   string `json:"id"`
	Path string `json:"path"`
	Name string `json:"name,omitempty"`
	Type string `json:"type"`
}

func ownerOf(r Row) string {
	text, _ := json.Marshal(origin{r.ID, r.Path, r.Name, r.Type}) // texts only
	return owner + string(text)
}

// Settle decides what becomes of the kernels that were started for sessions and that no session has. Of a server that
// ended between the two they are shut down: nobody was told of them. But when the rows were lost, the sessions are made
// anew from what their kernels remember, under the paths that they had then. It is to be called before sessions are made.
func (m *Manager) Settle(ctx context.Context, rowsLost bool) {
	for _, st := range m.host.List() {
		text, ours := strings.CutPrefix(st.Owner, owner)
		if !ours || m.index.bound(st.ID) {
			continue
		}
		if rowsLost && m.rebuild(ctx, st, text) {
			continue
		}
		m.log.Warn("kernel that belongs to no session is ended", "kernel_id", st.ID)
		m.retire(ctx, st.ID)
	}
}

// rebuild makes a living kernel's session anew, unless another one has its path by now.
func (m *Manager) rebuild(ctx context.Context, st kernel.Status, text string) bool {
	var o origin
	if !st.Alive() || json.Unmarshal([]byte(text), &o) != nil || o.ID == "" || len(m.index.at(o.Path)) > 0 {
		return false
	}
	row := Row{ID: o.ID, Path: o.Path, Name: o.Name, Type: o.Type, KernelID: st.ID, KernelName: st.Spec,
		Created: time.Now().UTC().Truncate(time.Microsecond)}
	if err := m.write(ctx, Change{Put: []Row{row}}); err != nil {
		m.log.Error("session not made anew", "session_id", row.ID, "err", err)
		return true // its kernel may be of use yet
	}
	m.index.markSeen(row.ID)
	m.log.Warn("session made anew from its kernel: its row was lost", "session_id", row.ID, "kernel_id", st.ID)
	return true
}
