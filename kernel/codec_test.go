package kernel

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
)

func parts(header, parent, metadata, content string) [4]json.RawMessage {
	return [4]json.RawMessage{json.RawMessage(header), json.RawMessage(parent), json.RawMessage(metadata), json.RawMessage(content)}
}

const plainHeader = `{"msg_id": "m1", "msg_type": "stream", "session": "s1", "x": "kept"}`

func TestCodecReturnsTheBytesItWasGiven(t *testing.T) {
	c := NewCodec([]byte("secret"))
	m, err := NewMessage(IOPub, parts(plainHeader, "{}", `{"n": 1.0}`, `{"big": 123456789012345678901}`), [][]byte{{1, 2}, {}})
	require.NoError(t, err)
	frames := append([][]byte{[]byte("topic")}, c.Encode(m)...)
	back, err := c.Decode(IOPub, frames)
	require.NoError(t, err)
	require.Equal(t, m, back)
}

func TestCodecRefusesWhatItCannotTrust_S9(t *testing.T) {
	c := NewCodec([]byte("secret"))
	good := func() [][]byte {
		m, err := NewMessage(Shell, parts(plainHeader, "{}", "{}", "{}"), nil)
		require.NoError(t, err)
		return c.Encode(m)
	}
	many := good()
	for range maxBuffers + 1 {
		many = append(many, []byte{})
	}
	late := append(make([][]byte, maxPrefixes+1), good()...)
	for name, test := range map[string]struct {
		frames [][]byte
		kind   fault.Kind
	}{
		"no frames":         {nil, fault.Invalid},
		"no delimiter":      {good()[1:], fault.Invalid},
		"late delimiter":    {late, fault.Invalid},
		"too few parts":     {good()[:5], fault.Invalid},
		"wrong signature":   {change(good(), 1, func(b []byte) { b[0] ^= 1 }), fault.Forbidden},
		"no signature":      {replace(good(), 1, ""), fault.Forbidden},
		"short signature":   {replace(good(), 1, "abcd"), fault.Forbidden},
		"changed content":   {replace(good(), 5, `{"code":"evil"}`), fault.Forbidden},
		"too many buffers":  {many, fault.TooLarge},
		"unsigned by zero":  {Codec{}.Encode(mustMessage(t)), fault.Forbidden},
		"signed by another": {NewCodec([]byte("other")).Encode(mustMessage(t)), fault.Forbidden},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.Decode(Shell, test.frames)
			require.Error(t, err)
			require.Equal(t, test.kind, fault.KindOf(err), err)
		})
	}
}

func mustMessage(t *testing.T) *Message {
	m, err := NewMessage(Shell, parts(plainHeader, "{}", "{}", "{}"), nil)
	require.NoError(t, err)
	return m
}

func change(frames [][]byte, i int, f func([]byte)) [][]byte {
	frames[i] = bytes.Clone(frames[i])
	f(frames[i])
	return frames
}

func replace(frames [][]byte, i int, with string) [][]byte {
	frames[i] = []byte(with)
	return frames
}

func TestMessageHeadersAreReadInWhateverForm(t *testing.T) {
	for in, want := range map[string]Header{
		plainHeader: {"m1", "stream", "s1"},
		`{}`:        {}, `null`: {}, " { } ": {},
		`{"msg_type":"status","session":"","msg_id":"\u0061"}`:                            {"a", "status", ""},
		`{"msg_id":"é","msg_type":"x","session":"s","date":null,"n":[1,{"msg_id":"no"}]}`: {"é", "x", "s"},
		"{\n\t\"msg_id\" : \"m\" ,\r\n \"msg_type\":\"t\"}":                               {"m", "t", ""},
	} {
		h, err := parseHeader(json.RawMessage(in))
		require.NoError(t, err, in)
		require.Equal(t, want, h, in)
	}
	for _, in := range []string{``, `{`, `[]`, `"x"`, `{"msg_id":1}`, `{"msg_id":"a"`, `{"msg_id":"a"}}`, `{"msg_id":"a",}`} {
		_, err := parseHeader(json.RawMessage(in))
		require.Error(t, err, in)
	}
	_, err := NewMessage(Shell, parts(`{"msg_id":"1"}`, "{}", "{}", "{}"), nil)
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}

func TestReplaysRemembersTheRecentPast_S9(t *testing.T) {
	var r replays
	sig := func(i int) []byte { return fmt.Appendf(nil, "%016x%048x", i, 0) }
	for i := range 3 * replayWindow {
		require.False(t, r.repeats(sig(i)))
		require.True(t, r.repeats(sig(i)))
		require.True(t, r.repeats(sig(max(0, i-replayWindow+1))))
	}
	require.Equal(t, replayWindow, len(r.seen))
	require.False(t, r.repeats(nil), "unsigned messages cannot be told apart")
}

func FuzzCodecDecode(f *testing.F) {
	c := Codec{}
	m, _ := NewMessage(IOPub, parts(plainHeader, "null", "{}", `{"a":[1,2]}`), [][]byte{{0}})
	f.Add(bytes.Join(c.Encode(m), []byte("|")), true)
	f.Add([]byte(strings.Repeat("|", 40)), false)
	f.Fuzz(func(t *testing.T, raw []byte, signed bool) {
		frames := bytes.Split(raw, []byte("|"))
		codec := c
		if signed {
			codec = NewCodec([]byte("k"))
		}
		m, err := codec.Decode(Shell, frames)
		if err != nil {
			return
		}
		back, err := codec.Decode(Shell, codec.Encode(m))
		require.NoError(t, err)
		require.Equal(t, m, back)
	})
}

// FuzzHeader holds the quick scanner to encoding/json.
func FuzzHeader(f *testing.F) {
	f.Add([]byte(plainHeader))
	f.Add([]byte(`{"msg_id":"a","msg_id":"b","MSG_ID":"c"}`))
	f.Add([]byte(`{"session":"\ud800","msg_type":""}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		quick, ok := scanHeader(raw)
		if !ok {
			return
		}
		var slow struct {
			MsgID   string `json:"msg_id"`
			MsgType string `json:"msg_type"`
			Session string `json:"session"`
		}
		require.NoError(t, json.Unmarshal(raw, &slow))
		if !strings.Contains(strings.ToLower(string(raw)), "msg_id") || caseFolded(raw) {
			return
		}
		require.Equal(t, Header{slow.MsgID, slow.MsgType, slow.Session}, quick)
	})
}

// caseFolded tells keys that only encoding/json takes for ours: it ignores case, the protocol does not.
func caseFolded(raw []byte) bool {
	var m map[string]json.RawMessage
	_ = json.Unmarshal(raw, &m)
	for k := range m {
		for _, ours := range []string{"msg_id", "msg_type", "session"} {
			if k != ours && strings.EqualFold(k, ours) {
				return true
			}
		}
	}
	return false
}

func BenchmarkCodecDecode(b *testing.B) {
	c := NewCodec([]byte("0123456789abcdef0123456789abcdef"))
	frames := c.Encode(streamed(1, 100))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Decode(IOPub, frames); err != nil {
			b.Fatal(err)
		}
	}
}
