package nbformat

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
)

// Digest names what a cell shows: equal outputs have equal digests, whoever wrote them down. The lines of a
// text count joined, keys in any order, numbers by their value (a browser writes 1 for 1.0), and only the fields
// that nbformat knows. What the user typed at a prompt (the stream stdin) does not count: a page has it, the
// kernel's messages do not. The zero Digest is that of no outputs.
type Digest uint64

// FNV-1a: https://datatracker.ietf.org/doc/html/draft-eastlake-fnv
const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

// newDigest begins the digest of one output.
const newDigest = Digest(fnvOffset)

// add goes on with text. Its end does not count: what is added in pieces is what is added whole.
func (d Digest) add(text []byte) Digest {
	for _, c := range text {
		d = (d ^ Digest(c)) * fnvPrime
	}
	return d
}

// field goes on with a text that is not mistaken for a part of its neighbours.
func (d Digest) field(text []byte) Digest {
	return d.add(binary.LittleEndian.AppendUint64(nil, uint64(len(text)))).add(text)
}

// then is the digest of outputs d followed by one more.
func (d Digest) then(one Digest) Digest {
	return newDigest.add(binary.LittleEndian.AppendUint64(nil, uint64(d))).
		add(binary.LittleEndian.AppendUint64(nil, uint64(one)))
}

// streamDigest begins the digest of a stream's output; its text follows by add.
func streamDigest(name string) Digest {
	return newDigest.field([]byte("stream")).field([]byte(name))
}

// stdin is the stream in which JupyterLab keeps prompts and what was typed.
const stdin = "stdin"

// counts says whether o is a part of its cell's digest.
func counts(o *node) bool {
	return o.get("output_type").text() != "stream" || o.get("name").text() != stdin
}

// digestOf is the digest of one output.
func digestOf(o *node) Digest {
	kind := o.get("output_type").text()
	if kind == "stream" {
		return streamDigest(o.get("name").text()).add(multiText(o.get("text")))
	}
	d := newDigest.field([]byte(kind))
	for _, key := range []string{"ename", "evalue", "traceback", "metadata", "execution_count"} {
		if v := o.get(key); v != nil {
			d = v.digest(d.field([]byte(key)))
		}
	}
	return o.get("data").bundleDigest(d)
}

// multiText is the text of a string or of its lines.
func multiText(n *node) []byte {
	switch {
	case n == nil:
	case n.kind == str:
		return decode(n.raw)
	case n.allStrings():
		lines := *n
		join(&lines)
		return decode(lines.raw)
	}
	return nil
}

// bundleDigest goes on with a mimebundle, whose texts may stand there as lines.
func (n *node) bundleDigest(d Digest) Digest {
	if n == nil || n.kind != object {
		return d
	}
	for _, kid := range n.sorted() {
		d = d.field([]byte(kid.key))
		if text := kid; !isJSONType(kid.key) && text.allStrings() {
			d = d.add([]byte{byte(str)}).field(multiText(text))
			continue
		}
		d = kid.digest(d)
	}
	return d
}

// digest goes on with any value.
func (n *node) digest(d Digest) Digest {
	d = d.add([]byte{byte(n.kind)})
	switch {
	case n.kind == str:
		return d.field(decode(n.raw))
	case n.kind == number:
		return d.field(plainNumber(n.raw))
	case n.flat():
		n.items(func(item []byte) { d = d.add([]byte{byte(kindOf(item))}).field(plainNumber(item)) })
		return d.add([]byte{']'})
	case n.kind == array:
		for i := range n.kids {
			d = n.kids[i].digest(d)
		}
		return d.add([]byte{']'})
	case n.kind == object:
		for _, kid := range n.sorted() {
			d = kid.digest(d.field([]byte(kid.key)))
		}
		return d.add([]byte{'}'})
	}
	return d.field(n.raw)
}

// kindOf is the kind of an item of a flat array.
func kindOf(item []byte) kind {
	switch item[0] {
	case 't', 'f':
		return boolean
	case 'n':
		return null
	}
	return number
}

// plainNumber is a number as JavaScript's would be: what it cannot tell apart is the same. Other words are
// themselves.
func plainNumber(raw []byte) []byte {
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || f == 0 {
		if err == nil {
			return []byte{'0'} // -0 as well: JSON.stringify writes it so
		}
		return raw
	}
	return strconv.AppendFloat(nil, f, 'g', -1, 64)
}

// sorted gives n's members by their keys.
func (n *node) sorted() []*node {
	kids := make([]*node, len(n.kids))
	for i := range n.kids {
		kids[i] = &n.kids[i]
	}
	slices.SortFunc(kids, func(a, b *node) int { return strings.Compare(a.key, b.key) })
	return kids
}
