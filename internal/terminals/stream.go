package terminals

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/socket"
)

// inputTimeout is how long a terminal may take no input before its page is told.
const inputTimeout = 10 * time.Second

// stream is v's side of t's WebSocket.
func (t *Terminal) stream(v *viewer) socket.Stream {
	return socket.Stream{
		In: func(text []byte) error { return t.obey(v, text) },
		Out: func(ctx context.Context, send func([]byte) error) error {
			return t.show(ctx, v, send)
		},
	}
}

// obey does what a page asks. Messages of other kinds are passed over, as the reference server does.
func (t *Terminal) obey(v *viewer, text []byte) error {
	var parts []json.RawMessage
	var kind string
	if json.Unmarshal(text, &parts) != nil || len(parts) == 0 || json.Unmarshal(parts[0], &kind) != nil {
		return fault.New(fault.Invalid, "a message is a JSON array that begins with its kind")
	}
	switch kind {
	case "stdin":
		var input string
		if len(parts) < 2 || json.Unmarshal(parts[1], &input) != nil {
			return fault.New(fault.Invalid, `["stdin", text] has no text`)
		}
		return t.write(input, inputTimeout)
	case "set_size":
		rows, cols := side(parts, 1), side(parts, 2)
		if rows == 0 || cols == 0 {
			return nil // a page that is not laid out yet says null or 0
		}
		t.resize(v, rows, cols)
	}
	return nil
}

// side reads one side of a size; 0 is none.
func side(parts []json.RawMessage, i int) int {
	var n float64
	if i >= len(parts) || json.Unmarshal(parts[i], &n) != nil || n < 1 || n > maxSide {
		return 0
	}
	return int(n)
}

// show sends what t prints, the past first, until it ends.
func (t *Terminal) show(ctx context.Context, v *viewer, send func([]byte) error) error {
	if err := send([]byte(`["setup", {}]`)); err != nil {
		return err
	}
	t.mu.Lock()
	past := t.scroll.end
	t.mu.Unlock()
	buf := make([]byte, 0, readChunk)
	for {
		text, lost, err := t.next(ctx, v, buf[:0])
		if errors.Is(err, errEnded) {
			_ = send([]byte(`["disconnect", 1]`)) // the page may have gone
			return nil
		}
		if err != nil {
			return err
		}
		t.mu.Lock()
		replayed := v.at <= past
		t.mu.Unlock()
		if replayed {
			text = queries.ReplaceAll(text, nil)
		}
		if lost > 0 {
			text = append(fmt.Appendf(nil, "\r\n[%d bytes were printed too fast to be shown]\r\n", lost), text...)
		}
		if err := send(stdout(text)); err != nil {
			return err
		}
	}
}

// queries are the control sequences that a terminal answers by typing: asked again from the past, the answers would
// land in whatever program reads now. ECMA-48 DSR, DA; xterm's OSC colour queries.
var queries = regexp.MustCompile(`\x1b\[[>=]?[0-9;]*c|\x1b\[\??[56]n|\x1b\][0-9;]+;\?(?:\x07|\x1b\\)`)

// stdout is the message that prints text.
func stdout(text []byte) []byte {
	var b bytes.Buffer
	b.WriteString(`["stdout", `)
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(string(text)) // a string: bytes that are no UTF-8 become U+FFFD
	b.Truncate(b.Len() - 1)
	b.WriteByte(']')
	return b.Bytes()
}
