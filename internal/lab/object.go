package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
)

// object is a JSON object whose members keep their order and whose values keep their bytes: a schema's order is the
// order of the settings editor, and 1.0 stays 1.0.
type object []member

type member struct {
	key   string
	value json.RawMessage
}

var errNoObject = errors.New("not a JSON object")

func parseObject(raw []byte) (object, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.Join(errNoObject, err)
	}
	var o object
	at := map[string]int{} // a client may send as many members as fit into its body
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, err
		}
		name := key.(string) // in an object every other token is one
		if i, again := at[name]; again {
			o[i].value = value
			continue
		}
		at[name] = len(o)
		o = append(o, member{name, value})
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	if dec.More() {
		return nil, errors.New("something follows the JSON object")
	}
	return o, nil
}

// isObject looks at the first byte only.
func isObject(raw json.RawMessage) bool {
	b := bytes.TrimLeft(raw, " \t\r\n")
	return len(b) > 0 && b[0] == '{'
}

func (o object) index(key string) int {
	return slices.IndexFunc(o, func(m member) bool { return m.key == key })
}

// get is nil when there is none.
func (o object) get(key string) json.RawMessage {
	if i := o.index(key); i >= 0 {
		return o[i].value
	}
	return nil
}

// text is the member if it is a string, else "".
func (o object) text(key string) string {
	var s string
	_ = json.Unmarshal(o.get(key), &s) // anything else is no text
	return s
}

// object is the member if it is an object, else an empty one.
func (o object) object(key string) object {
	sub, _ := parseObject(o.get(key))
	return sub
}

// set replaces a member, or adds one at the end.
func (o *object) set(key string, value json.RawMessage) {
	if i := o.index(key); i >= 0 {
		(*o)[i].value = value
		return
	}
	*o = append(*o, member{key, value})
}

func (o *object) delete(key string) {
	if i := o.index(key); i >= 0 {
		*o = slices.Delete(*o, i, i+1)
	}
}

// MarshalJSON writes the members in their order.
func (o object) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, m := range o {
		if i > 0 {
			b = append(b, ',')
		}
		key, err := json.Marshal(m.key)
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, key...), ':'), m.value...)
	}
	return append(b, '}'), nil
}

// raw is o as JSON; o's values are JSON by construction.
func (o object) raw() json.RawMessage {
	b, _ := o.MarshalJSON() // strings can always be marshalled
	return b
}

// merge puts changes into o the way Jupyter merges configuration: objects member by member, null deletes, and an
// object that has become empty is left out.
func (o *object) merge(changes object) {
	for _, m := range changes {
		switch {
		case string(bytes.TrimSpace(m.value)) == "null":
			o.delete(m.key)
		case isObject(m.value):
			sub := o.object(m.key)
			change, _ := parseObject(m.value)
			sub.merge(change)
			if len(sub) == 0 {
				o.delete(m.key)
				continue
			}
			o.set(m.key, sub.raw())
		default:
			o.set(m.key, m.value)
		}
	}
}

// mustJSON is v as JSON, for values of ours that always can be.
func mustJSON(v any) json.RawMessage {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return raw
}
