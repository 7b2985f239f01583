package kernel

// What a frontend's server sent to the kernel host that died may have reached the kernel or not, and what the kernel
// answered may have come into the journal or not. The server tells the next host which requests have no end yet, and
// that one sees to it that they get one.

// maxAnswered bounds the answers to unknown requests that are remembered.
const maxAnswered = 4096

// answers remembers which requests were answered that nobody had asked, as far as is known. Guarded by the kernel's
// mu.
type answers map[string]struct{}

func (a *answers) add(id string) {
	if *a == nil || len(*a) >= maxAnswered {
		*a = make(answers)
	}
	(*a)[id] = struct{}{}
}

// Unsettled takes a request that was sent to the process that had the kernel before, and that has had no end. Where
// the kernel may still answer it that is waited for; where it will not, the request is ended in its place. It never
// blocks for longer than it takes to read the kernel's journal.
func (c *client) Unsettled(m *Message) { c.k.unsettled(c.session, m) }

func (k *Kernel) unsettled(from string, m *Message) {
	<-k.restored
	k.mu.Lock()
	id := m.Header.MsgID
	_, answered := k.replies[id]
	if here := k.inc != nil && !k.inc.adopted; here || answered || k.ended || k.open.byID[id] != nil || !k.open.add(m, from) {
		k.mu.Unlock()
		return
	}
	if m.Header.MsgType == executeRequest {
		k.journal.Note(Asked, from, m)
	}
	k.open.byID[id].lost = serverEnded
	over := k.inc == nil || k.inc.settled
	k.mu.Unlock()
	if over {
		k.endLost()
	}
}
