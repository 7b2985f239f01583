package nbformat

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// MaxDepth is how deeply a notebook may nest: far beyond any real one, far below what hurts the stack.
const MaxDepth = 512

type kind byte

const (
	object kind = iota
	array
	str
	number
	boolean
	null
)

// names of the kinds as a user knows them.
var kindNames = map[kind]string{object: "an object", array: "an array", str: "a string", number: "a number",
	boolean: "a boolean", null: "null"}

// MaxValues bounds the values of one notebook, because each costs 72 bytes beside its text: at most 360 MB.
// Numbers in arrays, which large outputs are made of, do not count.
const MaxValues = 5_000_000

// node is one JSON value. Scalars are their bytes (strings with quotes and escapes), and so is an array that
// holds nothing but numbers, booleans and nulls: it is flat. raw is not changed in place, because it may be a
// slice of the input.
type node struct {
	kind kind
	key  string // decoded, in an object
	raw  []byte // of a scalar or a flat array
	kids []node
}

// flat says whether n is an array without kids that is not empty.
func (n *node) flat() bool { return n.kind == array && n.raw != nil }

// items calls yield with the text of each value of a flat array.
func (n *node) items(yield func([]byte)) {
	for b := n.raw[1 : len(n.raw)-1]; len(b) > 0; {
		item := b
		if i := bytes.IndexByte(b, ','); i >= 0 {
			item, b = b[:i], b[i+1:]
		} else {
			b = nil
		}
		yield(bytes.TrimSpace(item))
	}
}

// SyntaxError says where a text stops being JSON.
type SyntaxError struct {
	Offset int // bytes
	Msg    string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%s at byte %d", e.Msg, e.Offset) }

// parser reads one JSON text. NaN and infinities, which Python writes and JSON does not have, become null
// when lenient and are counted.
type parser struct {
	b       []byte
	i       int
	lenient bool
	nans    int
	values  int
}

func (p *parser) fail(format string, args ...any) error {
	return &SyntaxError{Offset: p.i, Msg: fmt.Sprintf(format, args...)}
}

func (p *parser) space() {
	for p.i < len(p.b) {
		switch p.b[p.i] {
		case ' ', '\n', '\r', '\t':
			p.i++
		default:
			return
		}
	}
}

func (p *parser) document() (node, error) {
	p.b = bytes.TrimPrefix(p.b, []byte("\xef\xbb\xbf"))
	n, err := p.value(0)
	if err != nil {
		return n, err
	}
	if p.space(); p.i < len(p.b) {
		return n, p.fail("more than one JSON value")
	}
	return n, nil
}

func (p *parser) value(depth int) (node, error) {
	if depth > MaxDepth {
		return node{}, p.fail("nesting deeper than %d levels", MaxDepth)
	}
	if p.values++; p.values > MaxValues {
		return node{}, p.fail("more than %d values", MaxValues)
	}
	if p.space(); p.i == len(p.b) {
		return node{}, p.fail("unexpected end")
	}
	switch c := p.b[p.i]; {
	case c == '{':
		return p.object(depth)
	case c == '[':
		return p.array(depth)
	case c == '"':
		raw, err := p.str()
		return node{kind: str, raw: raw}, err
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	}
	for _, w := range []struct {
		word string
		kind kind
	}{{"true", boolean}, {"false", boolean}, {"null", null}} {
		if raw, ok := p.word(w.word); ok {
			return node{kind: w.kind, raw: raw}, nil
		}
	}
	return p.notANumber()
}

func (p *parser) word(w string) ([]byte, bool) {
	if !bytes.HasPrefix(p.b[p.i:], []byte(w)) {
		return nil, false
	}
	p.i += len(w)
	return p.b[p.i-len(w) : p.i], true
}

func (p *parser) notANumber() (node, error) {
	for _, w := range []string{"NaN", "Infinity", "-Infinity"} {
		if !p.lenient {
			break
		}
		if _, ok := p.word(w); ok {
			p.nans++
			return node{kind: null, raw: []byte("null")}, nil
		}
	}
	return node{}, p.fail("not a JSON value")
}

func (p *parser) object(depth int) (node, error) {
	n := node{kind: object}
	for p.i++; ; p.i++ {
		if p.space(); p.i == len(p.b) {
			return n, p.fail("unexpected end of an object")
		}
		if p.b[p.i] == '}' && len(n.kids) == 0 {
			break
		}
		if p.b[p.i] != '"' {
			return n, p.fail("a key should be a string")
		}
		key, err := p.str()
		if err != nil {
			return n, err
		}
		if p.space(); p.i == len(p.b) || p.b[p.i] != ':' {
			return n, p.fail("a colon should follow a key")
		}
		p.i++
		kid, err := p.value(depth + 1)
		if err != nil {
			return n, err
		}
		kid.key = string(decode(key))
		n.kids = append(n.kids, kid)
		if more, err := p.more('}'); err != nil {
			return n, err
		} else if !more {
			break
		}
	}
	p.i++
	n.dropRepeated()
	return n, nil
}

// flatArray reads an array of numbers, booleans and nulls, at least one. Anything else leaves p where it was.
func (p *parser) flatArray() ([]byte, bool) {
	start := p.i
	for p.i++; p.scalar(); p.i++ {
		if p.i == len(p.b) || p.b[p.i] != ',' && p.b[p.i] != ']' {
			break
		}
		if p.b[p.i] == ']' {
			p.i++
			return p.b[start:p.i], true
		}
	}
	p.i = start
	return nil, false
}

// scalar skips a number, a boolean or null, and the white space around it.
func (p *parser) scalar() bool {
	p.space()
	defer p.space()
	for _, w := range []string{"true", "false", "null"} {
		if _, ok := p.word(w); ok {
			return true
		}
	}
	if p.i == len(p.b) || p.b[p.i] != '-' && (p.b[p.i] < '0' || p.b[p.i] > '9') {
		return false
	}
	before := p.nans
	_, err := p.number()
	ok := err == nil && p.nans == before
	p.nans = before
	return ok
}

func (p *parser) array(depth int) (node, error) {
	n := node{kind: array}
	if raw, ok := p.flatArray(); ok {
		n.raw = raw
		return n, nil
	}
	for p.i++; ; p.i++ {
		if p.space(); p.i < len(p.b) && p.b[p.i] == ']' && len(n.kids) == 0 {
			break
		}
		kid, err := p.value(depth + 1)
		if err != nil {
			return n, err
		}
		n.kids = append(n.kids, kid)
		if more, err := p.more(']'); err != nil {
			return n, err
		} else if !more {
			break
		}
	}
	p.i++
	return n, nil
}

// more says whether a comma follows, and not the end.
func (p *parser) more(end byte) (bool, error) {
	if p.space(); p.i == len(p.b) {
		return false, p.fail("unexpected end")
	}
	switch p.b[p.i] {
	case ',':
		return true, nil
	case end:
		return false, nil
	}
	return false, p.fail("a comma or %q should follow a value", end)
}

// str reads a string and returns it with its quotes.
func (p *parser) str() ([]byte, error) {
	start := p.i
	ascii := true
	for p.i++; p.i < len(p.b); p.i++ {
		switch c := p.b[p.i]; {
		case c == '"':
			p.i++
			raw := p.b[start:p.i]
			if !ascii && !utf8.Valid(raw) {
				return nil, p.fail("a string is not UTF-8")
			}
			return raw, nil
		case c == '\\':
			if err := p.escape(); err != nil {
				return nil, err
			}
		case c < 0x20:
			return nil, p.fail("a control character in a string")
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return nil, p.fail("unexpected end of a string")
}

// escape leaves p.i at the last byte of the escape.
func (p *parser) escape() error {
	if p.i++; p.i == len(p.b) {
		return p.fail("unexpected end of a string")
	}
	switch p.b[p.i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return nil
	case 'u':
		if p.i+4 < len(p.b) {
			if _, ok := hex4(p.b[p.i+1:]); ok {
				p.i += 4
				return nil
			}
		}
	}
	return p.fail("not an escape")
}

func (p *parser) number() (node, error) {
	start := p.i
	if p.b[p.i] == '-' {
		if p.i++; p.i < len(p.b) && p.b[p.i] == 'I' {
			p.i--
			return p.notANumber()
		}
	}
	if p.i < len(p.b) && p.b[p.i] == '0' {
		p.i++
	} else if !p.digits() {
		return node{}, p.fail("not a number")
	}
	if p.i < len(p.b) && p.b[p.i] == '.' {
		if p.i++; !p.digits() {
			return node{}, p.fail("not a number")
		}
	}
	if p.i < len(p.b) && p.b[p.i]|0x20 == 'e' {
		if p.i++; p.i < len(p.b) && (p.b[p.i] == '+' || p.b[p.i] == '-') {
			p.i++
		}
		if !p.digits() {
			return node{}, p.fail("not a number")
		}
	}
	return node{kind: number, raw: p.b[start:p.i]}, nil
}

func (p *parser) digits() bool {
	start := p.i
	for p.i < len(p.b) && p.b[p.i] >= '0' && p.b[p.i] <= '9' {
		p.i++
	}
	return p.i > start
}

// manyKids is where looking a key up by a map becomes cheaper than by walking.
const manyKids = 16

// dropRepeated keeps the last of keys that repeat, at the place of the first, as Python's reader does.
func (n *node) dropRepeated() {
	if len(n.kids) <= manyKids {
		for i := 1; i < len(n.kids); i++ {
			for j := range i {
				if n.kids[i].key == n.kids[j].key {
					n.kids[j] = n.kids[i]
					n.kids = append(n.kids[:i], n.kids[i+1:]...)
					i--
					break
				}
			}
		}
		return
	}
	at := make(map[string]int, len(n.kids))
	kept := n.kids[:0]
	for _, kid := range n.kids {
		if i, ok := at[kid.key]; ok {
			kept[i] = kid
			continue
		}
		at[kid.key] = len(kept)
		kept = append(kept, kid)
	}
	n.kids = kept
}

// get finds a member, nil when n has none of that name or is no object.
func (n *node) get(key string) *node {
	if n == nil || n.kind != object {
		return nil
	}
	for i := range n.kids {
		if n.kids[i].key == key {
			return &n.kids[i]
		}
	}
	return nil
}

// pop removes a member and returns it.
func (n *node) pop(key string) (node, bool) {
	if n == nil || n.kind != object {
		return node{}, false
	}
	for i, kid := range n.kids {
		if kid.key == key {
			n.kids = append(n.kids[:i], n.kids[i+1:]...)
			return kid, true
		}
	}
	return node{}, false
}

// set replaces or appends a member.
func (n *node) set(key string, v node) {
	v.key = key
	if old := n.get(key); old != nil {
		*old = v
		return
	}
	n.kids = append(n.kids, v)
}

// text is a string's decoded value, "" for anything else.
func (n *node) text() string {
	if n == nil || n.kind != str {
		return ""
	}
	return string(decode(n.raw))
}

// allStrings says whether n is an array of strings only.
func (n *node) allStrings() bool {
	if n == nil || n.kind != array || n.flat() {
		return false
	}
	for i := range n.kids {
		if n.kids[i].kind != str {
			return false
		}
	}
	return true
}
