package adapters

import (
	"fmt"
	"regexp"
	"strings"
)

// escapes are the sequences with which programs colour a terminal's text, set its title and move about in it.
// ECMA-48: CSI (5.4), and the strings that OSC and others begin (5.6).
var escapes = regexp.MustCompile(`\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-Z\\-~])`)

// PlainText takes the terminal's escape sequences out of text.
func PlainText(text string) string {
	if !strings.Contains(text, "\x1b") {
		return text
	}
	return escapes.ReplaceAllString(text, "")
}

// maxTraceback bounds a traceback, in bytes: a recursion's has a thousand frames.
const maxTraceback = 256 << 10

func failure(m content) *Failure {
	f := &Failure{Name: m.ErrorName, Value: PlainText(m.ErrorValue)}
	t := newText(maxTraceback)
	t.add(PlainText(strings.Join(m.Traceback, "\n")))
	f.Traceback = t.String()
	return f
}

// text keeps the beginning and the end of what is written to it.
type text struct {
	half int // bytes kept of each
	head strings.Builder
	tail []byte // at most twice half
	cut  int    // bytes before tail that are gone
}

func newText(limit int) text { return text{half: max(1, limit/2)} }

func (t *text) add(s string) {
	if room := t.half - t.head.Len(); room > 0 && t.cut == 0 && len(t.tail) == 0 {
		n := min(room, len(s))
		t.head.WriteString(s[:n])
		s = s[n:]
	}
	if over := len(s) - t.half; over > 0 { // nothing before the last half of it can stay
		t.cut += len(t.tail) + over
		t.tail, s = t.tail[:0], s[over:]
	}
	t.tail = append(t.tail, s...)
	if len(t.tail) > 2*t.half {
		t.trim()
	}
}

func (t *text) trim() {
	if over := len(t.tail) - t.half; over > 0 {
		t.cut += over
		t.tail = t.tail[:copy(t.tail, t.tail[over:])]
	}
}

// String is the text, with a note where its middle is left out.
func (t *text) String() string {
	t.trim()
	if t.cut == 0 {
		return t.head.String() + string(t.tail)
	}
	note := fmt.Sprintf("\n… %d bytes left out …\n", t.cut)
	return strings.ToValidUTF8(t.head.String(), "") + note + strings.ToValidUTF8(string(t.tail), "")
}
