package lab

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

// fromJSON5 rewrites JSON5, in which people write settings, as JSON: the same values in the same order, numbers in their
// own digits. NaN and infinities, which JSON does not have, are refused like everything malformed: as Invalid, naming
// the line. https://spec.json5.org
func fromJSON5(src []byte) ([]byte, error) {
	p := &json5{src: src}
	err := p.document()
	if err != nil {
		line := 1 + bytes.Count(src[:p.pos], []byte{'\n'})
		return nil, fault.New(fault.Invalid, "line %d: %v", line, err)
	}
	return p.out, nil
}

// json5 is one conversion: src has been read up to pos.
type json5 struct {
	src   []byte
	pos   int
	depth int
	out   []byte
}

func (p *json5) document() error {
	if !utf8.Valid(p.src) {
		return fmt.Errorf("this is not UTF-8")
	}
	if err := p.value(); err != nil {
		return err
	}
	if err := p.space(); err != nil {
		return err
	}
	if p.pos < len(p.src) {
		return fmt.Errorf("%q follows the end", p.rune())
	}
	return nil
}

// rune is the next character, utf8.RuneError at the end.
func (p *json5) rune() rune {
	r, _ := utf8.DecodeRune(p.src[p.pos:])
	return r
}

func (p *json5) next() rune {
	r, n := utf8.DecodeRune(p.src[p.pos:])
	p.pos += n
	return r
}

func (p *json5) end() bool { return p.pos >= len(p.src) }

// accept steps over c if it is next.
func (p *json5) accept(c byte) bool {
	if p.end() || p.src[p.pos] != c {
		return false
	}
	p.pos++
	return true
}

func (p *json5) unexpected() error {
	if p.end() {
		return fmt.Errorf("it ends too early")
	}
	return fmt.Errorf("unexpected %q", p.rune())
}

// space steps over white space and comments.
func (p *json5) space() error {
	for !p.end() {
		switch r := p.rune(); {
		case r == '\uFEFF' || unicode.IsSpace(r):
			p.next()
		case r == '/':
			if err := p.comment(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

func (p *json5) comment() error {
	rest := p.src[p.pos:]
	switch {
	case bytes.HasPrefix(rest, []byte("//")):
		if i := bytes.IndexAny(rest, "\n\r\u2028\u2029"); i >= 0 {
			p.pos += i
			return nil
		}
		p.pos = len(p.src)
	case bytes.HasPrefix(rest, []byte("/*")):
		i := bytes.Index(rest[2:], []byte("*/"))
		if i < 0 {
			return fmt.Errorf("a comment does not end")
		}
		p.pos += 2 + i + 2
	default:
		return p.unexpected()
	}
	return nil
}

func (p *json5) value() error {
	if err := p.space(); err != nil {
		return err
	}
	if p.end() {
		return p.unexpected()
	}
	switch c := p.src[p.pos]; {
	case c == '{':
		return p.nested('}', p.member)
	case c == '[':
		return p.nested(']', p.value)
	case c == '"' || c == '\'':
		return p.string()
	case c == '+' || c == '-' || c == '.' || isDigit(c):
		return p.number()
	}
	return p.literal()
}

// nested converts an object or an array: items with commas between them, and perhaps one after the last.
func (p *json5) nested(closing byte, item func() error) error {
	if p.depth++; p.depth > httpx.MaxDepth {
		return fmt.Errorf("it nests deeper than %d levels", httpx.MaxDepth)
	}
	p.out = append(p.out, p.src[p.pos])
	p.pos++
	for first := true; ; first = false {
		if err := p.space(); err != nil {
			return err
		}
		if p.accept(closing) {
			break
		}
		if !first {
			p.out = append(p.out, ',')
		}
		if err := item(); err != nil {
			return err
		}
		if err := p.space(); err != nil {
			return err
		}
		if !p.accept(',') {
			if !p.accept(closing) {
				return p.unexpected()
			}
			break
		}
	}
	p.out = append(p.out, closing)
	p.depth--
	return nil
}

func (p *json5) member() error {
	if p.end() {
		return p.unexpected()
	}
	if c := p.src[p.pos]; c == '"' || c == '\'' {
		if err := p.string(); err != nil {
			return err
		}
	} else {
		name, err := p.identifier()
		if err != nil {
			return err
		}
		p.out = httpx.AppendString(p.out, name)
	}
	if err := p.space(); err != nil {
		return err
	}
	if !p.accept(':') {
		return p.unexpected()
	}
	p.out = append(p.out, ':')
	return p.value()
}

// identifier reads a name without quotes, as ECMAScript 5.1 has it.
func (p *json5) identifier() (string, error) {
	var name strings.Builder
	for !p.end() {
		start := p.pos
		r := p.next()
		if r == '\\' {
			if !p.accept('u') {
				return "", p.unexpected()
			}
			digits, err := p.hex(4)
			if err != nil {
				return "", err
			}
			code, _ := strconv.ParseUint(digits, 16, 16) // four hexadecimal digits are one
			r = rune(code)
		}
		if !inIdentifier(r, name.Len() == 0) {
			p.pos = start
			break
		}
		name.WriteRune(r)
	}
	if name.Len() == 0 {
		return "", p.unexpected()
	}
	return name.String(), nil
}

func inIdentifier(r rune, first bool) bool {
	if r == '$' || r == '_' || unicode.IsLetter(r) || unicode.Is(unicode.Nl, r) {
		return true
	}
	return !first && (unicode.In(r, unicode.Mn, unicode.Mc, unicode.Nd, unicode.Pc) || r == '\u200C' || r == '\u200D')
}

func (p *json5) literal() error {
	name, err := p.identifier()
	if err != nil {
		return err
	}
	switch name {
	case "true", "false", "null":
		p.out = append(p.out, name...)
		return nil
	case "NaN", "Infinity":
		return fmt.Errorf("%s is no number that settings can hold", name)
	}
	return fmt.Errorf("%q is no value: texts stand in quotes", name)
}
