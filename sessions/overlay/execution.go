package overlay

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/nbserv/nbserv/contents/nbformat"
	"github.com/nbserv/nbserv/kernel"
)

// MaxCellBytes is how much of an execution's output is kept for its cell: what a browser shows of a cell without
// getting stuck. Of more, the beginning and the end stay, with a notice between.
const MaxCellBytes = 10 << 20

// maxEarlier is how many earlier states of its outputs an execution is remembered by; a digest takes 8 bytes.
const maxEarlier = 8192

// The states of an execution.
const (
	queued  = "queued"
	running = "running"
	ended   = "ended"
)

// execution is one execute_request and what came of it. Guarded by its book's mu.
type execution struct {
	facts
	outputs *nbformat.Outputs // nil while they are in the database alone

	dirty bool // the database does not know all of it
}

// facts are what is written down of an execution beside its outputs.
type facts struct {
	ID      string `json:"-"`       // the msg_id
	Seq     uint64 `json:"-"`       // of its Asked in the journal
	Session string `json:"session"` // the client session that asked
	Cell    string `json:"cell"`    // the cell's id, as the page called it
	Code    string `json:"code"`

	State string    `json:"state"`
	Began time.Time `json:"began,omitzero"`
	First time.Time `json:"first,omitzero"` // when there first was an output to see
	Ended time.Time `json:"ended,omitzero"`
	// Replied and Idle are the two ends of an execution, of which one has come.
	Replied bool `json:"replied,omitempty"`
	Idle    bool `json:"idle,omitempty"`
	// Delivered says that the page was there when it ended.
	Delivered bool `json:"delivered,omitempty"`

	Count    int               `json:"count"`
	Digest   nbformat.Digest   `json:"digest"`            // of the outputs
	Earlier  []nbformat.Digest `json:"earlier,omitempty"` // of what they were before, in order
	Displays []string          `json:"displays,omitempty"`
	Size     int               `json:"size"`     // of the outputs in the database, in bytes
	Revision uint64            `json:"revision"` // grows with each change of what a reader would get
	Input    *prompt           `json:"input,omitempty"`

	Places map[string]*place `json:"places,omitempty"` // by the notebook's path
	// Shown says that a reader got it, Seen that a reader got outputs of it.
	Shown bool `json:"shown,omitempty"`
	Seen  bool `json:"seen,omitempty"`
	// Witnesses are the client sessions that were there before the first output, but for one that saw it come:
	// their pages may show no outputs without anybody having cleared them. So may pages that come up to EmptyUntil,
	// which is set when somebody has read the notebook while there were none: he read it before he came.
	Witnesses  []string  `json:"witnesses,omitempty"`
	EmptyUntil time.Time `json:"empty_until,omitzero"`
}

// prompt is an input_request that waits for its answer.
type prompt struct {
	Text     string          `json:"prompt"`
	Password bool            `json:"password"`
	Header   json.RawMessage `json:"header"` // of the request
	Date     time.Time       `json:"date"`
	Typed    string          `json:"typed,omitempty"` // the answer, when it came from here
}

// place is where in a notebook an execution's cell is.
type place struct {
	Cell string `json:"cell"` // its id there
	// ByCode says that the file had no ids when the cell was found: it is known by its code.
	ByCode bool `json:"by_code,omitempty"`
	// Before is what the file showed of the cell before the execution began, if that is Known.
	Before nbformat.Digest `json:"before"`
	Known  bool            `json:"known,omitempty"`
	// Over says that the cell has other outputs now, or is gone: the execution has no part in it any more.
	Over bool `json:"over,omitempty"`
}

// begun says whether there is something to show of x.
func (x *execution) begun() bool { return x.State != queued }

// touch notes that a reader would get something else.
func (x *execution) touch() {
	x.Revision++
	x.dirty = true
}

// change does f to the outputs and remembers what they were.
func (x *execution) change(at time.Time, f func(*nbformat.Outputs)) {
	before := x.Digest
	f(x.outputs)
	if x.Digest = x.outputs.Digest(); x.Digest != before && !x.outputs.Full() {
		x.remember(before)
	}
	if x.First.IsZero() && x.Digest != 0 {
		x.First = at
	}
	x.Displays = x.outputs.Displays()
	x.touch()
}

// remember notes that a page may show x's outputs as they are, or were, under the digest d.
func (x *execution) remember(d nbformat.Digest) {
	if n := len(x.Earlier); n > 0 && x.Earlier[n-1] == d {
		return
	}
	x.dirty = true
	if len(x.Earlier) >= maxEarlier {
		x.Earlier = slices.Clone(x.Earlier[maxEarlier/2:])
	}
	x.Earlier = append(x.Earlier, d)
}

// clear removes the outputs as somebody did by hand: what comes later is shown after it.
func (x *execution) clear() {
	x.remember(x.Digest)
	x.outputs.Clear()
	x.Digest, x.First, x.Seen, x.Witnesses, x.EmptyUntil = 0, time.Time{}, false, nil, time.Time{}
	x.touch()
}

// answered ends the wait for input, if there is one.
func (x *execution) answered() {
	if x.Input == nil {
		return
	}
	x.outputs.Answer(x.Input.Typed)
	x.Input = nil
	x.touch()
}

// newExecution makes one of an execute_request; nil for one that no notebook shows.
func newExecution(e kernel.Entry) *execution {
	var meta struct {
		Cell string `json:"cellId"`
	}
	var content struct {
		Code   string `json:"code"`
		Silent bool   `json:"silent"`
	}
	m := e.Message
	if json.Unmarshal(m.Parts[kernel.PartMetadata], &meta) != nil || meta.Cell == "" ||
		json.Unmarshal(m.Parts[kernel.PartContent], &content) != nil || content.Silent {
		return nil
	}
	return &execution{outputs: nbformat.NewOutputs(MaxCellBytes), dirty: true, facts: facts{
		ID: string([]byte(m.Header.MsgID)), Seq: e.Seq, Session: string([]byte(e.To)),
		Cell: meta.Cell, Code: content.Code, State: queued, Places: map[string]*place{},
	}}
}

// sent is when m was made by its maker's clock, or now when it does not say.
func sent(m *kernel.Message) time.Time {
	var header struct {
		Date time.Time `json:"date"`
	}
	if json.Unmarshal(m.Parts[kernel.PartHeader], &header) != nil || header.Date.IsZero() {
		return time.Now()
	}
	return header.Date
}
