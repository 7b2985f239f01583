package nbformat

import (
	"iter"
	"slices"
	"strconv"
)

// Cell is a code cell of a Notebook, valid as long as that is.
type Cell struct{ n *node }

// HasIDs says whether the notebook's cells have ids in its file: they do from format 4.5 on.
func (nb *Notebook) HasIDs() bool { return nb.major > Major || nb.major == Major && nb.minor >= 5 }

// IsExact says whether writing the notebook to its file loses and adds nothing: its format is the file's, and the
// file had no numbers that JSON does not have.
func (nb *Notebook) IsExact() bool { return !nb.newer && !nb.older && nb.nans == 0 }

// CodeCells gives the code cells, in their order.
func (nb *Notebook) CodeCells() iter.Seq[Cell] {
	return func(yield func(Cell) bool) {
		cells := nb.cells()
		for i := range cells {
			if cells[i].get("cell_type").text() == "code" && !yield(Cell{&cells[i]}) {
				return
			}
		}
	}
}

// ID is the cell's id, "" when it has none.
func (c Cell) ID() string { return c.n.get("id").text() }

// Source is the cell's code.
func (c Cell) Source() string { return string(multiText(c.n.get("source"))) }

// Count is the cell's execution count, 0 for none.
func (c Cell) Count() int {
	count := c.n.get("execution_count")
	if count == nil || count.kind != number {
		return 0
	}
	n, _ := strconv.Atoi(string(count.raw)) // a client's 1.5 is none
	return n
}

// outputs are the cell's outputs that count.
func (c Cell) outputs() []node {
	list := c.n.get("outputs")
	if list == nil || list.kind != array {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(list.kids), func(o node) bool { return !counts(&o) })
}

// HasInput says whether the cell shows prompts, or what was typed at them: what digests leave out.
func (c Cell) HasInput() bool {
	list := c.n.get("outputs")
	return list != nil && slices.ContainsFunc(list.kids, func(o node) bool { return !counts(&o) })
}

// Digest names the cell's outputs.
func (c Cell) Digest() (d Digest) {
	for _, o := range c.outputs() {
		d = d.then(digestOf(&o))
	}
	return d
}

// IsEarlier says whether the cell shows a beginning of o: some of its outputs, the last of them perhaps a
// stream that was shorter then. It is not asked about cells without outputs.
func (c Cell) IsEarlier(o *Outputs) bool {
	theirs := c.outputs()
	ours := slices.DeleteFunc(slices.Clone(o.list), func(one *output) bool { return one.stream != nil && one.stream.name == stdin })
	if len(theirs) > len(ours) {
		return false
	}
	for i, have := range theirs {
		one := ours[i]
		switch {
		case one.stream == nil && digestOf(&have) == one.sum:
		case one.stream != nil && digestOf(&have) == one.stream.digest():
		default:
			return i == len(theirs)-1 && one.stream != nil && one.stream.beginsWith(&have)
		}
	}
	return true
}

// beginsWith says whether the output have is a stream whose text s goes on with.
func (s *stream) beginsWith(have *node) bool {
	if have.get("output_type").text() != "stream" || have.get("name").text() != s.name {
		return false
	}
	text := string(multiText(have.get("text")))
	whole := string(s.text) + string(s.line)
	return len(text) <= len(whole) && whole[:len(text)] == text
}

// SetOutputs replaces the cell's outputs by a JSON array as AppendJSON writes it, and its execution count by
// count unless that is 0. What is no such array is an error, and nothing is changed.
func (c Cell) SetOutputs(outputs []byte, count int) error {
	list, err := parseOutputs(outputs)
	if err != nil {
		return err
	}
	c.n.set("outputs", node{kind: array, kids: list})
	if count > 0 {
		c.n.set("execution_count", node{kind: number, raw: strconv.AppendInt(nil, int64(count), 10)})
	}
	return nil
}

// Trust marks the cell as one whose outputs are its kernel's own, as JupyterLab does with a cell that it runs.
func (c Cell) Trust() {
	if meta := c.n.get("metadata"); meta != nil && meta.kind == object {
		meta.set("trusted", node{kind: boolean, raw: []byte("true")})
	}
}
