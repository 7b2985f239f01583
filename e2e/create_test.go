package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// creators is how many clients create at once.
const creators = 300

// created is one answer to a create.
type created struct {
	status int
	session
}

// createAll sends n creates of one body at once; meanwhile runs beside them.
func (s *synth) createAll(n int, body map[string]any, meanwhile func()) []created {
	s.t.Helper()
	raw, err := json.Marshal(body)
	require.NoError(s.t, err)
	all := make([]created, n)
	var wg sync.WaitGroup
	gate := make(chan struct{})
	for i := range all {
		wg.Go(func() {
			<-gate
			a, err := s.ask("POST", "api/sessions", raw, s.bearer())
			if err != nil {
				s.t.Errorf("create: %v", err)
				return
			}
			all[i].status = a.StatusCode
			if err := json.Unmarshal(a.body, &all[i].session); err != nil {
				s.t.Errorf("create: %v: %s", err, a.body)
			}
		})
	}
	close(gate)
	if meanwhile != nil {
		meanwhile()
	}
	wg.Wait()
	return all
}

// One identity, one session, one kernel process: of a path, and of a name without a path.
func TestCreatesOfOneIdentityAreOne_P1(t *testing.T) {
	s := startSynth(t)
	for i, body := range []map[string]any{
		{"path": "one.ipynb", "name": "one.ipynb", "type": "notebook", "kernel": map[string]any{"name": "synth"}},
		{"name": "two", "type": "console", "kernel": map[string]any{"id": nil, "name": "synth"}},
	} {
		all := s.createAll(creators, body, nil)
		for _, c := range all {
			require.Equal(t, 201, c.status)
			require.Equal(t, all[0].ID, c.ID)
			require.Equal(t, all[0].Kernel.ID, c.Kernel.ID)
		}
		require.Equal(t, float64(i+1), s.metric("nbserv_kernels_started_total"))
		require.Len(t, s.processes(), i+1)
	}
	// Two notebooks of one name in two folders are two sessions.
	a, b := s.create("a/same.ipynb", "synth"), s.create("b/same.ipynb", "synth")
	require.NotEqual(t, a.ID, b.ID)
	require.NotEqual(t, a.Kernel.ID, b.Kernel.ID)
}

// Deletes and renames among the creates begin new generations; in each of them there is one session with one
// kernel, and of the kernels of the others no process is left.
func TestCreatesAmongDeletesAndRenames_P1(t *testing.T) {
	s := startSynth(t)
	body := map[string]any{"path": "busy.ipynb", "type": "notebook", "kernel": map[string]any{"name": "synth"}}
	all := s.createAll(creators, body, func() { s.disturb(25) })

	kernelOf, sessionOf := map[string]string{}, map[string]string{}
	for _, c := range all {
		require.Equal(t, 201, c.status, "a create never fails for what others do")
		require.Equal(t, c.Kernel.ID, one(kernelOf, c.ID, c.Kernel.ID), "a session has one kernel")
		require.Equal(t, c.ID, one(sessionOf, c.Kernel.ID, c.ID), "a kernel has one session")
	}
	require.Equal(t, s.metric("nbserv_kernels_started_total"), float64(len(kernelOf)+s.unseen(kernelOf)),
		"a kernel for each generation and not one more")

	var left []session
	s.call("GET", "api/sessions", nil, &left)
	paths := map[string]bool{}
	for _, l := range left {
		require.False(t, paths[l.Path], "two sessions of %s", l.Path)
		paths[l.Path] = true
		s.kernelProcess(l.Kernel.ID)
	}
	s.eventually(func() bool { return len(s.processes()) == len(left) }, "a process for each session that is left")
}

// one gives the value under key, which it sets the first time.
func one(m map[string]string, key, value string) string {
	if _, ok := m[key]; !ok {
		m[key] = value
	}
	return m[key]
}

// disturb deletes and renames whatever sessions there are, n times.
func (s *synth) disturb(n int) {
	for i := range n {
		var list []session
		s.call("GET", "api/sessions", nil, &list)
		if len(list) == 0 {
			continue
		}
		victim := list[rand.IntN(len(list))]
		if i%2 == 0 {
			status := s.call("DELETE", "api/sessions/"+victim.ID, nil, nil).StatusCode
			require.Contains(s.t, []int{204, 404, 410}, status)
			continue
		}
		to := fmt.Sprintf("renamed-%d.ipynb", i)
		status := s.call("PATCH", "api/sessions/"+victim.ID, map[string]any{"path": to}, nil).StatusCode
		require.Contains(s.t, []int{200, 404}, status)
	}
}

// unseen counts the kernels that run and were in no answer.
func (s *synth) unseen(known map[string]string) (n int) {
	var running []struct {
		ID string `json:"id"`
	}
	s.call("GET", "api/kernels", nil, &running)
	for _, k := range running {
		if !slices.Contains(slices.Collect(maps.Values(known)), k.ID) {
			n++
		}
	}
	return n
}
