package kernel

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
)

func TestOpenRequestsAreBounded_P9(t *testing.T) {
	var o openRequests
	for i := range 10 * maxOpen {
		m := compose(Shell, "s", "execute_request", nil, struct{}{})
		require.True(t, o.add(m, "s"))
		r := o.byID[m.Header.MsgID]
		o.surplus(r)
		if i%3 == 0 {
			o.remove(r)
		}
		require.LessOrEqual(t, len(o.byID), maxOpen)
		require.LessOrEqual(t, len(o.order), 2*maxOpen+1)
	}
	o.take()
	require.Zero(t, len(o.all()))
	require.False(t, o.add(compose(Stdin, "s", "input_reply", nil, struct{}{}), "s"))
}

// Who is one too many is told so: the oldest that runs nothing, else the newcomer. Nobody is forgotten.
func TestRequestsBeyondTheBoundEnd_P6(t *testing.T) {
	m := NewManager(Config{}, NewSpecs(SpecsConfig{}), nil, nil)
	k := newKernel(m, StartOptions{ID: "k"}, 1)
	c, err := k.attach(AttachOptions{ClientSession: "s"})
	require.NoError(t, err)
	k.mu.Lock()
	k.inc = &incarnation{} // not ready: but for open, nothing counts here
	k.mu.Unlock()
	ask := func(kind string) (*Message, error) {
		m := compose(Shell, "s", kind, nil, struct{}{})
		err := c.Send(m)
		k.mu.Lock()
		k.pending, k.pendingB = nil, 0
		k.mu.Unlock()
		return m, err
	}
	old, err := ask("inspect_request")
	require.NoError(t, err)
	for range maxOpen {
		_, err := ask(executeRequest)
		require.NoError(t, err)
	}
	late, err := ask(executeRequest)
	require.Equal(t, fault.Busy, fault.KindOf(err))

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var got []string
	buf := make([]Entry, 16)
	for len(got) < 4 {
		n, err := c.Next(ctx, buf)
		require.NoError(t, err)
		for _, e := range buf[:n] {
			if e.Message != nil && (e.Message.Parent.MsgID == old.Header.MsgID || e.Message.Parent.MsgID == late.Header.MsgID) {
				got = append(got, e.Message.Header.MsgType)
			}
		}
	}
	require.Equal(t, []string{"inspect_reply", "status", "execute_reply", "status"}, got)
}

// What was asked before the kernel was ready is handed over in a row; from the first of it on there is something to
// interrupt.
func TestWhatIsHandedOverCanBeInterrupted_P6(t *testing.T) {
	m := NewManager(Config{}, NewSpecs(SpecsConfig{}), nil, nil)
	k := newKernel(m, StartOptions{ID: "k"}, 1)
	inc := &incarnation{}
	for range maxPending {
		k.pending = append(k.pending, compose(Shell, "s", "execute_request", nil, struct{}{}))
	}
	conn := &Conn{done: make(chan struct{})}
	conn.socks[Shell] = &sock{queue: make(chan *Message, maxPending)}
	served := make(chan bool, 1)
	go func() {
		<-conn.socks[Shell].queue
		k.mu.Lock()
		was := inc.served
		k.mu.Unlock()
		served <- was
	}()
	require.True(t, k.handOver(inc, conn))
	require.True(t, <-served)
}
