package kernel

import (
	"encoding/json"
	"time"
)

// overtake ends the executions that were sent before r, and that the kernel left without an idle status, now
// that it has begun with r: it executes in order, one at a time in each subshell, and iopub keeps that order.
// Kernels lose an idle when they print faster than their PUB socket takes (libzmq drops what goes beyond 1,000
// messages), and some never send it for what was interrupted (rapaio 3.0). mu is held.
func (k *Kernel) overtake(r *request) []ending {
	if r.kind != executeRequest {
		return nil
	}
	var list []ending
	for _, o := range k.open.order {
		if o == r {
			break
		}
		if k.open.byID[o.id] != o || !o.busy || o.done || o.kind != executeRequest || o.channel != r.channel || o.subshell() != r.subshell() {
			continue
		}
		o.done = true
		delete(k.working, o.id)
		list = append(list, ending{o.to, []*Message{status(k.voice, stateIdle, o.header)}})
		if !o.replied { // shell is another socket: the reply may still be on its way
			r.overtook = append(r.overtook, o)
		}
		k.finished(o)
	}
	if r.replied { // its reply was faster than its busy
		list = append(list, k.endOvertaken(r)...)
	}
	return list
}

// endOvertaken ends those that r overtook and that have no reply, now that r has its own: replies come in order.
// mu is held.
func (k *Kernel) endOvertaken(r *request) []ending {
	var list []ending
	for _, o := range r.overtook {
		if !o.replied && k.open.byID[o.id] == o {
			o.replied = true
			list = append(list, ending{o.to, []*Message{o.lostReply(k.voice, wentOn)}})
			k.finished(o)
		}
	}
	r.overtook = nil
	return list
}

const executeRequest = "execute_request"

// subshell is the subshell that r was sent to (JEP 91); "" is the main shell.
func (r *request) subshell() string {
	var h struct {
		SubshellID string `json:"subshell_id"`
	}
	_ = json.Unmarshal(r.header, &h) // it was parsed before; null and a wrong type are the main shell
	return h.SubshellID
}

// replyGrace is how long after its idle status an execution's reply may come. The two travel over different
// sockets, milliseconds apart; ipykernel sends no reply at all where an interrupt hits it between the beginning of
// an execution and its code.
const replyGrace = 3 * time.Second

// interruptedEarly says why no reply came.
const interruptedEarly = "the kernel ended this without a reply: it was interrupted before the code began, or lost it"

// missReply ends r, which is done but for its reply, unless that came meanwhile.
func (k *Kernel) missReply(r *request) {
	k.mu.Lock()
	if k.open.byID[r.id] != r || r.replied {
		k.mu.Unlock()
		return
	}
	k.open.remove(r)
	end := []ending{{r.to, []*Message{r.lostReply(k.voice, interruptedEarly)}}}
	k.mu.Unlock()
	k.write(end)
}
