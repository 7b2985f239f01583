package hosttest

import (
	"context"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

func (s *suite) lifecycle(t *testing.T) {
	var ids []string
	for range 3 {
		id := s.start(t)
		ids = append(ids, id)
		st, err := s.host.Get(id)
		require.NoError(t, err, "a kernel is known as soon as it was started")
		require.Equal(t, "synth", st.Spec)
		require.NotEmpty(t, st.ExecutionState)
		require.False(t, st.LastActivity.IsZero())
	}
	require.Equal(t, ids, listed(s.host), "by their start")
	require.NoError(t, s.host.Shutdown(t.Context(), ids[1]))
	require.Equal(t, []string{ids[0], ids[2]}, listed(s.host), "it is gone when Shutdown returns")
	_, err := s.host.Get(ids[1])
	require.Equal(t, fault.NotFound, fault.KindOf(err))

	named, err := s.host.Start(t.Context(), kernel.StartOptions{ID: ids[1], Spec: "synth", Cwd: "/"})
	require.NoError(t, err, "an id is free again")
	require.Equal(t, ids[1], named.ID)
	require.Equal(t, []string{ids[0], ids[2], ids[1]}, listed(s.host))
}

func listed(h kernel.Host) (ids []string) {
	for _, st := range h.List() {
		ids = append(ids, st.ID)
	}
	return ids
}

func (s *suite) refusals(t *testing.T) {
	id := s.start(t)
	_, err := s.host.Start(t.Context(), kernel.StartOptions{ID: id})
	require.Equal(t, fault.Conflict, fault.KindOf(err))
	_, err = s.host.Start(t.Context(), kernel.StartOptions{ID: "../x"})
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	_, err = s.host.Start(t.Context(), kernel.StartOptions{Spec: "unheard of"})
	require.Equal(t, fault.Unstartable, fault.KindOf(err))
	_, err = s.host.Start(t.Context(), kernel.StartOptions{Spec: "absent"})
	require.Equal(t, fault.Unstartable, fault.KindOf(err))
	require.Contains(t, fault.Message(err), "no such command", "the reason is told")
	require.Equal(t, []string{id}, listed(s.host))

	for _, unknown := range []string{"k", "", "a/b?c=d&e", strings.Repeat("x", 5000)} {
		_, err = s.host.Get(unknown)
		require.Equal(t, fault.NotFound, fault.KindOf(err))
		_, err = s.host.Attach(unknown, kernel.AttachOptions{})
		require.Equal(t, fault.NotFound, fault.KindOf(err))
		require.Equal(t, fault.NotFound, fault.KindOf(s.host.Interrupt(t.Context(), unknown)))
		require.Equal(t, fault.NotFound, fault.KindOf(s.host.Restart(t.Context(), unknown)))
		require.Equal(t, fault.NotFound, fault.KindOf(s.host.Shutdown(t.Context(), unknown)))
		require.Equal(t, fault.NotFound, fault.KindOf(s.host.Ready(t.Context(), unknown)))
		for _, err := range s.host.Execute(t.Context(), unknown, kernel.ExecuteRequest{Code: "echo 1"}) {
			require.Equal(t, fault.NotFound, fault.KindOf(err))
		}
	}
	c := s.page(t, id)
	for _, ch := range []kernel.Channel{kernel.IOPub, 4, 255} {
		require.Equal(t, fault.Invalid, fault.KindOf(c.Send(c.request(ch, "status", struct{}{}))))
	}
}

func (s *suite) execution(t *testing.T) {
	id := s.start(t)
	a, b := s.page(t, id), s.page(t, id)
	m := a.run("echo hi") // at once: the kernel is still starting
	all := a.until(ended(m))
	require.Contains(t, words(all), "execute_reply")
	require.Equal(t, "status:busy execute_input stream execute_result status:idle",
		strings.Join(strings.Fields(strings.Replace(words(all), "execute_reply", "", 1)), " "))
	st, err := s.host.Get(id)
	require.NoError(t, err)
	require.Equal(t, "idle", st.ExecutionState, "who has read that it is idle is told so")
	require.Equal(t, 2, st.Connections)
	for i, e := range all[1:] {
		require.Greater(t, e.Seq, all[i].Seq, "numbers grow")
	}
	require.Equal(t, all[len(all)-1].Seq, a.Position().Seq)
	others := b.until(is("status:idle"))
	require.NotContains(t, words(others), "execute_reply", "a reply is for who asked")
	require.Contains(t, words(others), "stream", "output is for all")

	ask := a.run("input name?")
	asked := a.until(is("input_request"))
	require.Equal(t, kernel.Stdin, asked[len(asked)-1].Message.Channel)
	require.NoError(t, a.Send(a.request(kernel.Stdin, "input_reply", map[string]string{"value": "Ada"})))
	require.Equal(t, "Ada\n", find(t, a.until(ended(ask)), "stream")["text"])
}

func (s *suite) takeover(t *testing.T) {
	id := s.start(t)
	first := s.page(t, id)
	first.until(ended(first.run("echo 1")))
	waits := make(chan error, 1)
	go func() {
		for {
			if _, err := first.Next(context.Background(), make([]kernel.Entry, 1)); err != nil {
				waits <- err
				return
			}
		}
	}()
	second := s.attach(t, id, kernel.AttachOptions{ClientSession: first.session})
	require.ErrorIs(t, <-waits, kernel.ErrTakenOver)
	require.ErrorIs(t, first.Send(first.request(kernel.Shell, "kernel_info_request", struct{}{})), kernel.ErrTakenOver)
	first.Detach() // ends nobody but itself
	second.until(ended(second.run("echo 2")))
	s.get(t, id, func(st kernel.Status) bool { return st.Connections == 1 })

	anonymous := s.attach(t, id, kernel.AttachOptions{})
	s.attach(t, id, kernel.AttachOptions{})
	anonymous.session = uuid.NewString()
	anonymous.until(ended(anonymous.run("echo 3"))) // nobody takes its place
}

func (s *suite) detach(t *testing.T) {
	id := s.start(t)
	c, other := s.page(t, id), s.page(t, id)
	c.until(ended(c.run("echo 1")))
	_, err := c.Next(expired(), make([]kernel.Entry, 1)) // which says that all of that was delivered
	require.Equal(t, fault.Canceled, fault.KindOf(err))
	c.Detach()
	c.Detach()
	_, err = c.Next(t.Context(), make([]kernel.Entry, 1))
	require.Equal(t, fault.Gone, fault.KindOf(err))
	require.Equal(t, fault.Gone, fault.KindOf(c.Send(c.request(kernel.Shell, "kernel_info_request", struct{}{}))))
	s.get(t, id, func(st kernel.Status) bool { return st.Connections == 1 && st.Departed == 1 })

	missed := other.run("print while you were away")
	other.until(ended(missed))
	back := s.attach(t, id, kernel.AttachOptions{ClientSession: c.session})
	all := back.until(is("status:idle"))
	require.Equal(t, "status:busy execute_input stream status:idle", words(all))
	back.Detach()
	again := s.attach(t, id, kernel.AttachOptions{ClientSession: c.session})
	require.Equal(t, "status:busy", word(again.next()), "what was returned last may not have been delivered")
	again.Detach()

	gone := s.attach(t, id, kernel.AttachOptions{ClientSession: "once", Transient: true})
	gone.Detach()
	s.get(t, id, func(st kernel.Status) bool { return st.Connections == 1 })
	other.until(ended(other.run("echo 3")))
	anew := s.attach(t, id, kernel.AttachOptions{ClientSession: "once"})
	last := other.run("print new")
	require.Equal(t, last.Header.MsgID, anew.next().Message.Parent.MsgID, "it begins anew")
	other.until(ended(last))
}

// expired is a context that has ended.
func expired() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func (s *suite) since(t *testing.T) {
	id := s.start(t)
	c := s.page(t, id)
	start := c.Position()
	all := c.until(ended(c.run("order 30")))
	st, err := s.host.Get(id)
	require.NoError(t, err)
	require.Equal(t, start.Epoch, c.Position().Epoch)
	require.GreaterOrEqual(t, st.Position.Seq, start.Seq)

	var heard []kernel.Entry // by all
	for _, e := range all {
		if e.Message.Channel == kernel.IOPub {
			heard = append(heard, e)
		}
	}
	for _, from := range []int{0, 1, len(heard) / 2, len(heard) - 1} {
		since := kernel.Position{Epoch: start.Epoch, Seq: heard[from].Seq - 1}
		again := s.attach(t, id, kernel.AttachOptions{ClientSession: uuid.NewString(), Since: &since})
		require.Equal(t, since, again.Position())
		for _, e := range heard[from:] {
			got := again.next()
			require.Equal(t, e.Seq, got.Seq)
			require.Equal(t, e.Message, got.Message)
		}
	}
	strange := kernel.Position{Epoch: start.Epoch + 1, Seq: 5}
	lost := s.attach(t, id, kernel.AttachOptions{ClientSession: uuid.NewString(), Since: &strange})
	gap := lost.next()
	require.NotNil(t, gap.Gap)
	require.Contains(t, gap.Gap.Reason, "not kept")
	require.Equal(t, heard[len(heard)-1].Seq, lost.until(is("status:idle"))[len(heard)-1].Seq, "then all there is")
}

func (s *suite) observe(t *testing.T) {
	id := s.start(t)
	require.NoError(t, s.host.Ready(t.Context(), id))
	o := s.attach(t, id, kernel.AttachOptions{Observe: true})
	require.Equal(t, fault.Invalid, fault.KindOf(o.Send(o.request(kernel.Shell, "kernel_info_request", struct{}{}))))
	c := s.page(t, id)
	m := c.run("echo 1")
	c.until(ended(m))
	c.Detach()
	all := o.until(func(e kernel.Entry) bool { return e.Kind == kernel.Detached })
	require.Equal(t, kernel.Attached, all[0].Kind)
	require.Equal(t, kernel.Asked, all[1].Kind)
	require.Equal(t, m.Header.MsgID, all[1].Message.Header.MsgID)
	require.Contains(t, words(all), "execute_reply", "whoever it is for")
	for _, e := range all {
		if e.Kind != kernel.Said || e.Message.Channel == kernel.Shell {
			require.Equal(t, c.session, e.To)
		}
	}
	s.get(t, id, func(st kernel.Status) bool { return st.Connections == 0 })
}

// confirm: a client that says itself what was delivered gets all there is without saying so, and its session goes on
// where it said.
func (s *suite) confirm(t *testing.T) {
	id := s.start(t)
	o := kernel.AttachOptions{ClientSession: uuid.NewString(), Confirm: true}
	c := s.attach(t, id, o)
	all := c.until(ended(c.run("flood 4000 1000"))) // more than a host sends ahead
	half := all[len(all)/2].Seq
	c.Confirm(all[10].Seq)
	c.Confirm(half)
	c.Confirm(all[20].Seq) // it was there already
	c.Detach()
	s.get(t, id, func(st kernel.Status) bool { return st.Connections == 0 })
	again := s.attach(t, id, o)
	for _, e := range all[len(all)/2+1:] {
		require.Equal(t, e.Seq, again.next().Seq)
	}
	again.Confirm(all[len(all)-1].Seq)
	again.Detach()
	s.get(t, id, func(st kernel.Status) bool { return st.Connections == 0 })
	last := s.attach(t, id, o)
	m := last.run("echo once")
	for _, e := range last.until(ended(m)) {
		require.Equal(t, m.Header.MsgID, e.Message.Parent.MsgID, "nothing comes a third time")
	}
}

func (s *suite) interrupt(t *testing.T) {
	id := s.start(t)
	c := s.page(t, id)
	m := c.run("sleep 1h")
	c.until(is("execute_input"))
	require.NoError(t, s.host.Interrupt(t.Context(), id))
	require.Equal(t, "KeyboardInterrupt", find(t, c.until(ended(m)), "error")["ename"])
}

func (s *suite) restart(t *testing.T) {
	id := s.start(t)
	c := s.page(t, id)
	running := c.run("sleep 1h")
	c.until(is("execute_input"))
	require.NoError(t, s.host.Restart(t.Context(), id))
	st, err := s.host.Get(id)
	require.NoError(t, err)
	require.Contains(t, []string{"restarting", "idle"}, st.ExecutionState, "it is known when Restart returns")
	all := c.until(ended(running))
	require.Equal(t, "error", find(t, all, "execute_reply")["status"])
	require.Contains(t, words(all), "error")
	c.until(ended(c.run("echo again")))
}

func (s *suite) death(t *testing.T) {
	id := s.start(t)
	c := s.page(t, id)
	m := c.run("die 7")
	all := c.until(ended(m))
	require.Contains(t, find(t, all, "error")["evalue"], "exit code 7")
	c.until(is("status:dead"))
	st, err := s.host.Get(id)
	require.NoError(t, err)
	require.Equal(t, "dead", st.ExecutionState)
	require.Contains(t, st.Reason, "exit code 7")
	c.until(ended(c.run("echo late")))
	require.NoError(t, s.host.Restart(t.Context(), id))
	c.until(ended(c.run("echo anew")))
	st, err = s.host.Get(id)
	require.NoError(t, err)
	require.Empty(t, st.Reason)
}

func (s *suite) shutdown(t *testing.T) {
	id := s.start(t)
	c, quiet := s.page(t, id), s.page(t, id)
	m := c.run("sleep 1h")
	c.until(is("execute_input"))
	require.NoError(t, s.host.Shutdown(t.Context(), id))
	c.until(ended(m))
	err := c.fails()
	require.Equal(t, fault.Gone, fault.KindOf(err))
	require.Contains(t, fault.Message(err), "shut down")
	require.Equal(t, err.Error(), quiet.fails().Error())
	require.Equal(t, fault.Gone, fault.KindOf(c.Send(c.request(kernel.Shell, "kernel_info_request", struct{}{}))))
	require.Equal(t, fault.NotFound, fault.KindOf(s.host.Shutdown(t.Context(), id)))
}

// usage is told of a kernel that runs; what is in it depends on where.
func (s *suite) usage(t *testing.T) {
	m, ok := s.host.(kernel.Meter)
	require.True(t, ok)
	u, err := m.Usage(t.Context(), s.start(t))
	require.NoError(t, err)
	require.Positive(t, u.PID)
	_, err = m.Usage(t.Context(), "nobody")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
}
