package kernel_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/kernel/kerneltest"
)

// follower reads a Watch.
type follower struct {
	t    *testing.T
	next func() (kernel.Status, bool)
}

func (f *fixture) watch() *follower {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	next, stop := iter.Pull(f.Watch(ctx))
	f.t.Cleanup(func() { cancel(); stop() })
	return &follower{f.t, next}
}

// until gives the first Status that ok accepts.
func (w *follower) until(ok func(kernel.Status) bool) kernel.Status {
	w.t.Helper()
	for {
		s, more := w.next()
		require.True(w.t, more, "the watch ended")
		if ok(s) {
			return s
		}
	}
}

func inState(id, state string) func(kernel.Status) bool {
	return func(s kernel.Status) bool { return s.ID == id && s.ExecutionState == state }
}

func TestWatchTellsWhatHappensToAKernel(t *testing.T) {
	f := newFixture(t, kernel.Config{}, kerneltest.Options{})
	before := f.start()
	w := f.watch()
	require.Equal(t, before, w.until(func(kernel.Status) bool { return true }).ID, "those that there are come first")

	id := f.start()
	w.until(inState(id, "idle"))
	c := f.attach(id)
	w.until(func(s kernel.Status) bool { return s.ID == id && s.Connections == 1 })
	m := c.run("sleep 1h")
	w.until(inState(id, "busy"))
	require.NoError(t, f.Interrupt(t.Context(), id))
	c.until(ended(m))
	w.until(func(s kernel.Status) bool { return s.ExecutionState == "idle" && s.Position == c.Position() })

	require.NoError(t, f.Restart(t.Context(), id))
	now, err := f.Get(id)
	require.NoError(t, err)
	w.until(func(s kernel.Status) bool { return s.ExecutionState == "idle" && s.Serial > now.Serial })
	require.NoError(t, f.Shutdown(t.Context(), id))
	last := w.until(func(s kernel.Status) bool { return s.Gone })
	require.Equal(t, id, last.ID)
	require.Equal(t, "dead", last.ExecutionState)
	c.Detach()
	require.NoError(t, f.Shutdown(t.Context(), before))
	require.Equal(t, before, w.until(func(s kernel.Status) bool { return s.Gone }).ID, "a kernel goes once")
}

func TestWatchCountsDepartures(t *testing.T) {
	f := newFixture(t, kernel.Config{}, kerneltest.Options{})
	id := f.start()
	departed := func() uint64 {
		s, err := f.Get(id)
		require.NoError(t, err)
		return s.Departed
	}
	looker := f.attach(id)
	looker.Detach()
	require.Zero(t, departed(), "it executed nothing")

	page := f.attachAs(id, "page", nil)
	page.until(ended(page.run("echo 1")))
	again := f.attachAs(id, "page", nil) // takes its place
	require.Zero(t, departed(), "the session is still there")
	w := f.watch()
	again.Detach()
	require.Equal(t, uint64(1), w.until(func(s kernel.Status) bool { return s.Departed > 0 }).Departed)
	back := f.attachAs(id, "page", nil)
	back.Detach()
	require.Equal(t, uint64(2), departed(), "what the session executed may still run")
	for range f.Execute(t.Context(), id, kernel.ExecuteRequest{Code: "echo 2"}) {
	}
	require.Equal(t, uint64(2), departed(), "no notebook misses what a program runs")
	for range f.Execute(t.Context(), id, kernel.ExecuteRequest{Code: "echo 2", Metadata: json.RawMessage(`{"cellId": "a"}`)}) {
	}
	require.Equal(t, uint64(3), departed())
}

// A watcher that does not read costs nothing, holds nobody up, and finds the newest of each kernel.
func TestSlowWatcherGetsTheNewest(t *testing.T) {
	f := newFixture(t, kernel.Config{}, kerneltest.Options{})
	id := f.start()
	w := f.watch()
	w.until(inState(id, "idle"))
	c := f.attach(id)
	for i := range 20 {
		c.until(ended(c.run(fmt.Sprintf("flood %d 10", 100+i))))
	}
	seen := 0
	w.until(func(s kernel.Status) bool { seen++; return s.Position == c.Position() && s.ExecutionState == "idle" })
	require.LessOrEqual(t, seen, 3, "what was missed is one Status")
}

// Whatever the order in which kernels come and go, a follower knows in the end what List gives.
func TestFollowersAgreeWithList(t *testing.T) {
	f := newFixture(t, kernel.Config{}, kerneltest.Options{})
	stay := map[string]bool{}
	var mu sync.Mutex
	var clients sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	views := make([]map[string]kernel.Status, 3)
	var followers sync.WaitGroup
	for i := range views {
		views[i] = map[string]kernel.Status{}
		watch := f.Watch(ctx)
		followers.Go(func() {
			for s := range watch {
				if s.ID == "end" {
					return
				}
				if s.Gone {
					delete(views[i], s.ID)
				} else {
					views[i][s.ID] = s
				}
			}
		})
	}
	for n := range 24 {
		clients.Go(func() {
			s, err := f.Start(ctx, kernel.StartOptions{})
			if err != nil {
				t.Error(err)
				return
			}
			if n%3 > 0 {
				if err := f.Shutdown(ctx, s.ID); err != nil {
					t.Error(err)
				}
				return
			}
			mu.Lock()
			stay[s.ID] = true
			mu.Unlock()
			if err := f.Ready(ctx, s.ID); err != nil {
				t.Error(err)
			}
		})
	}
	clients.Wait()
	for id := range stay {
		f.waitState(id, "idle")
	}
	s, err := f.Start(ctx, kernel.StartOptions{ID: "end"}) // comes after all that was
	require.NoError(t, err)
	followers.Wait()
	require.NoError(t, f.Shutdown(ctx, s.ID))
	for _, view := range views {
		for _, want := range f.List() {
			got := view[want.ID]
			want.Serial, got.Serial = 0, 0
			require.Equal(t, want, got)
		}
		require.Len(t, view, len(stay))
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	f := newFixture(t, kernel.Config{}, kerneltest.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	watch := f.Watch(ctx)
	go func() {
		defer close(ended)
		for range watch {
		}
	}()
	cancel()
	select {
	case <-ended:
	case <-time.After(patience):
		require.Fail(t, "the watch goes on")
	}
}
