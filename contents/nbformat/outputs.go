package nbformat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Change is what one message of a kernel does to outputs.
type Change struct {
	kind    string
	content node
	display string
}

// shows are the messages that change outputs.
var shows = map[string]bool{"stream": true, "display_data": true, "execute_result": true, "error": true,
	"update_display_data": true, "clear_output": true}

// ParseChange reads a message's content; ok is false for a message that changes no outputs. What is not
// JSON, or no output of the kind it claims to be, becomes a notice in the outputs.
func ParseChange(msgType string, content []byte) (c Change, ok bool) {
	if !shows[msgType] {
		return c, false
	}
	p := parser{b: content, lenient: true}
	n, err := p.document()
	if err == nil && n.kind != object {
		err = errors.New("its content is no object")
	}
	c = Change{kind: msgType, content: n, display: n.get("transient").get("display_id").text()}
	if err != nil {
		return notice("an output of the kind %s cannot be shown: %v", msgType, err), true
	}
	if c.kind == "clear_output" {
		return c, true
	}
	out := c.output()
	if err := (&validator{minor: Minor}).output(&out, msgType); err != nil {
		return notice("an output cannot be shown: %v", err), true
	}
	return c, true
}

// notice is a change that says something in the server's own name.
func notice(format string, args ...any) Change {
	return Change{kind: "stream", content: node{kind: object, kids: []node{
		named("name", quote("stderr")), named("text", quote("[nbserv] "+fmt.Sprintf(format, args...)+"\n")),
	}}}
}

func named(key string, n node) node {
	n.key = key
	return n
}

// Display is the id under which c's output can be changed later, "" for none. JupyterLab 4.6 heeds it in a
// display_data and an update_display_data.
func (c Change) Display() string {
	if c.kind == "display_data" || c.kind == "update_display_data" {
		return c.display
	}
	return ""
}

// fieldsOf are what nbformat keeps of a message's content.
var fieldsOf = map[string][]string{
	"stream": {"name", "text"}, "display_data": {"data", "metadata"}, "execute_result": {"data", "metadata", "execution_count"},
	"error": {"ename", "evalue", "traceback"},
}

// output is the output that c shows, in nbformat's form.
func (c Change) output() node {
	kind := c.kind
	if kind == "update_display_data" {
		kind = "display_data"
	}
	out := node{kind: object, kids: []node{named("output_type", quote(kind))}}
	for _, key := range fieldsOf[kind] {
		switch v := c.content.get(key); {
		case v != nil:
			out.kids = append(out.kids, *v)
		case key == "metadata": // xeus leaves it out
			out.kids = append(out.kids, named(key, node{kind: object}))
		}
	}
	joinBundle(out.get("data"))
	return out
}

// Outputs are the outputs of one execution as a page would show them, made of the messages that caused them by
// the rules of nbformat and of JupyterLab 4.6's output area. They hold at most about Limit bytes: of what is more,
// the beginning and the end stay, and a notice stands between. The zero value is not usable. Not safe for
// concurrent use.
type Outputs struct {
	limit int
	list  []*output
	size  int
	// ids are the displays in list that an update_display_data can change.
	ids map[string][]*output
	// clearNext is clear_output(wait=True): the next output takes the place of all.
	clearNext bool
	// prompt waits for its answer, at the end; nil when there is none.
	prompt *string
	// Once there was too much, list[:head] stays, and left are the bytes left out after it.
	full bool
	head int
	left int64
}

// output is one output: a stream, or the JSON text of any other.
type output struct {
	stream *stream
	raw    []byte
	sum    Digest
	before Digest // of all that count before it
}

// outputOverhead is what an output costs beside its bytes, once it is a tree again.
const outputOverhead = 500

func (o *output) size() int {
	if o.stream != nil {
		return o.stream.len() + outputOverhead
	}
	return len(o.raw) + outputOverhead
}

// after is the digest of all up to o.
func (o *output) after() Digest {
	switch {
	case o.stream == nil:
		return o.before.then(o.sum)
	case o.stream.name == stdin:
		return o.before
	}
	return o.before.then(o.stream.digest())
}

// NewOutputs are no outputs, which may grow to limit bytes.
func NewOutputs(limit int) *Outputs { return &Outputs{limit: limit} }

// Apply does what a message of the execution itself does.
func (o *Outputs) Apply(c Change) {
	switch c.kind {
	case "clear_output":
		o.clearNext = o.clearNext || c.content.get("wait").isTrue()
		if !c.content.get("wait").isTrue() {
			o.Clear()
		}
	case "update_display_data":
		o.Update(c)
	case "stream":
		o.Write(c.content.get("name").text(), multiText(c.content.get("text")))
	default:
		if c.kind == "display_data" {
			o.Update(c)
		}
		out := c.output()
		one := &output{raw: compact(&out), sum: digestOf(&out)}
		o.push(one)
		if c.kind == "display_data" && c.display != "" {
			if o.ids == nil {
				o.ids = map[string][]*output{}
			}
			o.ids[c.display] = append(o.ids[c.display], one)
		}
		o.shed()
	}
}

func (n *node) isTrue() bool { return n != nil && string(n.raw) == "true" }

func compact(n *node) []byte {
	var b bytes.Buffer
	w := writer{w: &b}
	w.compact(n)
	_ = w.flush() // a buffer takes all
	return bytes.Clone(b.Bytes())
}

// Update changes the displays that c names; false when there are none. It is for messages of other executions
// too: a display can be updated from everywhere.
func (o *Outputs) Update(c Change) bool {
	targets := o.ids[c.Display()]
	if len(targets) == 0 {
		return false
	}
	c.kind = "display_data"
	out := c.output()
	raw, sum := compact(&out), digestOf(&out)
	for _, t := range targets {
		o.size += len(raw) - len(t.raw)
		t.raw, t.sum = raw, sum
	}
	o.chain(0)
	o.shed()
	return true
}

// Write appends to the stream of a name, as a message of the type stream does.
func (o *Outputs) Write(name string, text []byte) {
	o.clearIfDue()
	last := o.last()
	if last == nil || last.stream == nil || last.stream.name != name {
		last = &output{stream: newStream(name)}
		o.push(last)
	}
	o.size -= last.size()
	last.stream.write(text)
	o.size += last.size()
	o.shed()
}

// last is the output that a stream may go on in.
func (o *Outputs) last() *output {
	if len(o.list) == 0 || o.full && len(o.list) == o.head {
		return nil
	}
	return o.list[len(o.list)-1]
}

func (o *Outputs) push(one *output) {
	o.clearIfDue()
	o.list = append(o.list, one)
	o.size += one.size()
	o.chain(len(o.list) - 1)
}

func (o *Outputs) clearIfDue() {
	if o.clearNext {
		o.Clear()
		o.clearNext = false
	}
}

// Clear removes all outputs.
func (o *Outputs) Clear() {
	o.list, o.size, o.ids = nil, 0, nil
	o.full, o.head, o.left = false, 0, 0
}

// Prompt shows a prompt that waits for its answer, after all outputs until Answer.
func (o *Outputs) Prompt(text string) { o.prompt = &text }

// Answer completes the prompt by what was typed, as JupyterLab 4.6 does. "" only ends its line.
func (o *Outputs) Answer(value string) {
	if o.prompt == nil {
		return
	}
	if value != "" {
		value = " " + value
	}
	text := *o.prompt + value + "\n"
	o.prompt = nil
	o.Write(stdin, []byte(text))
}

// HasInput says whether there are prompts, or what was typed at them: what digests leave out.
func (o *Outputs) HasInput() bool {
	return o.prompt != nil || slices.ContainsFunc(o.list, func(one *output) bool { return one.stream != nil && one.stream.name == stdin })
}

// Notice says something in the server's own name, in the stream stderr.
func (o *Outputs) Notice(format string, args ...any) { o.Apply(notice(format, args...)) }

// Full says whether something was left out because there was too much.
func (o *Outputs) Full() bool { return o.full }

// Digest is that of all outputs now.
func (o *Outputs) Digest() Digest { return o.before(len(o.list)) }

// before is the digest of all that stands before the i-th output.
func (o *Outputs) before(i int) (d Digest) {
	if i > 0 {
		d = o.list[i-1].after()
	}
	if i == o.head && o.left > 0 {
		left := o.leftOut()
		d = d.then(digestOf(&left))
	}
	return d
}

// chain makes the digests right from the i-th output on.
func (o *Outputs) chain(i int) {
	for ; i < len(o.list); i++ {
		o.list[i].before = o.before(i)
	}
}

// slack is what is given up beyond what must be, as a share of the limit: so that it is done now and then.
const slack = 4

// shed brings the outputs down to the limit.
func (o *Outputs) shed() {
	if o.size <= o.limit {
		return
	}
	if !o.full {
		o.keepHead()
	}
	for {
		excess := o.size - (o.limit - o.limit/slack)
		if excess <= 0 || len(o.list) == o.head {
			break
		}
		first, last := o.list[o.head], len(o.list) == o.head+1
		n := 0
		if first.stream != nil && (last || first.stream.len() > excess) {
			n = first.stream.cut(excess)
			o.size -= n
		}
		if n == 0 {
			if last && first.stream != nil {
				break // the one line that is being written
			}
			n = first.size() - outputOverhead
			o.size -= first.size()
			o.forget(first)
			o.list = slices.Delete(o.list, o.head, o.head+1)
		}
		o.left += int64(n)
	}
	o.chain(o.head)
}

// keepHead decides what stays for good of what came first: up to half of the limit.
func (o *Outputs) keepHead() {
	o.full = true
	room := o.limit / 2
	for ; o.head < len(o.list); o.head++ {
		one := o.list[o.head]
		if one.size() <= room {
			room -= one.size()
			continue
		}
		if one.stream != nil && room > o.limit/slack {
			o.size -= one.size()
			rest := &output{stream: one.stream.split(room - outputOverhead)}
			o.list = slices.Insert(o.list, o.head+1, rest)
			o.size += one.size() + rest.size()
			o.head++
		}
		return
	}
}

// forget takes an output that is no more off the displays.
func (o *Outputs) forget(one *output) {
	for id, list := range o.ids {
		if i := slices.Index(list, one); i >= 0 {
			if o.ids[id] = slices.Delete(list, i, i+1); len(list) == 1 {
				delete(o.ids, id)
			}
		}
	}
}

// leftOut is the output that stands for those that are not kept.
func (o *Outputs) leftOut() node {
	c := notice("%s of output are left out here: a cell keeps %s of what its kernel says while no page shows it",
		megabytes(o.left), megabytes(int64(o.limit)))
	return c.output()
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/(1<<20)) }

// AppendJSON appends the outputs as a notebook for clients has them: a JSON array.
func (o *Outputs) AppendJSON(b []byte) []byte {
	b = append(slices.Grow(b, o.jsonSize()), '[')
	for i, one := range o.list {
		b = o.appendLeftOut(b, i)
		b = one.appendJSON(separate(b))
	}
	b = o.appendLeftOut(b, len(o.list))
	if o.prompt != nil {
		asked := newStream(stdin)
		asked.append([]byte(*o.prompt))
		b = (&output{stream: asked}).appendJSON(separate(b))
	}
	return append(b, ']')
}

// jsonSize is about how long the outputs are in JSON: most text has an escape in each line.
func (o *Outputs) jsonSize() int { return o.size + o.size/32 }

// appendLeftOut appends the notice if it stands before the i-th output.
func (o *Outputs) appendLeftOut(b []byte, i int) []byte {
	if o.left == 0 || i != o.head {
		return b
	}
	left := o.leftOut()
	return append(separate(b), compact(&left)...)
}

func separate(b []byte) []byte {
	if b[len(b)-1] != '[' {
		b = append(b, ',')
	}
	return b
}

func (o *output) appendJSON(b []byte) []byte {
	if o.stream == nil {
		return append(b, o.raw...)
	}
	b = append(b, `{"output_type":"stream","name":`...)
	b = append(encode(b, []byte(o.stream.name)), `,"text":`...)
	b = escape(escape(append(b, '"'), o.stream.text), o.stream.line)
	return append(b, `"}`...)
}

// saved is what of Outputs is written down beside the list.
type saved struct {
	Displays  map[string][]int `json:"displays,omitempty"` // places in the list
	Cursor    int              `json:"cursor"`
	ClearNext bool             `json:"clear_next,omitempty"`
	Prompt    *string          `json:"prompt,omitempty"`
	Full      bool             `json:"full,omitempty"`
	Head      int              `json:"head,omitempty"`
	Left      int64            `json:"left,omitempty"`
	Limit     int              `json:"limit"`
}

// AppendState appends all that ReadOutputs needs to go on: a JSON object.
func (o *Outputs) AppendState(b []byte) []byte {
	s := saved{Cursor: atEnd, ClearNext: o.clearNext, Full: o.full, Head: o.head, Left: o.left, Limit: o.limit, Prompt: o.prompt}
	if last := o.last(); last != nil && last.stream != nil {
		s.Cursor = last.stream.at
	}
	for id, list := range o.ids {
		if s.Displays == nil {
			s.Displays = map[string][]int{}
		}
		for _, one := range list {
			s.Displays[id] = append(s.Displays[id], slices.Index(o.list, one))
		}
	}
	state, _ := json.Marshal(s) // texts and numbers only
	b = append(append(slices.Grow(b, o.jsonSize()), `{"state":`...), state...)
	b = append(b, `,"list":[`...)
	for _, one := range o.list {
		b = one.appendJSON(separate(b))
	}
	return append(b, "]}"...)
}

// ReadOutputs reads what AppendState wrote.
func ReadOutputs(b []byte) (*Outputs, error) {
	n, err := (&parser{b: b}).document()
	if err != nil {
		return nil, err
	}
	var s saved
	state, list := n.get("state"), n.get("list")
	if state == nil || list == nil || list.kind != array || list.flat() {
		return nil, errors.New("no state, or no list")
	}
	if err := json.Unmarshal(compact(state), &s); err != nil {
		return nil, err
	}
	if s.Head < 0 || s.Head > len(list.kids) || s.Limit <= 0 {
		return nil, errors.New("a wrong head or limit")
	}
	o := &Outputs{limit: s.Limit, clearNext: s.ClearNext, full: s.Full, head: s.Head, left: s.Left, prompt: s.Prompt}
	for i := range list.kids {
		o.list = append(o.list, readOutput(&list.kids[i]))
		o.size += o.list[i].size()
	}
	if last := o.last(); last != nil && last.stream != nil && s.Cursor >= 0 && s.Cursor < len(units(last.stream.line)) {
		last.stream.at = s.Cursor
	}
	for id, at := range s.Displays {
		for _, i := range at {
			if i < 0 || i >= len(o.list) || o.list[i].stream != nil {
				return nil, errors.New("a display that is not there")
			}
			if o.ids == nil {
				o.ids = map[string][]*output{}
			}
			o.ids[id] = append(o.ids[id], o.list[i])
		}
	}
	o.chain(0)
	return o, nil
}

func readOutput(n *node) *output {
	if n.get("output_type").text() != "stream" {
		return &output{raw: compact(n), sum: digestOf(n)}
	}
	one := &output{stream: newStream(n.get("name").text())}
	one.stream.append(multiText(n.get("text"))) // \r and \b were carried out before
	return one
}

// parseOutputs reads a JSON array of outputs.
func parseOutputs(b []byte) ([]node, error) {
	n, err := (&parser{b: b}).document()
	if err != nil {
		return nil, err
	}
	if n.kind != array || n.flat() {
		return nil, errors.New("outputs should be an array of objects")
	}
	return n.kids, nil
}

// Displays are the ids of the displays that Update can change, in no order.
func (o *Outputs) Displays() []string { return slices.Collect(maps.Keys(o.ids)) }
