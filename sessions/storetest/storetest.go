// Package storetest is what every sessions.Store passes.
package storetest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/sessions"
)

// Run tests a Store. open gives the Store of one test, empty at first; reopen gives it as a server would
// find it that starts after the first one was killed.
func Run(t *testing.T, open func(t *testing.T) (store sessions.Store, reopen func() sessions.Store)) {
	t.Run("rows come back as they were, oldest first", func(t *testing.T) {
		s, reopen := open(t)
		require.Empty(t, load(t, s))
		rows := []sessions.Row{row(3, "c"), row(1, "a/b.ipynb"), row(2, "it's \"é\" \U0001F600 %_\n")}
		apply(t, s, sessions.Change{Put: rows})
		want := []sessions.Row{rows[1], rows[2], rows[0]}
		require.Equal(t, want, load(t, s))
		require.Equal(t, want, load(t, reopen()))
	})
	t.Run("a row is replaced by its id", func(t *testing.T) {
		s, reopen := open(t)
		a, b := row(1, "a"), row(2, "b")
		apply(t, s, sessions.Change{Put: []sessions.Row{a, b}})
		a.Path, a.Name, a.Type, a.KernelID, a.KernelName = "b", "n", "console", "k", "ir" // b's path: not a key
		apply(t, s, sessions.Change{Put: []sessions.Row{a}})
		require.Equal(t, []sessions.Row{a, b}, load(t, reopen()))
	})
	t.Run("put and drop are one change", func(t *testing.T) {
		s, reopen := open(t)
		a, b, c := row(1, "a"), row(2, "b"), row(3, "c")
		apply(t, s, sessions.Change{Put: []sessions.Row{a, b}})
		apply(t, s, sessions.Change{Put: []sessions.Row{c}, Drop: []string{a.ID, b.ID, "unknown"}})
		require.Equal(t, []sessions.Row{c}, load(t, reopen()))
		apply(t, s, sessions.Change{Drop: []string{c.ID}})
		require.Empty(t, load(t, reopen()))
	})
	t.Run("a change that cannot be made changes nothing", func(t *testing.T) {
		s, reopen := open(t)
		a := row(1, "a")
		apply(t, s, sessions.Change{Put: []sessions.Row{a}})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.Error(t, s.Apply(ctx, sessions.Change{Put: []sessions.Row{row(2, "b")}, Drop: []string{a.ID}}))
		require.Equal(t, []sessions.Row{a}, load(t, reopen()))
	})
	t.Run("many write at once", func(t *testing.T) {
		s, reopen := open(t)
		const n = 40
		var wg sync.WaitGroup
		errs := make([]error, n)
		for i := range n {
			wg.Go(func() {
				c := sessions.Change{Put: []sessions.Row{row(i, "p")}}
				if errs[i] = s.Apply(t.Context(), c); errs[i] == nil && i%2 == 0 {
					errs[i] = s.Apply(t.Context(), sessions.Change{Drop: []string{row(i, "").ID}})
				}
			})
		}
		wg.Wait()
		for _, err := range errs {
			require.NoError(t, err)
		}
		require.Len(t, load(t, reopen()), n/2)
	})
}

// row makes a row that is n seconds old on the scale of the tests.
func row(n int, path string) sessions.Row {
	return sessions.Row{
		ID: fmt.Sprintf("%08d-0000-4000-8000-000000000000", n), Path: path, Name: "", Type: "notebook",
		KernelID: fmt.Sprintf("kernel-%d", n), KernelName: "python3",
		Created: time.Date(2026, 1, 2, 3, 4, n, 5_000, time.UTC),
	}
}

func load(t *testing.T, s sessions.Store) []sessions.Row {
	t.Helper()
	rows, err := s.Load(t.Context())
	require.NoError(t, err)
	return rows
}

func apply(t *testing.T, s sessions.Store, c sessions.Change) {
	t.Helper()
	require.NoError(t, s.Apply(t.Context(), c))
}
