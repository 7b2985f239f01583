package kernel

import (
	"context"
)

// Meter tells what kernels use. *Manager is one.
type Meter interface {
	// Usage is what a kernel's processes use now. A kernel without a process, or one of which nothing is known, uses
	// nothing; an unknown id is NotFound.
	Usage(ctx context.Context, id string) (Usage, error)
}

// Usage implements Meter.
func (m *Manager) Usage(_ context.Context, id string) (Usage, error) {
	k, err := m.kernel(id)
	if err != nil {
		return Usage{}, err
	}
	return k.usage(), nil
}

func (k *Kernel) usage() Usage {
	k.mu.Lock()
	inc := k.inc
	k.mu.Unlock()
	if inc == nil {
		return Usage{}
	}
	u, _ := inc.proc.Usage()
	u.PID = inc.proc.Record().PID
	return u
}

// totalUsage sums up what all kernels use.
func (m *Manager) totalUsage() (t Usage) {
	for _, k := range m.all() {
		u := k.usage()
		t.MemoryBytes += u.MemoryBytes
		t.Processes += u.Processes
	}
	return t
}
