package kernel

import (
	"strings"
	"time"
)

// untracked are the message types that do not count as work: a request of one of these types does not make a
// kernel busy, and its idle does not end the work of another. It is the reference server's list.
var untracked = map[string]bool{
	"comm_info_request": true, "comm_info_reply": true, "kernel_info_request": true, "kernel_info_reply": true,
	"shutdown_request": true, "shutdown_reply": true, "interrupt_request": true, "interrupt_reply": true,
	"debug_request": true, "debug_reply": true, "stream": true, "display_data": true, "update_display_data": true,
	"execute_input": true, "execute_result": true, "error": true, "status": true, "clear_output": true,
	"debug_event": true, "input_request": true, "input_reply": true,
}

// subshellRequests travel on control (JEP 91) and end at once; their idle says nothing of the shell.
var subshellRequests = map[string]bool{
	"create_subshell_request": true, "delete_subshell_request": true, "list_subshell_request": true,
}

// maxWorking bounds the requests that a kernel may be busy with at once: one for each subshell.
const maxWorking = 1024

// deliver takes what the kernel of inc said: from four goroutines, one a channel, and a few that listen to earlier
// identities. It never blocks.
func (k *Kernel) deliver(inc *incarnation, m *Message) {
	k.metrics.received(m)
	if m.Channel == IOPub {
		k.deliverIOPub(inc, m)
		return
	}
	if m.Parent.Session == k.own {
		inc.note(event{reply: m})
		return
	}
	k.mu.Lock()
	to := m.Parent.Session
	var lost []ending
	if r := k.open.byID[m.Parent.MsgID]; r != nil {
		to = r.to
		if m.Channel != Stdin { // rapaio 3.0 answers control requests on shell
			lost = k.endOvertaken(r)
			r.replied = true
			k.finished(r)
		}
	} else if inc.adopted && m.Channel != Stdin {
		k.replies.add(strings.Clone(m.Parent.MsgID))
	}
	k.mu.Unlock()
	k.write(lost)
	k.journal.Append(to, m)
	k.note(active)
}

func (k *Kernel) deliverIOPub(inc *incarnation, m *Message) {
	switch m.Header.MsgType {
	case "iopub_welcome": // JEP 65: our subscription is in force. It is for us, not for the clients.
		inc.note(event{welcome: true})
		return
	case "status":
		if k.deliverStatus(inc, m) {
			return
		}
	default:
		if m.Parent.Session == k.own {
			return
		}
	}
	k.mu.Lock()
	if len(k.working) > 0 || !untracked[m.Header.MsgType] {
		k.active = time.Now()
	}
	k.mu.Unlock()
	k.journal.Append("", m)
	k.note(active)
}

// deliverStatus keeps the kernel's state; true says that the message was for the server alone.
func (k *Kernel) deliverStatus(inc *incarnation, m *Message) (ours bool) {
	state := executionState(m.Parts[PartContent])
	if m.Parent.Session == k.own {
		if state == stateIdle {
			inc.note(event{idle: m.Parent.MsgID})
		}
		return true
	}
	k.mu.Lock()
	if m.Header.Session != k.voice { // JupyterLab passes over messages of any other session than the kernel's newest
		k.voice = strings.Clone(m.Header.Session)
	}
	r := k.open.byID[m.Parent.MsgID]
	if r != nil && state == stateBusy {
		r.busy = true
	}
	if !inc.expected { // what a process says on its way out is not the state of the next one
		k.track(r, m, state)
	}
	var lost []ending
	if r != nil && state == stateBusy {
		lost = k.overtake(r)
	}
	if r != nil && state == stateIdle && (r.busy || r.lost != "") { // its busy may have gone down with a connection
		r.done = true
		k.finished(r)
		if !r.replied && r.kind == executeRequest {
			time.AfterFunc(replyGrace, func() { k.missReply(r) })
		}
	}
	k.mu.Unlock()
	k.write(lost)
	return false
}

// track keeps execution_state right while the control channel and subshells go idle beside a busy shell: the
// kernel is busy while any tracked request is. mu is held.
func (k *Kernel) track(r *request, m *Message, state string) {
	kind := m.Parent.MsgType
	if kind == "" {
		if state == stateStarting && k.state != stateDead { // a fresh process; it has no other work
			clear(k.working)
		}
		return
	}
	if untracked[kind] || subshellRequests[kind] || r != nil && r.channel == Control {
		return
	}
	switch state {
	case stateBusy:
		if len(k.working) < maxWorking {
			k.working[m.Parent.MsgID] = struct{}{}
		}
	case stateIdle:
		delete(k.working, m.Parent.MsgID)
	default:
		return
	}
	k.active = time.Now()
	before := k.state
	switch {
	case len(k.working) > 0:
		k.state = stateBusy
	case k.state == stateBusy || k.state == stateStarting:
		k.state = stateIdle
	}
	if k.state != before {
		k.note(changed)
	}
}

// finished forgets r once both its reply and its idle have come, in either order. mu is held.
func (k *Kernel) finished(r *request) {
	if r.replied && r.done {
		k.open.remove(r)
	}
}
