package lab

import (
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/nbserv/nbserv/internal/httpx"
)

// maxHexDigits bounds a hexadecimal number, whose decimal form costs its square.
const maxHexDigits = 256

func (p *json5) string() error {
	quote := p.next()
	p.out = append(p.out, '"')
	for {
		if p.end() {
			return fmt.Errorf("a text does not end")
		}
		switch r := p.next(); r {
		case quote:
			p.out = append(p.out, '"')
			return nil
		case '\\':
			if err := p.escape(); err != nil {
				return err
			}
		case '\n', '\r':
			return fmt.Errorf("a text does not end before its line does")
		default:
			p.char(r)
		}
	}
}

// char appends one character of a string.
func (p *json5) char(r rune) {
	quoted := httpx.AppendString(nil, string(r))
	p.out = append(p.out, quoted[1:len(quoted)-1]...)
}

// escape converts what follows a backslash.
func (p *json5) escape() error {
	if p.end() {
		return p.unexpected()
	}
	switch r := p.next(); {
	case r == 'u':
		return p.code(4)
	case r == 'x':
		return p.code(2)
	case r == '\r':
		p.accept('\n') // one end of a line
	case r == '\n' || r == '\u2028' || r == '\u2029':
	case r == '0' && (p.end() || !isDigit(p.src[p.pos])):
		p.char(0)
	case r >= '0' && r <= '9':
		return fmt.Errorf(`a text has the escape \%c, which JSON5 does not know`, r)
	default:
		if i := strings.IndexRune("bfnrtv", r); i >= 0 {
			r = rune("\b\f\n\r\t\v"[i])
		}
		p.char(r)
	}
	return nil
}

// code converts an escape of n hexadecimal digits. One half of a surrogate pair stays one.
func (p *json5) code(n int) error {
	digits, err := p.hex(n)
	p.out = append(append(append(p.out, `\u`...), "00"[:4-n]...), digits...)
	return err
}

// hex reads n hexadecimal digits.
func (p *json5) hex(n int) (string, error) {
	digits := p.src[p.pos:min(p.pos+n, len(p.src))]
	if len(digits) < n || slices.ContainsFunc(digits, func(c byte) bool { return !isHex(c) }) {
		return "", fmt.Errorf("%d hexadecimal digits are missing after a backslash", n)
	}
	p.pos += n
	return string(digits), nil
}

func (p *json5) number() error {
	if p.accept('-') {
		p.out = append(p.out, '-')
	} else {
		p.accept('+')
	}
	if rest := p.src[p.pos:]; len(rest) > 1 && rest[0] == '0' && rest[1]|0x20 == 'x' {
		return p.hexNumber()
	}
	if !p.end() && !isDigit(p.src[p.pos]) && p.src[p.pos] != '.' {
		return p.literalNumber()
	}
	whole := p.digits()
	if len(whole) > 1 && whole[0] == '0' {
		return fmt.Errorf("the number %s begins with 0", whole)
	}
	var fraction []byte
	if p.accept('.') {
		fraction = p.digits()
	}
	if len(whole)+len(fraction) == 0 {
		return p.unexpected()
	}
	if len(whole) == 0 {
		whole = []byte{'0'}
	}
	p.out = append(p.out, whole...)
	if len(fraction) > 0 {
		p.out = append(append(p.out, '.'), fraction...)
	}
	return p.exponent()
}

// literalNumber is what may follow a sign other than digits.
func (p *json5) literalNumber() error {
	if err := p.literal(); err != nil {
		return err
	}
	return fmt.Errorf("a sign without a number")
}

func (p *json5) hexNumber() error {
	p.pos += 2
	start := p.pos
	for !p.end() && isHex(p.src[p.pos]) {
		p.pos++
	}
	digits := string(p.src[start:p.pos])
	if digits == "" || len(digits) > maxHexDigits {
		return fmt.Errorf("a hexadecimal number has between 1 and %d digits", maxHexDigits)
	}
	n, _ := new(big.Int).SetString(digits, 16) // digits are all it has
	p.out = n.Append(p.out, 10)
	return nil
}

func (p *json5) exponent() error {
	if p.end() || p.src[p.pos]|0x20 != 'e' {
		return nil
	}
	p.out = append(p.out, 'e')
	p.pos++
	if p.accept('-') {
		p.out = append(p.out, '-')
	} else {
		p.accept('+')
	}
	digits := p.digits()
	if len(digits) == 0 {
		return p.unexpected()
	}
	p.out = append(p.out, digits...)
	return nil
}

func (p *json5) digits() []byte {
	start := p.pos
	for !p.end() && isDigit(p.src[p.pos]) {
		p.pos++
	}
	return p.src[start:p.pos]
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isHex(c byte) bool { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }
