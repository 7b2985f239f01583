package sessions_test

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

// fakeHost has kernels without processes. As a real one it takes an id before it starts anything, shows
// "starting" and "terminating" meanwhile, and lets others run between its steps.
type fakeHost struct {
	kernel.Host // panics on what no session needs

	starting func(context.Context, kernel.StartOptions) error // called without the lock; may wait or fail

	mu       sync.Mutex
	kernels  map[string]*kernel.Status
	order    []string
	made     int                   // ids
	starts   []kernel.StartOptions // those that succeeded
	executed []string
	down     error // what Get says instead of an answer
}

func newFakeHost() *fakeHost { return &fakeHost{kernels: map[string]*kernel.Status{}} }

func (h *fakeHost) Start(ctx context.Context, o kernel.StartOptions) (kernel.Status, error) {
	h.mu.Lock()
	if o.ID == "" {
		h.made++
		o.ID = fmt.Sprintf("k%07d-0000-4000-8000-000000000000", h.made)
	}
	if h.kernels[o.ID] != nil {
		h.mu.Unlock()
		return kernel.Status{}, fault.New(fault.Conflict, "a kernel with id %s runs already", o.ID)
	}
	if o.Spec == "" {
		o.Spec = "python3"
	}
	st := &kernel.Status{ID: o.ID, Spec: o.Spec, ExecutionState: "starting", LastActivity: time.Unix(1e9, 0), Owner: o.Owner}
	h.kernels[o.ID] = st
	h.order = append(h.order, o.ID)
	h.mu.Unlock()

	runtime.Gosched()
	var err error
	if h.starting != nil {
		err = h.starting(ctx, o)
	}
	if o.Spec == "missing" {
		err = fault.New(fault.Unstartable, "no kernelspec is named %s", o.Spec)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		h.forget(o.ID)
		return kernel.Status{}, err
	}
	h.starts = append(h.starts, o)
	return *st, nil
}

func (h *fakeHost) forget(id string) {
	delete(h.kernels, id)
	h.order = slices.DeleteFunc(h.order, func(o string) bool { return o == id })
}

func (h *fakeHost) Get(id string) (kernel.Status, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down != nil {
		return kernel.Status{}, h.down
	}
	if st := h.kernels[id]; st != nil {
		return *st, nil
	}
	return kernel.Status{}, fault.New(fault.NotFound, "kernel %s does not exist", id)
}

func (h *fakeHost) Shutdown(_ context.Context, id string) error {
	h.mu.Lock()
	st := h.kernels[id]
	if st == nil || st.ExecutionState == kernel.StateTerminating {
		h.mu.Unlock()
		return fault.New(fault.NotFound, "kernel %s does not exist", id)
	}
	st.ExecutionState = kernel.StateTerminating
	h.mu.Unlock()
	runtime.Gosched()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forget(id)
	return nil
}

func (h *fakeHost) Interrupt(_ context.Context, id string) error {
	_, err := h.Get(id)
	return err
}

func (h *fakeHost) Execute(_ context.Context, id string, req kernel.ExecuteRequest) iter.Seq2[kernel.Entry, error] {
	return func(yield func(kernel.Entry, error) bool) {
		h.mu.Lock()
		h.executed = append(h.executed, id+" "+req.Code)
		h.mu.Unlock()
		yield(kernel.Entry{Seq: 1}, nil)
	}
}

// set gives a kernel another state, as the kernel itself would.
func (h *fakeHost) set(t testing.TB, id, state, reason string) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	require.NotNil(t, h.kernels[id])
	h.kernels[id].ExecutionState, h.kernels[id].Reason = state, reason
}

// lose makes a kernel one of an earlier server.
func (h *fakeHost) lose(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kernels[id].Lost = true
}

func (h *fakeHost) List() (all []kernel.Status) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range h.order {
		all = append(all, *h.kernels[id])
	}
	return all
}

func (h *fakeHost) unreachable(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down = err
}

func (h *fakeHost) running() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.order)
}

func (h *fakeHost) started() []kernel.StartOptions {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.starts)
}
