package kernel

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// restored is what a journal tells of the time before this server.
type restored struct {
	open   openRequests
	voice  string
	visits map[string]*visit // by client session
	ended  answers
}

// visit is what a journal tells of one client session.
type visit struct {
	session  string
	here     bool   // its client had not gone
	at       uint64 // where it had read to, as far as that is known
	executed bool
}

// take takes note of one record.
func (p *restored) take(r record) {
	switch r.kind {
	case Attached, Detached:
		v := p.visit(r.to)
		v.here, v.at = r.kind == Attached, r.seq
	case Asked:
		p.visit(r.to).executed = true
		p.open.add(r.msg, r.to)
	case Said:
		if r.msg != nil {
			p.said(r.msg)
		}
	}
}

func (p *restored) visit(session string) *visit {
	v := p.visits[session]
	if v == nil {
		v = &visit{session: session}
		p.visits[session] = v
	}
	return v
}

// said takes note of a message of the kernel's, or of the server's in its place.
func (p *restored) said(m *Message) {
	state := ""
	if m.Header.MsgType == "status" {
		state = executionState(m.Parts[PartContent])
		p.voice = strings.Clone(m.Header.Session)
	}
	r := p.open.byID[m.Parent.MsgID]
	switch {
	case r == nil:
		return
	case state == stateBusy:
		r.busy = true
	case state == stateIdle:
		r.done = true
	case m.Channel == Shell, m.Channel == Control:
		r.replied = true
	}
	if r.replied && r.done {
		p.open.remove(r)
		p.ended.add(r.id)
	}
}

// restore finds in the journal what was under way when an earlier server ended: requests without an end, and client
// sessions, which read on when they come back. Until it is done nobody attaches, starts or ends anything.
func (k *Kernel) restore() {
	p := restored{visits: make(map[string]*visit)}
	k.journal.past(p.take)

	k.mu.Lock()
	k.open, k.replies = p.open, p.ended
	for _, r := range k.open.all() {
		r.lost = serverEnded
		if r.busy && !r.done {
			k.working[r.id] = struct{}{}
		}
	}
	if p.voice != "" {
		k.voice = p.voice
	}
	k.restoreVisits(slices.Collect(maps.Values(p.visits)))
	var end []ending
	if k.lost {
		end = k.endOpen(k.reason)
	}
	dead := len(end) > 0
	k.mu.Unlock()
	k.write(end)
	if dead {
		k.say(stateDead)
	}
	close(k.restored)
}

// restoreVisits keeps the places of client sessions, those that were there before those that had gone, the latest
// first. mu is held.
func (k *Kernel) restoreVisits(visits []*visit) {
	slices.SortFunc(visits, func(a, b *visit) int {
		if a.here != b.here && a.here {
			return -1
		}
		if a.here != b.here {
			return 1
		}
		return cmp.Compare(b.at, a.at)
	})
	for i, v := range visits {
		if v.here {
			k.journal.Note(Detached, v.session, nil)
			if v.executed {
				k.departed++
			}
			v.at = k.journal.lostFrom // it was there, and read what came
		}
		if i < maxAway {
			at := Position{Epoch: k.journal.epoch, Seq: v.at}
			k.remember(v.session, k.journal.join(&cursor{to: v.session}, &at), v.executed)
		}
	}
}
