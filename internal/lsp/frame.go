package lsp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

const (
	// maxFromServer bounds a message of a language server, in bytes. Lists of completions and tokens have megabytes.
	maxFromServer = 64 << 20
	// maxNoise bounds what a language server may print between two messages, in bytes: some greet on standard output.
	maxNoise = 1 << 20
	// lineBuffer is how much of a line is looked at; a header is shorter.
	lineBuffer = 4 << 10
)

// lengthHeader is the one header that says anything: the other one that there is, Content-Type, allows UTF-8 only.
var lengthHeader = []byte("content-length:")

// reader takes a language server's messages from its standard output: "Content-Length: N", an empty line, N bytes.
// (LSP 3.17, base protocol.)
type reader struct{ in *bufio.Reader }

func newReader(r io.Reader) *reader { return &reader{bufio.NewReaderSize(r, lineBuffer)} }

// next gives the next message, one JSON object. What is printed between messages is passed over. An error that is not
// the stream's own is the language server's fault, and nothing after it can be read.
func (r *reader) next() ([]byte, error) {
	length, noise := 0, 0
	for {
		line, err := r.in.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		if noise += len(line); noise > maxNoise {
			return nil, fmt.Errorf("it printed %d bytes that are no message", noise)
		}
		if len(bytes.TrimSpace(line)) == 0 && length > 0 {
			return r.body(length)
		}
		n, found, err := contentLength(line)
		switch {
		case err != nil:
			return nil, err
		case found:
			length = n
		}
	}
}

// contentLength reads a header of that name. Text that was printed without an end of line may stand before it.
func contentLength(line []byte) (n int, found bool, err error) {
	at := bytes.LastIndex(bytes.ToLower(line), lengthHeader)
	if at < 0 || at+len(lengthHeader) > len(line) {
		return 0, false, nil
	}
	text := bytes.TrimSpace(line[at+len(lengthHeader):])
	n, err = strconv.Atoi(string(text))
	switch {
	case err != nil || n < 0:
		return 0, false, fmt.Errorf("it gave a message the length %.20q", text)
	case n > maxFromServer:
		return 0, false, fmt.Errorf("it sent a message of %d bytes; at most %d are taken", n, maxFromServer)
	}
	return n, n > 0, nil
}

// body reads n bytes of JSON. Memory is taken as they come, not as they were announced.
func (r *reader) body(n int) ([]byte, error) {
	var b bytes.Buffer
	if _, err := io.CopyN(&b, r.in, int64(n)); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	if !isMessage(b.Bytes()) {
		return nil, errors.New("it sent what is no JSON object")
	}
	return b.Bytes(), nil
}

// isMessage tells whether text can be a message: an object, and UTF-8, which the text frames of WebSockets have to be.
func isMessage(text []byte) bool {
	text = bytes.TrimSpace(text)
	return len(text) > 0 && text[0] == '{' && utf8.Valid(text) && json.Valid(text)
}

// frame puts a message into the form that language servers read.
func frame(message []byte) []byte {
	return append(fmt.Appendf(nil, "Content-Length: %d\r\n\r\n", len(message)), message...)
}
