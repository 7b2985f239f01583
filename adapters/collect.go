package adapters

import (
	"encoding/json"
	"iter"
	"slices"

	"github.com/nbserv/nbserv/kernel"
)

// Limits bound what a Result holds, whatever the code prints. The zero value takes the defaults.
type Limits struct {
	StreamBytes int // of stdout, and of stderr: beyond it the middle is left out. Default 1 MiB.
	RichBytes   int // of all rich outputs together: those that do not fit are left out. Default 32 MiB.
	RichOutputs int // how many rich outputs. Default 1000.
}

// The defaults of Limits. No model reads more text than that; a page of plots is a few MB.
const (
	defaultStreamBytes = 1 << 20
	defaultRichBytes   = 32 << 20
	defaultRichOutputs = 1000
)

func (l Limits) withDefaults() Limits {
	set := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	set(&l.StreamBytes, defaultStreamBytes)
	set(&l.RichBytes, defaultRichBytes)
	set(&l.RichOutputs, defaultRichOutputs)
	return l
}

// Result is what an execution came to.
type Result struct {
	Status  string // of the reply: "ok", "error", "aborted"; "" when no reply was seen
	Stdout  string
	Stderr  string   // what the code wrote there; its traceback is in Error
	Outputs []Output // displays and the value, in order
	Error   *Failure // nil when nothing failed
	Count   int      // the execution count

	// UserExpressions are the reply's, by name; nil without any.
	// https://jupyter-client.readthedocs.io/en/stable/messaging.html#execution-results
	UserExpressions map[string]json.RawMessage

	LeftOut int    // rich outputs beyond the Limits
	Missed  uint64 // at least so many messages could not be kept for this reader
}

// Output is a rich output: a display, or the value of the code.
type Output struct {
	Value     bool // the value of the code (execute_result), not a display
	Data      map[string]json.RawMessage
	Metadata  map[string]json.RawMessage
	DisplayID string // "" when it cannot be updated
}

// Failure is an exception in the code, or the reason that the server gives in the place of a kernel that died.
type Failure struct {
	Name      string
	Value     string
	Traceback string // lines with a newline between them, without terminal colours
}

// KernelDied tells whether the kernel ended under the code: Value says why.
func (f *Failure) KernelDied() bool { return f != nil && f.Name == deadKernel }

// deadKernel is the name of the error that the server reports in the place of a kernel that ended.
const deadKernel = "DeadKernelError"

// Collect makes a Result of an execution. The error is the iterator's; the Result then holds what came before.
func Collect(entries iter.Seq2[kernel.Entry, error], l Limits) (Result, error) {
	c := NewCollector(l)
	for e, err := range entries {
		if err != nil {
			return c.Result(), err
		}
		c.Add(e)
	}
	return c.Result(), nil
}

// Collector makes a Result of entries that somebody else reads as well. One goroutine at a time.
type Collector struct {
	limits         Limits // immutable
	result         Result
	stdout, stderr text
	richBytes      int
	clear          bool // clear_output asked to wait for the next output
}

// NewCollector makes an empty Collector.
func NewCollector(l Limits) *Collector {
	l = l.withDefaults()
	return &Collector{limits: l, stdout: newText(l.StreamBytes), stderr: newText(l.StreamBytes)}
}

// content has the fields of all messages that a Result is made of.
// https://jupyter-client.readthedocs.io/en/stable/messaging.html
type content struct {
	Name            string                     `json:"name"`
	Text            string                     `json:"text"`
	Data            map[string]json.RawMessage `json:"data"`
	Metadata        map[string]json.RawMessage `json:"metadata"`
	Transient       transient                  `json:"transient"`
	Wait            bool                       `json:"wait"`
	Status          string                     `json:"status"`
	ErrorName       string                     `json:"ename"`
	ErrorValue      string                     `json:"evalue"`
	Traceback       []string                   `json:"traceback"`
	Count           int                        `json:"execution_count"`
	UserExpressions map[string]json.RawMessage `json:"user_expressions"`
}

type transient struct {
	DisplayID string `json:"display_id"`
}

// Add takes the next entry of the execution.
func (c *Collector) Add(e kernel.Entry) {
	if e.Gap != nil {
		c.result.Missed += max(1, e.Gap.Dropped) // 0 is an unknown number
	}
	if e.Message == nil {
		return
	}
	switch e.Message.Header.MsgType {
	case "stream", "display_data", "execute_result", "update_display_data", "clear_output", "error", "execute_reply":
	default:
		return
	}
	var m content
	// A kernel's malformed field is as if it was not there; the others count.
	_ = json.Unmarshal(e.Message.Parts[kernel.PartContent], &m)
	switch e.Message.Header.MsgType {
	case "stream":
		c.stream(m)
	case "display_data", "execute_result":
		c.show(Output{
			Value: e.Message.Header.MsgType == "execute_result",
			Data:  m.Data, Metadata: m.Metadata, DisplayID: m.Transient.DisplayID,
		})
	case "update_display_data":
		c.update(m)
	case "clear_output":
		if c.clear = m.Wait; !m.Wait {
			c.wipe()
		}
	case "error":
		c.result.Error = failure(m)
	case "execute_reply":
		c.reply(m)
	}
}

func (c *Collector) stream(m content) {
	if c.clear {
		c.wipe()
	}
	if m.Name == "stderr" {
		c.stderr.add(m.Text)
	} else {
		c.stdout.add(m.Text)
	}
}

func (c *Collector) show(o Output) {
	if c.clear {
		c.wipe()
	}
	size := o.size()
	if len(c.result.Outputs) >= c.limits.RichOutputs || c.richBytes+size > c.limits.RichBytes {
		c.result.LeftOut++
		return
	}
	c.richBytes += size
	c.result.Outputs = append(c.result.Outputs, o)
}

// update replaces what displays of the same display_id show: progress bars do it thousands of times.
func (c *Collector) update(m content) {
	if m.Transient.DisplayID == "" {
		return
	}
	for i := range c.result.Outputs {
		o := &c.result.Outputs[i]
		if o.DisplayID != m.Transient.DisplayID {
			continue
		}
		next := Output{Value: o.Value, Data: m.Data, Metadata: m.Metadata, DisplayID: o.DisplayID}
		if more := next.size() - o.size(); c.richBytes+more <= c.limits.RichBytes {
			c.richBytes += more
			*o = next
		}
	}
}

// wipe is clear_output: displays go, what was printed stays, for it is a log here and not a cell's output.
func (c *Collector) wipe() {
	c.clear, c.richBytes = false, 0
	c.result.Outputs = nil
}

func (c *Collector) reply(m content) {
	c.result.Status, c.result.Count, c.result.UserExpressions = m.Status, m.Count, m.UserExpressions
	if m.Status != "ok" && c.result.Error == nil { // some kernels publish no error message
		c.result.Error = failure(m)
	}
}

// Result is what was collected so far. The Collector may go on, and must not if the Result is still used.
func (c *Collector) Result() Result {
	r := c.result
	r.Outputs = slices.Clip(r.Outputs)
	r.Stdout, r.Stderr = c.stdout.String(), c.stderr.String()
	return r
}

func (o Output) size() int {
	n := 0
	for kind, raw := range o.Data {
		n += len(kind) + len(raw)
	}
	for key, raw := range o.Metadata {
		n += len(key) + len(raw)
	}
	return n
}
