package kernel

import (
	"bytes"
	"encoding/json"
	"strings"
)

// maxOpen bounds the requests that are remembered until their answers have come. More executions than that are
// refused; of the others, the oldest makes room: some kernels never answer some of them.
const maxOpen = 4096

// request is one client's request that the kernel has not finished.
type request struct {
	id      string
	to      string // the client session that asked
	kind    string // its msg_type
	channel Channel
	header  json.RawMessage // for the parent_header of answers that the server has to give
	busy    bool            // the kernel began with it
	replied bool
	done    bool   // its idle status has come
	lost    string // why its reply may not come any more; "" as long as its connection is there
	// overtook are the executions that r showed to be over; once it has its own reply, theirs will not come.
	overtook []*request
}

// openRequests is the set of requests under way, in the order they were sent. Guarded by the kernel's mu.
type openRequests struct {
	byID  map[string]*request
	order []*request // may hold finished ones, which byID no longer has
	aside int        // of byID, those that are no executions
}

// add notes m if it is a request that the kernel answers; false for anything else.
func (o *openRequests) add(m *Message, to string) bool {
	if !strings.HasSuffix(m.Header.MsgType, "_request") || m.Channel == Stdin || m.Header.MsgID == "" {
		return false
	}
	if o.byID == nil {
		o.byID = make(map[string]*request)
	}
	header := json.RawMessage(bytes.Clone(m.Parts[PartHeader])) // m's bytes may be one large frame
	r := &request{to: to, kind: strings.Clone(m.Header.MsgType), channel: m.Channel, header: header}
	r.id = strings.Clone(m.Header.MsgID)
	o.remove(o.byID[r.id]) // by a client that uses an id twice
	o.byID[r.id] = r
	if r.kind != executeRequest {
		o.aside++
	}
	o.order = append(o.order, r)
	if len(o.order) > 2*maxOpen {
		o.compact()
	}
	return true
}

// surplus is the request that is one too many once r was added, and forgets it; nil if there is room.
func (o *openRequests) surplus(r *request) *request {
	if len(o.byID) <= maxOpen {
		return nil
	}
	for _, old := range o.order {
		if o.aside == 0 {
			break
		}
		if o.byID[old.id] == old && old.kind != executeRequest {
			r = old
			break
		}
	}
	o.remove(r)
	return r
}

func (o *openRequests) compact() {
	o.order = append([]*request(nil), o.all()...)
}

// remove forgets r; nil is nobody.
func (o *openRequests) remove(r *request) {
	if r == nil || o.byID[r.id] != r {
		return
	}
	delete(o.byID, r.id)
	if r.kind != executeRequest {
		o.aside--
	}
	if len(o.byID) == 0 {
		o.order = nil
	}
}

// all lists the open requests in the order they were sent.
func (o *openRequests) all() []*request {
	var list []*request
	for _, r := range o.order {
		if o.byID[r.id] == r {
			list = append(list, r)
		}
	}
	return list
}

// take empties the set and returns what was in it.
func (o *openRequests) take() []*request {
	list := o.all()
	*o = openRequests{}
	return list
}
