package kernel

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
)

// The place of a client that does not come back is given up after DetachedTTL, and the memory behind it.
func TestPlaceOfADetachedClientExpires_P9(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := JournalLimits{MaxBytes: 8 << 20, KeepBytes: 64 << 10}
		m := NewManager(Config{DetachedTTL: time.Hour, Journal: limits}, nil, nil, nil)
		k := newKernel(m, StartOptions{ID: "k"}, 1)
		c, err := k.attach(AttachOptions{ClientSession: "page"})
		require.NoError(t, err)
		c.Detach()
		for i := range 1000 {
			k.journal.Append("", streamed(i, 1000))
		}
		time.Sleep(59 * time.Minute)
		require.Greater(t, k.journal.Bytes(), int64(1<<20), "it may still come back")
		time.Sleep(2 * time.Minute)
		require.LessOrEqual(t, k.journal.Bytes(), int64(64<<10))
		back, err := k.attach(AttachOptions{ClientSession: "page", Transient: true})
		require.NoError(t, err)
		require.Equal(t, k.journal.Position().Seq-1, back.Position().Seq, "it begins anew")
		back.Detach()
	})
}

// pull reads n entries.
func pull(t *testing.T, c Client, n int) (list []Entry) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for len(list) < n {
		buf := make([]Entry, n-len(list))
		k, err := c.Next(ctx, buf)
		require.NoError(t, err)
		list = append(list, buf[:k]...)
	}
	return list
}

// An observer sees what clients of all sessions ask and get, and when they come and go.
func TestObserverSeesEveryEntry_P5(t *testing.T) {
	k := newKernel(NewManager(Config{}, nil, nil, nil), StartOptions{ID: "k"}, 1)
	watch, err := k.attach(AttachOptions{ClientSession: "page", Observe: true})
	require.NoError(t, err)
	page, err := k.attach(AttachOptions{ClientSession: "page"})
	require.NoError(t, err)

	ask := ExecuteRequest{Code: "1"}.message("page")
	require.NoError(t, page.Send(ask))
	require.NoError(t, page.Send(compose(Shell, "page", "kernel_info_request", nil, struct{}{})))
	k.journal.Append("", streamed(1, 0))
	k.journal.Append("page", reply(1))
	k.journal.Append("another", reply(2))
	next, err := k.attach(AttachOptions{ClientSession: "page"})
	require.NoError(t, err)
	page.Detach() // no longer the session's client
	next.Detach()

	type seen struct {
		kind EntryKind
		to   string
		what string
	}
	var got []seen
	for i, e := range pull(t, watch, 7) {
		require.Equal(t, uint64(i+1), e.Seq)
		s := seen{kind: e.Kind, to: e.To}
		if e.Message != nil {
			s.what = e.Message.Header.MsgType
		}
		got = append(got, s)
	}
	require.Equal(t, []seen{
		{Attached, "page", ""},
		{Asked, "page", "execute_request"},
		{Said, "", "stream"},
		{Said, "page", "execute_reply"},
		{Said, "another", "execute_reply"},
		{Attached, "page", ""},
		{Detached, "page", ""},
	}, got)
	require.Equal(t, []uint64{3, 4}, func() (seqs []uint64) {
		since, err := k.attach(AttachOptions{ClientSession: "page", Since: &Position{}})
		require.NoError(t, err)
		defer since.Detach()
		for _, e := range pull(t, since, 2) {
			seqs = append(seqs, e.Seq)
		}
		return seqs
	}())
	watch.Detach()
	watch.Detach()
	require.Empty(t, k.observers)
}

func TestObserverIsNoClient(t *testing.T) {
	k := newKernel(NewManager(Config{CullIdleTimeout: time.Minute}, nil, nil, nil), StartOptions{ID: "k"}, 1)
	k.state = stateIdle
	o, err := k.attach(AttachOptions{ClientSession: "page", Observe: true})
	require.NoError(t, err)
	require.Zero(t, k.Status().Connections)
	_, why := k.cullable(k.cfg, time.Now().Add(time.Hour))
	require.NotEmpty(t, why, "it keeps no kernel from being culled")
	require.Equal(t, fault.Invalid, fault.KindOf(o.Send(ExecuteRequest{Code: "1"}.message("page"))))
	page, err := k.attach(AttachOptions{ClientSession: "page"})
	require.NoError(t, err)
	require.NoError(t, page.Send(ExecuteRequest{Code: "1"}.message("page")), "nobody took its place")
	k.journal.End(fault.New(fault.Gone, "over"))
	pull(t, o, 2)
	_, err = o.Next(t.Context(), make([]Entry, 1))
	require.Equal(t, fault.Gone, fault.KindOf(err))
	o.Detach()
	require.Empty(t, k.away)
}

// What was asked and could not be sent has an end in the journal, too.
func TestRefusedRequestEnds_P6(t *testing.T) {
	k := newKernel(NewManager(Config{}, nil, nil, nil), StartOptions{ID: "k"}, 1)
	page, err := k.attach(AttachOptions{ClientSession: "page"})
	require.NoError(t, err)
	for range maxPending {
		require.NoError(t, page.Send(compose(Shell, "page", "comm_msg", nil, struct{}{})))
	}
	ask := ExecuteRequest{Code: "1"}.message("page")
	require.Equal(t, fault.Busy, fault.KindOf(page.Send(ask)))
	got := pull(t, page, 2)
	require.Equal(t, "execute_reply", got[0].Message.Header.MsgType)
	require.Equal(t, stateIdle, executionState(got[1].Message.Parts[PartContent]))
	for _, e := range got {
		require.Equal(t, ask.Header.MsgID, e.Message.Parent.MsgID)
	}
	require.Empty(t, k.open.byID)
}

// A message on its way costs its watchers nothing once they know that there is something.
func TestNoteAllocatesNothing(t *testing.T) {
	m := NewManager(Config{}, nil, nil, nil)
	k := newKernel(m, StartOptions{ID: "k"}, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	m.Watch(ctx)
	k.announce()
	require.Zero(t, testing.AllocsPerRun(1000, func() { k.note(active) }))
}

// A client that confirms what was delivered is given the rest again, by whatever way it ends.
func TestWhatWasNotConfirmedIsGivenAgain_P4(t *testing.T) {
	k := newKernel(NewManager(Config{}, nil, nil, nil), StartOptions{ID: "k"}, 1)
	attach := func() *client {
		c, err := k.attach(AttachOptions{ClientSession: "page", Confirm: true})
		require.NoError(t, err)
		return c
	}
	seqs := func(c *client, n int) (list []uint64) {
		for _, e := range pull(t, c, n) {
			list = append(list, e.Seq)
		}
		return list
	}
	c := attach()
	for i := range 6 {
		k.journal.Append("", streamed(i, 1000))
	}
	require.Equal(t, []uint64{2, 3, 4, 5}, seqs(c, 4)) // 1 is its own coming
	c.Confirm(3)
	require.Equal(t, []uint64{6, 7}, seqs(c, 2), "asking for more confirms nothing")
	c.Detach()
	c = attach()
	require.Equal(t, []uint64{4, 5, 6, 7}, seqs(c, 4))
	c.Confirm(5)
	c.Confirm(4)
	next := attach() // takes its place
	require.Equal(t, []uint64{6, 7}, seqs(next, 2))
	next.Confirm(100)
	next.Detach()
	next = attach()
	k.journal.Append("", streamed(9, 1000))
	require.Len(t, seqs(next, 1), 1, "nothing is given twice")
	next.Detach()
}

// What a client has not confirmed is kept for it.
func TestUnconfirmedIsKept_P4(t *testing.T) {
	limits := JournalLimits{MaxBytes: 8 << 20, KeepBytes: 64 << 10}
	k := newKernel(NewManager(Config{Journal: limits}, nil, nil, nil), StartOptions{ID: "k"}, 1)
	c, err := k.attach(AttachOptions{ClientSession: "page", Confirm: true})
	require.NoError(t, err)
	for i := range 1000 {
		k.journal.Append("", streamed(i, 1000))
		pull(t, c, 1)
	}
	require.Greater(t, k.journal.Bytes(), int64(1<<20))
	c.Confirm(c.Position().Seq)
	c.Detach()
	require.LessOrEqual(t, k.journal.Bytes(), int64(64<<10))
}
