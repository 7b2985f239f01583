package nbformat

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// The version of new notebooks, and the newest whose rules are known.
const (
	Major = 4
	Minor = 5
)

// Notebook is one notebook: from Read with its lines joined, for clients; from Decode as the client had it. Not safe for concurrent use.
type Notebook struct {
	root  node
	major int
	minor int
	nans  int
	older bool // an older format that is kept as it came
	// trusted is what the marks said that strip took off.
	trusted bool
	newer   bool // it came in an older format than it has now
}

// New is an empty notebook.
func New() *Notebook {
	nb, err := Decode([]byte(`{"cells":[],"metadata":{},"nbformat":4,"nbformat_minor":5}`))
	if err != nil {
		panic(err) // the literal above is a notebook
	}
	return nb
}

// Read takes a notebook as it stands in a file. Formats 2 and 3 are upgraded to 4; others, and what is not
// JSON, are errors. NaN and infinities, which Python puts into files, are read as null, and Validate says so.
func Read(file []byte) (*Notebook, error) {
	nb, err := parse(file, true)
	if err != nil {
		return nil, err
	}
	switch nb.major {
	case 2, 3:
		nb.upgrade()
		nb.newer = true
	case Major:
	default:
		return nil, fmt.Errorf("notebooks of format %d are not supported, only 2 to 4", nb.major)
	}
	nb.strip()
	for i := range nb.cells() {
		joinCell(&nb.cells()[i])
	}
	return nb, nil
}

// Decode takes a notebook as a client sends it, in strict JSON. A notebook of an older format is kept as it
// is, for Read to upgrade.
func Decode(body []byte) (*Notebook, error) {
	nb, err := parse(body, false)
	if err != nil {
		return nil, err
	}
	if nb.major < 1 || nb.major > Major {
		return nil, fmt.Errorf("notebooks of format %d are not supported", nb.major)
	}
	if nb.older = nb.major < Major; !nb.older {
		nb.strip()
	}
	return nb, nil
}

func parse(b []byte, lenient bool) (*Notebook, error) {
	p := parser{b: b, lenient: lenient}
	root, err := p.document()
	if err != nil {
		return nil, err
	}
	if root.kind != object {
		return nil, fmt.Errorf("a notebook should be an object, not %s", kindNames[root.kind])
	}
	nb := &Notebook{root: root, nans: p.nans, major: 1}
	for _, v := range []struct {
		key string
		to  *int
	}{{"nbformat", &nb.major}, {"nbformat_minor", &nb.minor}} {
		n := root.get(v.key)
		if n == nil {
			continue
		}
		if *v.to, err = strconv.Atoi(string(n.raw)); err != nil || n.kind != number {
			return nil, fmt.Errorf("%s should be a whole number", v.key)
		}
	}
	return nb, nil
}

// strip removes transient fields and, from 4.5 on, names the cells that lack an id of their own.
func (nb *Notebook) strip() {
	meta := nb.root.get("metadata")
	for _, key := range []string{"orig_nbformat", "orig_nbformat_minor", "signature"} {
		meta.pop(key)
	}
	cells := nb.cells()
	nb.trusted = true
	for i := range cells {
		mark, _ := cells[i].get("metadata").pop("trusted")
		nb.trusted = nb.trusted && cells[i].vouched(mark)
	}
	if nb.minor >= 5 {
		nb.addIDs()
	}
}

func (nb *Notebook) cells() []node {
	if c := nb.root.get("cells"); c != nil && c.kind == array {
		return c.kids
	}
	return nil
}

// addIDs names cells that have no id or another cell's. The name follows from the cell's place and source,
// so that reading the same file twice gives the same ids.
func (nb *Notebook) addIDs() {
	seen := map[string]bool{}
	cells := nb.cells()
	for i := range cells {
		c := &cells[i]
		if c.kind != object {
			continue
		}
		id := c.get("id")
		if id != nil && (id.kind != str || !seen[id.text()]) {
			seen[id.text()] = true
			continue
		}
		for try := 0; ; try++ {
			sum := sha256.Sum256(fmt.Appendf(nil, "%d.%d.%s", i, try, c.get("source").text()))
			name := hex.EncodeToString(sum[:4])
			if !seen[name] {
				seen[name] = true
				c.set("id", quote(name))
				break
			}
		}
	}
}

func joinCell(c *node) {
	join(c.get("source"))
	if att := c.get("attachments"); att != nil && att.kind == object {
		for i := range att.kids {
			joinBundle(&att.kids[i])
		}
	}
	outputs := c.get("outputs")
	if c.get("cell_type").text() != "code" || outputs == nil || outputs.kind != array {
		return
	}
	for i := range outputs.kids {
		o := &outputs.kids[i]
		switch o.get("output_type").text() {
		case "":
		case "execute_result", "display_data":
			joinBundle(o.get("data"))
		default:
			join(o.get("text"))
		}
	}
}

// join makes one string of an array of strings. Escapes stay as they are.
func join(n *node) {
	if !n.allStrings() {
		return
	}
	size := 2
	for i := range n.kids {
		size += len(n.kids[i].raw)
	}
	raw := append(make([]byte, 0, size), '"')
	for i := range n.kids {
		line := n.kids[i].raw
		raw = append(raw, line[1:len(line)-1]...)
	}
	*n = node{kind: str, key: n.key, raw: append(raw, '"')}
}

func joinBundle(data *node) {
	if data == nil || data.kind != object {
		return
	}
	for i := range data.kids {
		if !isJSONType(data.kids[i].key) {
			join(&data.kids[i])
		}
	}
}

func isJSONType(mime string) bool {
	return mime == "application/json" || strings.HasPrefix(mime, "application/") && strings.HasSuffix(mime, "+json")
}

// WriteJSON writes the notebook for a client.
func (nb *Notebook) WriteJSON(w io.Writer) error {
	out := writer{w: w}
	out.compact(&nb.root)
	return out.flush()
}

// WriteFile writes the notebook for the disk, with a newline at its end.
func (nb *Notebook) WriteFile(w io.Writer) error {
	out := writer{w: w, split: !nb.older}
	out.indented(&nb.root, 0, inNotebook)
	out.b = append(out.b, '\n')
	return out.flush()
}

// place is where in a notebook a value stands, as far as it decides which strings are split.
type place byte

const (
	elsewhere place = iota
	inNotebook
	inCells
	inCell // not a code cell: outputs mean nothing here
	inCodeCell
	inAttachments
	inOutputs
	inResult // display_data, execute_result
	inStream
	inBundle
	multiline // a string here is split
)

// below is the place of the member key, or of an element of an array.
func (p place) below(key string, kid *node) place {
	switch {
	case p == inNotebook && key == "cells":
		return inCells
	case p == inCells:
		if kid.get("cell_type").text() == "code" {
			return inCodeCell
		}
		return inCell
	case (p == inCell || p == inCodeCell) && key == "source", p == inStream && key == "text":
		return multiline
	case (p == inCell || p == inCodeCell) && key == "attachments":
		return inAttachments
	case p == inCodeCell && key == "outputs":
		return inOutputs
	case p == inOutputs:
		switch kid.get("output_type").text() {
		case "execute_result", "display_data":
			return inResult
		case "stream":
			return inStream
		}
	case p == inResult && key == "data", p == inAttachments:
		return inBundle
	case p == inBundle && splits(key):
		return multiline
	}
	return elsewhere
}

// splits says whether a mimebundle's text is split into lines on the disk.
func splits(mime string) bool {
	return strings.HasPrefix(mime, "text/") || mime == "application/javascript" || mime == "image/svg+xml"
}

// writer collects output and hands it on in large pieces.
type writer struct {
	w     io.Writer
	b     []byte
	split bool
	err   error
}

// writeBytes is how much is collected before it is written.
const writeBytes = 128 << 10

func (w *writer) spill() {
	if len(w.b) >= writeBytes {
		w.err = w.flush()
	}
}

func (w *writer) flush() error {
	if w.err == nil {
		_, w.err = w.w.Write(w.b)
	}
	w.b = w.b[:0]
	return w.err
}

func (w *writer) compact(n *node) {
	switch {
	case n.flat():
		w.b = append(w.b, n.raw...)
	case n.kind == object, n.kind == array:
		brackets := "[]"
		if n.kind == object {
			brackets = "{}"
		}
		w.b = append(w.b, brackets[0])
		for i := range n.kids {
			if i > 0 {
				w.b = append(w.b, ',')
			}
			if n.kind == object {
				w.b = append(encode(w.b, []byte(n.kids[i].key)), ':')
			}
			w.compact(&n.kids[i])
		}
		w.b = append(w.b, brackets[1])
	default:
		w.b = append(w.b, n.raw...)
	}
	w.spill()
}

func (w *writer) indented(n *node, depth int, at place) {
	switch {
	case n.kind == object:
		w.object(n, depth, at)
	case n.kind == array:
		w.array(n, depth, at)
	case n.kind == str && at == multiline && w.split:
		w.lines(decode(n.raw), depth)
	case n.kind == str:
		w.b = append(w.b, canonical(n.raw)...)
	default:
		w.b = append(w.b, n.raw...)
	}
	w.spill()
}

func (w *writer) object(n *node, depth int, at place) {
	if len(n.kids) == 0 {
		w.b = append(w.b, "{}"...)
		return
	}
	order := make([]*node, len(n.kids))
	for i := range n.kids {
		order[i] = &n.kids[i]
	}
	slices.SortFunc(order, func(a, b *node) int { return strings.Compare(a.key, b.key) })
	for i, kid := range order {
		w.next(i, '{', depth+1)
		w.b = append(encode(w.b, []byte(kid.key)), ':', ' ')
		w.indented(kid, depth+1, at.below(kid.key, kid))
	}
	w.close('}', depth)
}

func (w *writer) array(n *node, depth int, at place) {
	if n.flat() {
		i := 0
		n.items(func(item []byte) {
			w.next(i, '[', depth+1)
			w.b = append(w.b, item...)
			w.spill()
			i++
		})
		w.close(']', depth)
		return
	}
	if len(n.kids) == 0 {
		w.b = append(w.b, "[]"...)
		return
	}
	for i := range n.kids {
		w.next(i, '[', depth+1)
		w.indented(&n.kids[i], depth+1, at.below("", &n.kids[i]))
	}
	w.close(']', depth)
}

func (w *writer) lines(text []byte, depth int) {
	lines := splitLines(text)
	if len(lines) == 0 {
		w.b = append(w.b, "[]"...)
		return
	}
	for i, line := range lines {
		w.next(i, '[', depth+1)
		w.b = encode(w.b, line)
		w.spill()
	}
	w.close(']', depth)
}

// next begins the i-th item of what opens with bracket.
func (w *writer) next(i int, bracket byte, depth int) {
	if i > 0 {
		bracket = ','
	}
	w.b = append(w.b, bracket)
	w.newline(depth)
}

func (w *writer) close(bracket byte, depth int) {
	w.newline(depth)
	w.b = append(w.b, bracket)
}

func (w *writer) newline(depth int) {
	w.b = append(w.b, '\n')
	for range depth {
		w.b = append(w.b, ' ')
	}
}
