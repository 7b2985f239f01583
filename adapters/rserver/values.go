package rserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/nbserv/nbserv/internal/fault"
)

// The types of parameters. The first seven are the API's; the others say what JSON leaves open.
const (
	typeNumeric   = "numeric"
	typeInteger   = "integer"
	typeLogical   = "logical"
	typeCharacter = "character"
	typeVector    = "vector"
	typeMatrix    = "matrix"
	typeDataFrame = "data.frame"
	typeFactor    = "factor"
	typeDate      = "Date"
	typePOSIXct   = "POSIXct"
	typeList      = "list"
)

// elemMixed is the element type of values that have no one type.
const elemMixed = "mixed"

var types = []string{
	typeNumeric, typeInteger, typeLogical, typeCharacter, typeVector, typeMatrix, typeDataFrame,
	typeFactor, typeDate, typePOSIXct, typeList,
}

// parseType reads the type of a parameter, in any case; a data frame's with and without its dot.
func parseType(text string) (string, bool) {
	if strings.EqualFold(text, "dataframe") {
		return typeDataFrame, true
	}
	for _, t := range types {
		if strings.EqualFold(t, text) {
			return t, true
		}
	}
	return "", false
}

// special are strings that stand for numbers which JSON does not have.
var special = map[string]bool{"NaN": true, "Inf": true, "-Inf": true, "NA": true}

// shape is what a JSON value is, as far as types are concerned.
type shape struct {
	kind byte // 'n'umber, 's'tring, 'b'ool, '0' null, '[', '{'
	// number is its value, of 'n'; string of 's'.
	number float64
	string string
	items  []shape  // of '['
	keys   []string // of '{', as the items
}

var errShape = errors.New("not one JSON value")

// shapeOf reads one JSON value. Its depth was bounded when the body was read.
func shapeOf(raw json.RawMessage) (shape, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	s, err := readShape(dec)
	if err == nil {
		if _, end := dec.Token(); end != io.EOF {
			err = errShape
		}
	}
	return s, err
}

func readShape(dec *json.Decoder) (s shape, err error) {
	token, err := dec.Token()
	if err != nil {
		return s, err
	}
	switch v := token.(type) {
	case nil:
		s.kind = '0'
	case bool:
		s.kind = 'b'
	case string:
		s.kind, s.string = 's', v
	case json.Number:
		s.kind = 'n'
		s.number, _ = strconv.ParseFloat(v.String(), 64) // out of range is ±Inf
	case json.Delim:
		s.kind = byte(v)
		for dec.More() {
			if v == '{' {
				key, err := dec.Token()
				if err != nil {
					return s, err
				}
				s.keys = append(s.keys, key.(string))
			}
			item, err := readShape(dec)
			if err != nil {
				return s, err
			}
			s.items = append(s.items, item)
		}
		_, err = dec.Token()
	}
	return s, err
}

// elem is the one type of the elements of an array; nulls have any. ok is false when it has arrays or objects in it.
func elem(items []shape) (t string, ok bool) {
	numbers, strings, specials, bools := 0, 0, 0, 0
	for _, i := range items {
		switch i.kind {
		case 'n':
			numbers++
		case 's':
			if strings++; special[i.string] {
				specials++
			}
		case 'b':
			bools++
		case '0':
		default:
			return "", false
		}
	}
	switch {
	case numbers > 0 && bools == 0 && strings == specials:
		return typeNumeric, true
	case numbers == 0 && bools == 0 && strings > 0:
		return typeCharacter, true
	case numbers == 0 && strings == 0:
		return typeLogical, true
	}
	return elemMixed, true
}

// fits tells whether one element can be a scalar of type t.
func (s shape) fits(t string) bool {
	if s.kind == '0' {
		return true
	}
	switch t {
	case typeNumeric:
		return s.kind == 'n' || s.kind == 's' && special[s.string]
	case typeInteger: // R's are of 32 bits
		return s.kind == 'n' && s.number == math.Trunc(s.number) && math.Abs(s.number) <= math.MaxInt32
	case typeLogical:
		return s.kind == 'b'
	}
	return s.kind == 's'
}

// infer is the type of a value for which none is given: what the value looks like.
func (s shape) infer() string {
	switch s.kind {
	case 'n':
		return typeNumeric
	case 's':
		return typeCharacter
	case 'b':
		return typeLogical
	case '[':
		if t, ok := elem(s.items); ok && t != elemMixed {
			return typeVector
		}
		if s.isMatrix() {
			return typeMatrix
		}
	case '{':
		if s.isFrame() {
			return typeDataFrame
		}
	}
	return typeList
}

func (s shape) isMatrix() bool {
	if s.kind != '[' || len(s.items) == 0 {
		return false
	}
	var all []shape
	for _, row := range s.items {
		if row.kind != '[' || len(row.items) != len(s.items[0].items) {
			return false
		}
		all = append(all, row.items...)
	}
	t, ok := elem(all)
	return ok && t != elemMixed
}

func (s shape) isFrame() bool {
	if s.kind != '{' || len(s.items) == 0 {
		return false
	}
	for _, column := range s.items {
		if column.kind != '[' || len(column.items) != len(s.items[0].items) {
			return false
		}
		if t, ok := elem(column.items); !ok || t == elemMixed {
			return false
		}
	}
	return !duplicates(s.keys)
}

func duplicates(names []string) bool {
	sorted := slices.Sorted(slices.Values(names))
	return len(slices.Compact(sorted)) != len(names)
}

// checkValue makes of an input parameter what the helper takes. t is "" where none is declared. A value that does not
// fit its type is Invalid, and named.
func checkValue(name, t string, raw json.RawMessage, r *runtime) (given, error) {
	g := given{Name: name, Type: t, Value: raw}
	bad := func(format string, args ...any) (given, error) {
		return g, fault.New(fault.Invalid, "input parameter %q "+format, append([]any{name}, args...)...)
	}
	if len(raw) == 0 {
		raw = json.RawMessage("null")
		g.Value = raw
	}
	if !r.nul && hasNUL(raw) {
		return bad("has a NUL character, which strings in %s cannot have", r.name)
	}
	s, err := shapeOf(raw)
	if err != nil {
		return bad("is not one JSON value")
	}
	undeclared := t == ""
	if undeclared {
		if g.Type = s.infer(); r == runtimePython || s.kind == '0' { // lists and dicts are what they are there
			g.Type = typeList
		}
	}
	switch g.Type {
	case typeNumeric, typeInteger, typeLogical, typeCharacter, typeFactor, typeDate, typePOSIXct:
		items := s.items
		if s.kind != '[' {
			items = []shape{s}
		}
		for _, i := range items {
			if !i.fits(g.Type) || g.Type == typeDate && !isDate(i) || g.Type == typePOSIXct && !isTime(i) {
				return bad("should be of type %s, or an array of it", g.Type)
			}
		}
		return g, nil
	case typeVector:
		return checkVector(g, s, bad)
	case typeMatrix:
		return checkMatrix(g, s, bad)
	case typeDataFrame:
		return checkFrame(g, s, bad)
	}
	g.Value, g.JSON = nil, string(raw)
	return g, nil
}

type complaint func(format string, args ...any) (given, error)

func checkVector(g given, s shape, bad complaint) (given, error) {
	if s.kind == '0' {
		return g, nil
	}
	if s.kind != '[' { // a vector of one element
		g.Value = slices.Concat([]byte("["), g.Value, []byte("]"))
		s = shape{kind: '[', items: []shape{s}}
	}
	t, ok := elem(s.items)
	if !ok {
		return bad("should be an array of numbers, strings or booleans")
	}
	if g.Elem = t; t == elemMixed {
		g.Type, g.JSON, g.Value, g.Elem = typeList, string(g.Value), nil, ""
	}
	return g, nil
}

func checkMatrix(g given, s shape, bad complaint) (given, error) {
	if s.kind == '0' {
		return g, nil
	}
	if s.kind == '[' && len(s.items) == 0 {
		g.Elem = typeLogical
		return g, nil
	}
	if !s.isMatrix() {
		return bad("should be an array of rows, arrays of the same length and of one type")
	}
	var all []shape
	for _, row := range s.items {
		all = append(all, row.items...)
	}
	g.Elem, _ = elem(all)
	return g, nil
}

func checkFrame(g given, s shape, bad complaint) (given, error) {
	if s.kind == '0' {
		return g, nil
	}
	if s.kind != '{' || len(s.items) > 0 && !s.isFrame() {
		return bad(`should be an object of columns, {"name": [values]}, arrays of the same length, each of one type`)
	}
	g.Elems = make([]string, len(s.items))
	for i, column := range s.items {
		g.Elems[i], _ = elem(column.items)
	}
	return g, nil
}

// hasNUL tells whether a string in raw has a NUL, which JSON can only write as an escape.
func hasNUL(raw json.RawMessage) bool {
	for rest := []byte(raw); ; {
		i := bytes.Index(rest, []byte(`\u0000`))
		if i < 0 {
			return false
		}
		slashes := 0
		for i-slashes > 0 && rest[i-slashes-1] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return true
		}
		rest = rest[i+1:]
	}
}

// checkName says whether a parameter or object can have this name: it becomes a variable's.
func checkName(field, name string) error {
	if name == "" || len(name) > maxObjectName || !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
		return fault.New(fault.Invalid, "%s should be a name of 1 to %d bytes", field, maxObjectName)
	}
	return nil
}

// maxObjectName is R's own limit for the name of a variable, in bytes.
const maxObjectName = 10_000
