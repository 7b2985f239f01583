package nbformat

import (
	"strings"
)

// mimeOf maps nbformat 3's short output keys to media types.
var mimeOf = map[string]string{
	"text": "text/plain", "html": "text/html", "svg": "image/svg+xml", "png": "image/png", "jpeg": "image/jpeg",
	"latex": "text/latex", "json": "application/json", "javascript": "application/javascript",
}

// upgrade turns a notebook of format 2 or 3 into one of format 4, by nbformat's rules: worksheets are
// joined, headings become markdown, code cells and outputs get their new names.
func (nb *Notebook) upgrade() {
	cells := node{kind: array}
	sheets, _ := nb.root.pop("worksheets")
	for _, sheet := range sheets.kids {
		old := sheet.get("cells")
		if old == nil || old.kind != array {
			continue
		}
		for i := range old.kids {
			upgradeCell(&old.kids[i])
			cells.kids = append(cells.kids, old.kids[i])
		}
	}
	nb.root.pop("orig_nbformat")
	nb.root.pop("orig_nbformat_minor")
	nb.root.set("cells", cells)
	nb.root.set("nbformat", node{kind: number, raw: []byte("4")})
	nb.root.set("nbformat_minor", node{kind: number, raw: []byte("5")})
	if nb.root.get("metadata") == nil {
		nb.root.set("metadata", node{kind: object})
	}
	nb.root.get("metadata").pop("name")
	nb.major, nb.minor = Major, Minor
}

func upgradeCell(c *node) {
	if c.kind != object {
		return
	}
	if c.get("metadata") == nil {
		c.set("metadata", node{kind: object})
	}
	switch c.get("cell_type").text() {
	case "code":
		upgradeCode(c)
	case "heading":
		level := 1
		if n, ok := c.pop("level"); ok && len(n.raw) == 1 && n.raw[0] >= '1' && n.raw[0] <= '6' {
			level = int(n.raw[0] - '0')
		}
		join(c.get("source"))
		text := strings.Join(strings.FieldsFunc(c.get("source").text(), func(r rune) bool { return r == '\n' || r == '\r' }), " ")
		c.set("source", quote(strings.Repeat("#", level)+" "+text))
		c.set("cell_type", quote("markdown"))
	case "html":
		c.set("cell_type", quote("markdown"))
	}
}

func upgradeCode(c *node) {
	c.pop("language")
	if collapsed, ok := c.pop("collapsed"); ok {
		c.get("metadata").set("collapsed", collapsed)
	}
	source, ok := c.pop("input")
	if !ok {
		source = quote("")
	}
	c.set("source", source)
	c.set("execution_count", popOrNull(c, "prompt_number"))
	outputs := c.get("outputs")
	if outputs == nil || outputs.kind != array {
		c.set("outputs", node{kind: array})
		return
	}
	for i := range outputs.kids {
		upgradeOutput(&outputs.kids[i])
	}
}

func popOrNull(n *node, key string) node {
	if v, ok := n.pop(key); ok {
		return v
	}
	return node{kind: null, raw: []byte("null")}
}

func upgradeOutput(o *node) {
	switch t := o.get("output_type").text(); t {
	case "pyout", "display_data":
		upgradeResult(o, t)
	case "pyerr":
		o.set("output_type", quote("error"))
	case "stream":
		name, ok := o.pop("stream")
		if !ok {
			name = quote("stdout")
		}
		o.set("name", name)
	}
}

// upgradeResult moves an output's data, which format 3 has beside the rest, into a mimebundle.
func upgradeResult(o *node, t string) {
	result := node{kind: object, key: o.key}
	data, meta := node{kind: object}, node{kind: object}
	count := node{kind: null, raw: []byte("null")}
	for _, kid := range o.kids {
		switch kid.key {
		case "output_type":
		case "metadata":
			meta = kid
			for i := range meta.kids {
				meta.kids[i].key = mimeKey(meta.kids[i].key)
			}
		case "prompt_number":
			count = kid
		default:
			data.set(mimeKey(kid.key), kid)
		}
	}
	if j := data.get("application/json"); j != nil {
		join(j)
		if inner, err := (&parser{b: []byte(j.text())}).document(); err == nil { // a string of JSON in format 3
			data.set("application/json", inner)
		}
	}
	if t == "pyout" {
		t = "execute_result"
		result.set("execution_count", count)
	}
	result.set("output_type", quote(t))
	result.set("metadata", meta)
	result.set("data", data)
	*o = result
}

func mimeKey(key string) string {
	if mime, ok := mimeOf[key]; ok {
		return mime
	}
	return key
}
