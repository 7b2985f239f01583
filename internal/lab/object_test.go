package lab

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestObject(t *testing.T) {
	o, err := parseObject([]byte(` {"z": 1.0, "a": {"b": [1, 2]}, "z": 1e5, "<": "é"} `))
	require.NoError(t, err)
	require.Equal(t, `{"z":1e5,"a":{"b": [1, 2]},"\u003c":"é"}`, string(o.raw()))
	require.Equal(t, "é", o.text("<"))
	require.Empty(t, o.text("z"))
	require.Equal(t, `{"b":[1, 2]}`, string(o.object("a").raw()))
	require.Empty(t, o.object("z"))
	require.Nil(t, o.get("none"))
	for _, bad := range []string{"", "[]", "1", "{", `{"a"}`, `{"a": }`, `{} {}`, `{"a": 1} x`, "null"} {
		_, err := parseObject([]byte(bad))
		require.Error(t, err, bad)
	}
}

func TestObjectMerge(t *testing.T) {
	for _, c := range [][3]string{
		{`{}`, `{"a": 1}`, `{"a": 1}`},
		{`{"a": 1, "b": 2}`, `{"a": null}`, `{"b": 2}`},
		{`{"a": {"b": 1, "c": 2}}`, `{"a": {"c": 3, "d": 4}}`, `{"a": {"b": 1, "c": 3, "d": 4}}`},
		{`{"a": {"b": 1}, "x": 0}`, `{"a": {"b": null}}`, `{"x": 0}`},
		{`{"a": 1}`, `{"a": {"b": 1}}`, `{"a": {"b": 1}}`},
		{`{"a": {"b": 1}}`, `{"a": [1]}`, `{"a": [1]}`},
		{`{}`, `{"a": {"b": {}}}`, `{}`},
	} {
		o, err := parseObject([]byte(c[0]))
		require.NoError(t, err)
		change, err := parseObject([]byte(c[1]))
		require.NoError(t, err)
		o.merge(change)
		require.JSONEq(t, c[2], string(o.raw()))
	}
}

func FuzzParseObject(f *testing.F) {
	f.Add([]byte(`{"a": 1, "b": {"c": [1.0, "x"]}, "a": null}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		o, err := parseObject(raw)
		var want map[string]json.RawMessage
		if json.Unmarshal(raw, &want) != nil || want == nil {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		again, err := parseObject(o.raw())
		require.NoError(t, err)
		require.Len(t, again, len(want))
		require.True(t, json.Valid(o.raw()))
	})
}
