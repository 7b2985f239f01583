package ws

import (
	"bytes"
	"encoding/json"
)

// eachField calls f with the name and the raw value of each field of the JSON object in text, in order; f
// may keep the value, which aliases text. It allocates only for names with escapes. text must be valid JSON:
// then false says that it is not an object.
func eachField(text []byte, f func(key, value []byte)) bool {
	i := skipSpace(text, 0)
	if i == len(text) || text[i] != '{' {
		return false
	}
	for i = skipSpace(text, i+1); text[i] != '}'; i = skipSpace(text, i) {
		if text[i] == ',' {
			i = skipSpace(text, i+1)
		}
		end := skipValue(text, i)
		key := fieldName(text[i:end])
		i = skipSpace(text, end) + 1 // the colon
		i = skipSpace(text, i)
		end = skipValue(text, i)
		f(key, text[i:end:end])
		i = end
	}
	return true
}

func fieldName(quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	var s string
	_ = json.Unmarshal(quoted, &s) // valid, as all of the text is
	return []byte(s)
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// skipValue gives the end of the valid JSON value that starts at b[i].
func skipValue(b []byte, i int) int {
	depth := 0
	for {
		switch c := b[i]; c {
		case '"':
			i = skipString(b, i)
		case '{', '[':
			depth++
			i++
		case '}', ']':
			depth--
			i++
		case ',', ':', ' ', '\t', '\r', '\n':
			i++
			continue
		default: // a number, true, false, null
			for i < len(b) && bytes.IndexByte(scalarEnd, b[i]) < 0 {
				i++
			}
		}
		if depth == 0 {
			return i
		}
	}
}

var scalarEnd = []byte(",]} \t\r\n")

// skipString gives the end of the string that starts at b[i].
func skipString(b []byte, i int) int {
	for i++; b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i + 1
}
