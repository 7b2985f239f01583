package remote

import (
	"context"
	"iter"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
)

func status(id string, order, serial uint64, execution string) kernel.Status {
	return kernel.Status{ID: id, Order: order, Serial: serial, ExecutionState: execution}
}

func (c *cache) states() (all []string) {
	for _, st := range c.all() {
		all = append(all, st.ID+":"+st.ExecutionState)
	}
	return all
}

// Watch, calls and streams tell of a kernel over different connections, in any order.
func TestCacheKeepsTheNewest(t *testing.T) {
	c := newCache()
	c.put(status("b", 2, 1, "starting"), false)
	c.put(status("a", 1, 5, "idle"), true)
	require.Equal(t, []string{"a:idle", "b:starting"}, c.states())
	c.put(status("a", 1, 4, "starting"), true)
	require.Equal(t, []string{"a:idle", "b:starting"}, c.states(), "late news are none")
	c.state("a", state{order: 1, serial: 8, execution: "busy"})
	c.put(kernel.Status{ID: "a", Order: 1, Serial: 7, ExecutionState: "idle", Departed: 3}, true)
	require.Equal(t, []string{"a:busy", "b:starting"}, c.states())
	a, _ := c.get("a")
	require.Equal(t, uint64(3), a.Departed, "a stream says less than a Status, which is not late for it")
	c.state("a", state{order: 1, serial: 6, execution: "starting"})
	require.Equal(t, []string{"a:busy", "b:starting"}, c.states())

	c.shut("a")
	require.Equal(t, []string{"b:starting"}, c.states())
	c.put(status("a", 1, 20, "terminating"), true)
	require.Equal(t, []string{"b:starting"}, c.states(), "who has shut it down does not see it again")
	c.put(status("a", 3, 1, "starting"), false)
	require.Equal(t, []string{"b:starting", "a:starting"}, c.states(), "its id is used again")
	gone := status("a", 1, 30, "dead")
	gone.Gone = true
	c.put(gone, true)
	require.Equal(t, []string{"b:starting", "a:starting"}, c.states(), "that was the one before")
	gone.Order = 3
	c.put(gone, true)
	c.shut("a")
	c.state("a", state{order: 3, serial: 31})
	require.Equal(t, []string{"b:starting"}, c.states())
	require.Len(t, c.byID, 1, "nothing is left behind")
}

func TestCacheWatchersSeeAReplacement(t *testing.T) {
	c := newCache()
	for _, id := range []string{"a", "b"} {
		c.put(status(id, uint64(id[0]), 1, "idle"), true)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	next, stop := iter.Pull(c.watch(ctx))
	defer stop()
	see := func() kernel.Status {
		st, ok := next()
		require.True(t, ok)
		return st
	}
	require.Equal(t, "a", see().ID)
	require.Equal(t, "b", see().ID)
	c.replace([]kernel.Status{status("b", 1, 1, "busy"), status("c", 2, 1, "idle")}) // another kernel host numbers anew
	var got []kernel.Status
	for range 3 {
		got = append(got, see())
	}
	require.Equal(t, []string{"b", "c", "a"}, []string{got[0].ID, got[1].ID, got[2].ID})
	require.True(t, got[2].Gone)
	require.Equal(t, []string{"b:busy", "c:idle"}, c.states())
	cancel()
	_, ok := next()
	require.False(t, ok)
	c.mu.Lock()
	defer c.mu.Unlock()
	require.Empty(t, c.watchers)
}
