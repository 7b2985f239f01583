package overlay

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/nbserv/nbserv/contents/nbformat"
	"github.com/nbserv/nbserv/kernel"
)

// apply takes the journal's next entry. mu is held.
func (b *book) apply(e kernel.Entry) {
	switch {
	case e.Gap != nil:
		b.missed(e)
	case e.Kind == kernel.Asked:
		b.asked(e)
	case e.Kind == kernel.Attached:
		b.came(strings.Clone(e.To))
	case e.Kind == kernel.Detached:
		b.went(e.To)
	case e.Message != nil:
		b.said(e.Message)
	}
	b.At.Seq = e.Seq
}

// missed notes a gap in what is running, and that what was asked before its end may have lost its beginning.
func (b *book) missed(e kernel.Entry) {
	b.gap = e.Seq
	if e.Gap.Dropped == 0 { // a kernel host has ended without a word, and its clients with it
		b.allWent()
	}
	for _, x := range b.order {
		if x.State == running {
			b.note(x, gapNotice)
		}
	}
}

const gapNotice = "some of this cell's messages are no longer kept, and not shown here"

// note says something in the server's own name among x's outputs. mu is held, and x's outputs are here.
func (b *book) note(x *execution, text string) {
	x.change(time.Now(), func(o *nbformat.Outputs) { o.Notice("%s", text) })
}

// asked takes an execute_request.
func (b *book) asked(e kernel.Entry) {
	x := newExecution(e)
	if x == nil || b.byID[x.ID] != nil {
		return
	}
	b.add(x)
	if e.Seq <= b.gap {
		b.note(x, gapNotice)
	}
}

// said takes a message of the kernel, or of the server in its place.
func (b *book) said(m *kernel.Message) {
	if m.Channel == kernel.IOPub {
		b.updated(m)
	}
	x := b.byID[m.Parent.MsgID]
	if x == nil || x.State == ended {
		return
	}
	switch m.Channel {
	case kernel.IOPub:
		b.published(x, m)
	case kernel.Shell:
		if m.Header.MsgType == "execute_reply" {
			b.replied(x, m)
		}
	case kernel.Stdin:
		if m.Header.MsgType == "input_request" {
			b.asksInput(x, m)
		}
	}
	if x.Replied && x.Idle {
		b.end(x, sent(m))
	}
}

// published takes what the kernel said to all because of x.
func (b *book) published(x *execution, m *kernel.Message) {
	switch m.Header.MsgType {
	case "status":
		if m.ExecutionState() == "idle" {
			x.Idle, x.dirty = true, true
		} // busy says nothing: what is aborted behind an error is busy, too
	case "execute_input":
		b.begin(x, sent(m))
		b.counted(x, m)
	default:
		if c, ok := nbformat.ParseChange(m.Header.MsgType, m.Parts[kernel.PartContent]); ok {
			b.begin(x, time.Time{})
			if x.Input != nil && !sent(m).Before(x.Input.Date) { // the channels may change places
				x.answered()
			}
			b.show(x, m, c)
		}
	}
}

// show does to x's outputs what a message says.
func (b *book) show(x *execution, m *kernel.Message, c nbformat.Change) {
	first := x.First.IsZero()
	var at time.Time
	if first {
		at = sent(m)
	}
	x.change(at, func(o *nbformat.Outputs) { o.Apply(c) })
	if first && !x.First.IsZero() {
		b.witness(x)
	}
}

// updated changes displays of other executions, ended ones too: JupyterLab does so for all of a kernel's.
func (b *book) updated(m *kernel.Message) {
	if m.Header.MsgType != "update_display_data" && m.Header.MsgType != "display_data" {
		return
	}
	var display string
	var change nbformat.Change
	for _, x := range b.order {
		if len(x.Displays) == 0 || x.ID == m.Parent.MsgID {
			continue
		}
		if display == "" {
			change, _ = nbformat.ParseChange(m.Header.MsgType, m.Parts[kernel.PartContent])
			if display = change.Display(); display == "" {
				return
			}
		}
		if slices.Contains(x.Displays, display) && x.outputs != nil {
			x.change(time.Time{}, func(o *nbformat.Outputs) { o.Update(change) })
		}
	}
}

// counted takes the number that the kernel gives the execution.
func (b *book) counted(x *execution, m *kernel.Message) {
	var content struct {
		Count int `json:"execution_count"`
	}
	if json.Unmarshal(m.Parts[kernel.PartContent], &content) == nil && content.Count > 0 && content.Count != x.Count {
		x.Count = content.Count
		x.touch()
	}
}

// begin notes that the kernel works on x: what its cell showed before is over.
func (b *book) begin(x *execution, at time.Time) {
	if x.State != queued {
		return
	}
	if at.IsZero() {
		at = time.Now()
	}
	x.State, x.Began = running, at
	x.touch()
	for _, other := range slices.Clone(b.order) {
		if other.Cell == x.Cell && other.Seq < x.Seq {
			b.drop(other)
		}
	}
}

// replied takes x's execute_reply.
func (b *book) replied(x *execution, m *kernel.Message) {
	x.Replied, x.dirty = true, true
	var content struct {
		Status  string `json:"status"`
		Payload []struct {
			Source string          `json:"source"`
			Data   json.RawMessage `json:"data"`
		} `json:"payload"`
	}
	if json.Unmarshal(m.Parts[kernel.PartContent], &content) != nil {
		return
	}
	if x.State == queued && strings.HasPrefix(content.Status, "abort") { // it never began: its cell stays as it was
		b.drop(x)
		return
	}
	b.begin(x, sent(m))
	b.counted(x, m)
	for _, p := range content.Payload { // IPython's and IRkernel's help: JupyterLab shows the first page
		if content.Status == "ok" && p.Source == "page" {
			page, _ := json.Marshal(map[string]json.RawMessage{"data": p.Data})
			if c, ok := nbformat.ParseChange("display_data", page); ok {
				b.show(x, m, c)
			}
			break
		}
	}
}

// asksInput shows the prompt of an input_request.
func (b *book) asksInput(x *execution, m *kernel.Message) {
	var content struct {
		Prompt   string `json:"prompt"`
		Password bool   `json:"password"`
	}
	if json.Unmarshal(m.Parts[kernel.PartContent], &content) != nil {
		return
	}
	b.begin(x, sent(m))
	x.answered()
	x.Input = &prompt{Text: content.Prompt, Password: content.Password, Header: slices.Clone(m.Parts[kernel.PartHeader]), Date: sent(m)}
	x.outputs.Prompt(content.Prompt)
	x.touch()
}

// end notes that x is over.
func (b *book) end(x *execution, at time.Time) {
	x.answered()
	x.State, x.Ended = ended, at
	x.Delivered = b.isHere(x.Session)
	x.touch()
	b.news = true
}

// close ends what the kernel did not end: it is gone, and nothing more will be said.
func (b *book) close(reason string) {
	for _, x := range slices.Clone(b.order) {
		switch x.State {
		case queued:
			b.drop(x)
		case running:
			text := "the kernel ended while this ran"
			if reason != "" {
				text += ": " + reason
			}
			b.note(x, text)
			b.end(x, time.Now())
		}
	}
}
