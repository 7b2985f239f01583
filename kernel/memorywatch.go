package kernel

import (
	"context"
	"time"
)

const (
	// memoryPace is how often the memory of limited kernels is looked at. A look is two small files, 36 µs: a
	// hundred kernels cost 0.4 % of a processor. What is filled faster than that is not warned of.
	memoryPace = time.Second
	// A kernel is warned at memoryWarn of its limit, and not again before it was at memoryCalm.
	memoryWarn = 0.90
	memoryCalm = 0.75
)

// watchMemory warns the users of kernels that come near their memory limit, until ctx ends.
func (m *Manager) watchMemory(ctx context.Context) {
	tick := time.NewTicker(memoryPace)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			for _, k := range m.all() {
				k.checkMemory()
			}
		}
	}
}

// memoryState is what an incarnation's memory was when it was looked at. It belongs to watchMemory.
type memoryState struct {
	warned bool
	kills  uint64 // for want of memory
	told   uint64 // of those
}

// checkMemory says in the kernel's stream what its users should know of its memory. It does not wait.
func (k *Kernel) checkMemory() {
	k.mu.Lock()
	inc := k.inc
	k.mu.Unlock()
	if inc == nil {
		return
	}
	used, kills, ok := inc.proc.Memory()
	if !ok {
		return
	}
	limit := inc.proc.Record().Enforced
	share := float64(used) / float64(limit.MemoryBytes)
	state := &inc.memory
	before := state.kills
	state.kills = kills
	switch {
	case before > state.told: // at the last look; if it was the kernel itself that is told elsewhere, and was by now
		state.told = before
		k.complain("out of memory: the system has ended a process of this kernel, which may use no more than " +
			formatBytes(limit.MemoryBytes) + " together with all that it starts.")
	case share >= memoryWarn && !state.warned:
		state.warned = true
		k.log.Warn("kernel is near its memory limit", "used", used, "limit", limit.MemoryBytes)
		k.complain("this kernel uses " + formatBytes(used) + " of the " + formatBytes(limit.MemoryBytes) +
			" of memory that it may have. " + consequence[limit.MemoryBy])
	case share < memoryCalm:
		state.warned = false
	}
}

// consequence is what happens at the limit.
var consequence = map[string]string{
	byCgroup: "If it needs more, it is ended and its variables are lost.",
	byRlimit: "If it asks for more, that fails.",
}

// complain puts a line of the server's into the output of the cell that runs, for all clients.
func (k *Kernel) complain(text string) {
	k.mu.Lock()
	voice := k.voice
	var parent []byte
	for _, r := range k.open.order {
		if k.open.byID[r.id] == r && r.busy && !r.done && r.kind == executeRequest {
			parent = r.header
			break
		}
	}
	k.mu.Unlock()
	k.journal.Append("", compose(IOPub, voice, "stream", parent, map[string]string{"name": "stderr", "text": "nbserv: " + text + "\n"}))
}
