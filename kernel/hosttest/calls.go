package hosttest

import (
	"bytes"
	"context"
	"encoding/json"
	"iter"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

func (s *suite) execute(t *testing.T) {
	id := s.start(t)
	var all []kernel.Entry
	for e, err := range s.host.Execute(t.Context(), id, kernel.ExecuteRequest{Code: "echo 42"}) {
		require.NoError(t, err)
		all = append(all, e)
	}
	require.Contains(t, words(all), "execute_reply")
	require.Contains(t, words(all), "execute_result")

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	for e, err := range s.host.Execute(ctx, id, kernel.ExecuteRequest{Code: "sleep 1h"}) {
		last = err
		if err == nil && word(e) == "execute_input" {
			cancel()
		}
	}
	require.Equal(t, fault.Canceled, fault.KindOf(last))
	st, err := s.host.Get(id)
	require.NoError(t, err)
	require.Equal(t, "busy", st.ExecutionState, "the code goes on")
	require.NoError(t, s.host.Interrupt(t.Context(), id))
	for range s.host.Execute(t.Context(), id, kernel.ExecuteRequest{Code: "print left early"}) {
		break
	}
	s.get(t, id, func(st kernel.Status) bool { return st.ExecutionState == "idle" && st.Connections == 0 })

	c := s.page(t, id)
	dies := make(chan error, 1)
	go func() {
		for _, err := range s.host.Execute(context.Background(), id, kernel.ExecuteRequest{Code: "sleep 1h"}) {
			if err != nil {
				dies <- err
				return
			}
		}
		dies <- nil
	}()
	c.until(func(e kernel.Entry) bool { return word(e) == "execute_input" && content(e)["code"] == "sleep 1h" })
	require.NoError(t, s.host.Shutdown(t.Context(), id))
	require.NoError(t, <-dies, "its end is written down, and read")
}

func (s *suite) ready(t *testing.T) {
	id := s.start(t)
	require.NoError(t, s.host.Ready(t.Context(), id))
	c := s.page(t, id)
	c.until(ended(c.run("echo 1")))
}

func (s *suite) bulk(t *testing.T) {
	id := s.start(t)
	c, late := s.page(t, id), s.page(t, id)
	for _, code := range []string{"flood 5000 100", "flood 200 40000", "buffers 20 1000000"} {
		m := c.run(code)
		numbered(t, c.until(ended(m)))
	}
	m := c.request(kernel.Shell, "comm_msg", struct{}{}, bytes.Repeat([]byte("x"), 3<<20), nil, []byte("y"))
	require.NoError(t, c.Send(m))
	numbered(t, late.until(is("status:idle")))
	numbered(t, late.until(is("status:idle")))
	numbered(t, late.until(is("status:idle")))
}

// numbered checks that the numbers of the numbered messages follow one another.
func numbered(t *testing.T, all []kernel.Entry) {
	t.Helper()
	count := 0
	for _, e := range all {
		require.Nil(t, e.Gap)
		var meta struct {
			Seq *int `json:"seq"`
		}
		require.NoError(t, json.Unmarshal(e.Message.Parts[kernel.PartMetadata], &meta))
		if meta.Seq != nil {
			require.Equal(t, count, *meta.Seq)
			count++
		}
	}
	require.GreaterOrEqual(t, count, 20)
}

// slow has a client that does not read while the kernel says far more than any buffer holds.
func (s *suite) slow(t *testing.T) {
	id := s.start(t)
	sleeper, c := s.page(t, id), s.page(t, id)
	for range 4 {
		numbered(t, c.until(ended(c.run("flood 200 50000")))) // 10 MB each
	}
	for range 4 {
		numbered(t, sleeper.until(is("status:idle")))
	}
}

func (s *suite) watch(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	before := s.start(t)
	next, stop := iter.Pull(s.host.Watch(ctx))
	defer stop()
	until := func(what string, ok func(kernel.Status) bool) kernel.Status {
		t.Helper()
		for {
			st, more := next()
			require.True(t, more, "waiting for %s", what)
			if ok(st) {
				return st
			}
		}
	}
	until("those that there are", func(st kernel.Status) bool { return st.ID == before })
	id := s.start(t)
	until("a new one", func(st kernel.Status) bool { return st.ID == id && st.ExecutionState == "idle" })
	c := s.page(t, id)
	until("a client", func(st kernel.Status) bool { return st.ID == id && st.Connections == 1 })
	m := c.run("sleep 1h")
	until("work", func(st kernel.Status) bool { return st.ID == id && st.ExecutionState == "busy" })
	require.NoError(t, s.host.Interrupt(t.Context(), id))
	c.until(ended(m))
	until("rest", func(st kernel.Status) bool {
		return st.ID == id && st.ExecutionState == "idle" && st.Position == c.Position()
	})
	c.Detach()
	until("a departure", func(st kernel.Status) bool { return st.ID == id && st.Departed == 1 })
	require.NoError(t, s.host.Shutdown(t.Context(), id))
	st := until("the end", func(st kernel.Status) bool { return st.Gone })
	require.Equal(t, id, st.ID)
	require.NoError(t, s.host.Shutdown(t.Context(), before))
	require.Equal(t, before, until("the other's end", func(st kernel.Status) bool { return st.Gone }).ID, "a kernel goes once")
	cancel()
	_, more := next()
	require.False(t, more, "it ends with its context")
}
