package nbformat

// Trusted tells whether whoever sent the notebook to Decode vouches for what its outputs do in a page: every code cell
// is marked as trusted in its metadata, or has no output that could do anything. Notebooks of older formats are not.
// The marks themselves are no part of a notebook: they are in no file.
func (nb *Notebook) Trusted() bool { return nb.trusted && !nb.older }

// Mark says in every code cell, for the page that gets the notebook next, whether its outputs are trusted.
func (nb *Notebook) Mark(trusted bool) {
	value := node{kind: boolean, raw: []byte("false")}
	if trusted {
		value.raw = []byte("true")
	}
	cells := nb.cells()
	for i := range cells {
		if cells[i].isCode() {
			if meta := cells[i].get("metadata"); meta != nil && meta.kind == object {
				meta.set("trusted", value)
			}
		}
	}
}

func (n *node) isCode() bool { return n.get("cell_type").text() == "code" }

// vouched tells whether a cell is trusted; mark is what its metadata say.
func (n *node) vouched(mark node) bool {
	if !n.isCode() || string(mark.raw) == "true" {
		return true
	}
	outputs := n.get("outputs")
	if outputs == nil {
		return true
	}
	for i := range outputs.kids {
		if o := &outputs.kids[i]; !o.harmless() {
			return false
		}
	}
	return true
}

// harmless tells outputs that only show text, or nothing: streams, errors, and results without data.
func (n *node) harmless() bool {
	switch n.get("output_type").text() {
	case "stream", "error":
		return true
	}
	data := n.get("data")
	return data == nil || len(data.kids) == 0
}
