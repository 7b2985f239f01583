package ws

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

// fakeHost has one kernel, "k", whose journal is a slice that every client reads at its own pace. It answers
// nothing by itself: tests say what the kernel says and read what clients sent.
type fakeHost struct {
	kernel.Host // the rest is not called by this package

	sent   chan *kernel.Message // what clients sent
	full   bool                 // Send answers Busy; set before use
	attach func(kernel.AttachOptions) error
	ready  func(ctx context.Context) error // nil is ready; set before use

	mu      sync.Mutex
	entries []kernel.Entry
	clients map[string]*fakeClient // by client session
	options []kernel.AttachOptions
	live    int
	ended   bool
	changed chan struct{} // closed at each change
}

func newFakeHost() *fakeHost {
	return &fakeHost{
		sent: make(chan *kernel.Message, 1024), clients: make(map[string]*fakeClient), changed: make(chan struct{}),
	}
}

// change runs f under the lock and wakes the readers.
func (h *fakeHost) change(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	close(h.changed)
	h.changed = make(chan struct{})
}

// say appends messages to the journal.
func (h *fakeHost) say(ms ...*kernel.Message) {
	h.change(func() {
		for _, m := range ms {
			h.entries = append(h.entries, kernel.Entry{Seq: uint64(len(h.entries) + 1), Message: m})
		}
	})
}

func (h *fakeHost) gap(g kernel.Gap) {
	h.change(func() {
		h.entries = append(h.entries, kernel.Entry{Seq: uint64(len(h.entries) + 1), Gap: &g})
	})
}

func (h *fakeHost) end() { h.change(func() { h.ended = true }) }

func (h *fakeHost) attached() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.live
}

// confirmed is how much a client session is known to have got.
func (h *fakeHost) confirmed(session string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.clients[session].confirmed
}

func (h *fakeHost) Get(id string) (kernel.Status, error) {
	if id != "k" {
		return kernel.Status{}, fault.New(fault.NotFound, "kernel %s does not exist", id)
	}
	return kernel.Status{ID: id}, nil
}

func (h *fakeHost) Ready(ctx context.Context, id string) error {
	if _, err := h.Get(id); err != nil || h.ready == nil {
		return err
	}
	return h.ready(ctx)
}

func (h *fakeHost) Attach(id string, o kernel.AttachOptions) (kernel.Client, error) {
	if _, err := h.Get(id); err != nil {
		return nil, err
	}
	if h.attach != nil {
		if err := h.attach(o); err != nil {
			return nil, err
		}
	}
	c := &fakeClient{host: h, gone: make(chan struct{})}
	h.change(func() {
		h.options = append(h.options, o)
		h.live++
		if old := h.clients[o.ClientSession]; old != nil {
			old.taken = true
			c.at, c.confirmed = old.confirmed, old.confirmed
		}
		if o.ClientSession != "" {
			h.clients[o.ClientSession] = c
		}
	})
	return c, nil
}

type fakeClient struct {
	host *fakeHost
	at   int
	gone chan struct{} // closed by Detach

	taken     bool // guarded by host.mu
	confirmed int  // guarded by host.mu
}

func (c *fakeClient) Send(m *kernel.Message) error {
	if c.host.full {
		return fault.New(fault.Busy, "the kernel's queue is full")
	}
	if m.Header.MsgType == "forbidden_request" {
		return fault.New(fault.Invalid, "clients may not send this")
	}
	c.host.sent <- m
	return nil
}

func (c *fakeClient) Next(ctx context.Context, buf []kernel.Entry) (int, error) {
	for {
		h := c.host
		h.mu.Lock()
		n := 0
		if !c.taken {
			n = copy(buf, h.entries[c.at:])
			c.at += n
		}
		taken, ended, changed := c.taken, h.ended, h.changed
		h.mu.Unlock()
		switch {
		case taken:
			return 0, kernel.ErrTakenOver
		case n > 0:
			return n, nil
		case ended:
			return 0, fault.New(fault.Gone, "the kernel was shut down")
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (c *fakeClient) Confirm(seq uint64) {
	c.host.mu.Lock()
	defer c.host.mu.Unlock()
	c.confirmed = max(c.confirmed, int(seq))
}

func (c *fakeClient) Position() kernel.Position { return kernel.Position{Epoch: 1, Seq: uint64(c.at)} }

func (c *fakeClient) Detach() {
	c.host.change(func() { c.host.live-- })
	close(c.gone)
}

// message makes a message as a kernel writes it: with fields and numbers that a decoder would not keep.
func message(t testing.TB, ch kernel.Channel, id string, content string, buffers ...[]byte) *kernel.Message {
	t.Helper()
	m, err := kernel.NewMessage(ch, [4]json.RawMessage{
		json.RawMessage(fmt.Sprintf(`{"msg_id": "%s", "msg_type":"stream","session":"kernel-session","username":"u",`+
			`"date":"2026-01-01T00:00:00.000000Z","version":"5.4","x_unknown":[1.0,1e5,12345678901234567890]}`, id)),
		json.RawMessage(`{"msg_id":"parent","msg_type":"execute_request","session":"client","subshell_id":null}`),
		json.RawMessage(`{"big":123456789012345678901234567890.10}`),
		json.RawMessage(content),
	}, buffers)
	require.NoError(t, err)
	return m
}

// stream makes n stream messages of about 700 bytes, as a loop of print statements gives.
func stream(t testing.TB, n int) []*kernel.Message {
	ms := make([]*kernel.Message, n)
	for i := range ms {
		ms[i] = message(t, kernel.IOPub, fmt.Sprintf("m%06d", i), fmt.Sprintf(`{"name":"stdout","text":"%0360d\n"}`, i))
	}
	return ms
}

func same(t testing.TB, want, got *kernel.Message) {
	t.Helper()
	require.Equal(t, want.Channel, got.Channel)
	for i := range want.Parts {
		require.Equal(t, string(want.Parts[i]), string(got.Parts[i]), "part %d", i)
	}
	require.True(t, slices.EqualFunc(want.Buffers, got.Buffers, slices.Equal), "buffers differ")
}
