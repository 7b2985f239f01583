package httpx

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"unicode/utf8"

	"github.com/nbserv/nbserv/internal/fault"
)

// WriteJSON writes v with the given status. It does not escape HTML, so that raw JSON keeps its bytes.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fault.Wrap(fault.Internal, err, "encode the answer")
	}
	h := w.Header()
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json")
	}
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // a client that has gone is the access log's business
	return nil
}

// MaxDepth is how deeply a request's JSON may nest: far beyond any notebook, far below what hurts a parser.
const MaxDepth = 512

// ReadJSON decodes a request body of at most limit bytes into v. An empty body leaves v as it is.
// Malformed, too deep or wrongly typed JSON is Invalid, a body over the limit TooLarge.
func ReadJSON(w http.ResponseWriter, r *http.Request, limit int64, v any) error {
	body, err := ReadBody(w, r, limit)
	if err != nil || len(bytes.TrimSpace(body)) == 0 {
		return err
	}
	return DecodeJSON(body, v)
}

// ReadBody reads a request body of at most limit bytes; a larger one is TooLarge.
func ReadBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, fault.New(fault.TooLarge, "the body has %d bytes, at most %d are taken", r.ContentLength, limit)
	}
	var b bytes.Buffer
	if r.ContentLength > 0 {
		b.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	_, err := b.ReadFrom(http.MaxBytesReader(w, r.Body, limit))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, fault.New(fault.TooLarge, "the body has more than the %d bytes that are taken", limit)
	case err != nil:
		return nil, fault.Wrap(fault.Invalid, err, "the body ended early")
	}
	return b.Bytes(), nil
}

// DecodeJSON decodes one JSON value into v with errors a client can act on.
func DecodeJSON(body []byte, v any) error {
	if !utf8.Valid(body) { // encoding/json would put U+FFFD into names
		return fault.New(fault.Invalid, "the body is not UTF-8")
	}
	if tooDeep(body) {
		return fault.New(fault.Invalid, "the JSON nests deeper than %d levels", MaxDepth)
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	err := dec.Decode(v)
	if err == nil {
		if _, err := dec.Token(); err != io.EOF {
			return fault.New(fault.Invalid, "the body has more than one JSON value")
		}
		return nil
	}
	var typ *json.UnmarshalTypeError
	var syn *json.SyntaxError
	switch {
	case errors.As(err, &typ) && typ.Field == "":
		return fault.Wrap(fault.Invalid, err, "the body should not be a JSON %s", typ.Value)
	case errors.As(err, &typ):
		return fault.Wrap(fault.Invalid, err, "field %q should not be a JSON %s", typ.Field, typ.Value)
	case errors.As(err, &syn):
		return fault.Wrap(fault.Invalid, err, "malformed JSON at byte %d", syn.Offset)
	}
	return fault.Wrap(fault.Invalid, err, "malformed JSON")
}

// tooDeep looks at brackets outside strings only: cheap, and exact for well-formed JSON.
func tooDeep(b []byte) bool {
	depth, inString := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > MaxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}
