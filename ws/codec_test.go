package ws

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
)

var codecs = map[string]codec{"v1": v1{}, "default": newLegacy()}

// encoded is the frame that c makes of m: its opcode and payload.
func encoded(t testing.TB, c codec, m *kernel.Message) (opcode int, payload []byte) {
	t.Helper()
	w := frameWriters.Get().(*frameWriter)
	defer frameWriters.Put(w)
	c.encode(w, m)
	require.Equal(t, w.size, len(bytes.Join(w.pieces(), nil)))
	frame := bytes.Join(w.pieces(), nil)
	w.reset()
	require.NotZero(t, frame[0]&finBit)
	require.Zero(t, frame[1]&0x80, "a server's frame has no mask")
	n, head := uint64(frame[1]), 2
	switch n {
	case len126:
		n, head = uint64(binary.BigEndian.Uint16(frame[2:])), 4
		require.GreaterOrEqual(t, n, uint64(len126), "RFC 6455: the shortest form of a length")
	case len127:
		n, head = binary.BigEndian.Uint64(frame[2:]), 10
		require.Greater(t, n, uint64(math.MaxUint16), "RFC 6455: the shortest form of a length")
	}
	require.Equal(t, n, uint64(len(frame)-head))
	return int(frame[0] & 0x0f), frame[head:]
}

func decoded(t testing.TB, c codec, opcode int, payload []byte) *kernel.Message {
	t.Helper()
	r, err := c.decode(opcode, payload)
	require.NoError(t, err)
	ch, ok := kernel.ParseChannel(r.channel)
	require.True(t, ok, "channel %q", r.channel)
	m, err := kernel.NewMessage(ch, r.parts, r.buffers)
	require.NoError(t, err)
	return m
}

// What goes through either protocol comes out as the same bytes: unknown fields, the spelling of numbers,
// escapes, buffers of every size.
func TestRoundTripKeepsBytes(t *testing.T) {
	content := `{"text":"é \u00e9 \"q\" \\ \ud83d\ude00","n":1.0, "m" : 1e5 , "nested":{"a":[{"}":"]"}]}}`
	for name, c := range codecs {
		for _, ch := range []kernel.Channel{kernel.Shell, kernel.Control, kernel.Stdin, kernel.IOPub} {
			for _, buffers := range [][][]byte{
				nil,
				{[]byte("one")},
				{{}, []byte("\x00\xff"), {}, bytes.Repeat([]byte{7}, inlineMax+1), {}},
				{bytes.Repeat([]byte{1}, writeBuffer), bytes.Repeat([]byte{2}, writeBuffer-1)},
			} {
				want := message(t, ch, "id", content, buffers...)
				op, payload := encoded(t, c, want)
				wantOp := opBinary
				if name == "default" && buffers == nil {
					wantOp = opText
				}
				require.Equal(t, wantOp, op)
				same(t, want, decoded(t, c, op, payload))
			}
		}
	}
}

func TestFrameLengths(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536, 200_000} {
		m := message(t, kernel.IOPub, "id", `{"t":"`+strings.Repeat("x", n)+`"}`)
		for _, c := range codecs {
			op, payload := encoded(t, c, m)
			same(t, m, decoded(t, c, op, payload))
		}
	}
}

// The default protocol's text has the reference server's fields.
func TestDefaultTextFields(t *testing.T) {
	m := message(t, kernel.IOPub, "id", `{"a":1.0}`)
	_, payload := encoded(t, newLegacy(), m)
	require.Equal(t, `{"header":`+string(m.Parts[0])+`,"msg_id":"id","msg_type":"stream","parent_header":`+
		string(m.Parts[1])+`,"metadata":`+string(m.Parts[2])+`,"content":{"a":1.0},"buffers":[],"channel":"iopub"}`,
		string(payload))

	m = message(t, kernel.Shell, "id", `{}`, []byte("b"))
	_, payload = encoded(t, newLegacy(), m)
	require.Equal(t, []byte{0, 0, 0, 2, 0, 0, 0, 12}, payload[:8])
	at := binary.BigEndian.Uint32(payload[8:])
	require.True(t, json.Valid(payload[12:at]))
	require.NotContains(t, string(payload[12:at]), "buffers")
	require.Equal(t, "b", string(payload[at:]))
}

// The layout of the v1 documentation, byte for byte.
func TestV1Layout(t *testing.T) {
	m, err := kernel.NewMessage(kernel.Stdin, [4]json.RawMessage{
		[]byte(`{"msg_type":"t"}`), []byte(`{}`), []byte(`{}`), []byte(`{"v":1}`),
	}, [][]byte{[]byte("BUF")})
	require.NoError(t, err)
	var want []byte
	for _, n := range []uint64{7, 64, 69, 85, 87, 89, 96, 99} {
		want = binary.LittleEndian.AppendUint64(want, n)
	}
	want = append(want, `stdin{"msg_type":"t"}{}{}{"v":1}BUF`...)
	op, payload := encoded(t, v1{}, m)
	require.Equal(t, opBinary, op)
	require.Equal(t, want, payload)
}

// A kernel's invalid bytes must not make a text frame that browsers answer by dropping the connection.
func TestTextFramesAreValidUTF8(t *testing.T) {
	m := message(t, kernel.IOPub, "id", "{\"text\":\"\xff\xfe\"}")
	_, payload := encoded(t, newLegacy(), m)
	require.Contains(t, string(payload), `"content":{"text":"`+"\uFFFD")
	require.True(t, json.Valid(payload))
	_, payload = encoded(t, v1{}, m)
	require.Contains(t, string(payload), "\xff\xfe", "binary frames carry what the kernel sent")
}

func TestIDsAreQuoted(t *testing.T) {
	for _, id := range []string{"", "plain", `q"\`, "é\u2028", "tab\t", "\x7f"} {
		var got string
		require.NoError(t, json.Unmarshal([]byte(`"`+escaped(id)+`"`), &got))
		require.Equal(t, id, got)
	}
}

func TestDefaultCannotCarryMoreThan32BitOffsets(t *testing.T) {
	m := message(t, kernel.IOPub, "id", `{}`, make([]byte, 5000))
	require.True(t, newLegacy().fits(m))
	require.False(t, legacy{maxFrame: 5000}.fits(m))
	require.True(t, v1{}.fits(m))
}

// What clients leave out or spell differently.
func TestDefaultDecodeIsTolerant(t *testing.T) {
	header := `{"msg_id":"i","msg_type":"execute_request"}`
	for name, tt := range map[string]struct {
		text    string
		channel string
		assumed bool
		meta    string
	}{
		"no channel":           {`{"header":` + header + `,"content":{}}`, "shell", true, "{}"},
		"null channel":         {`{"header":` + header + `,"content":{},"channel":null}`, "shell", true, "{}"},
		"null metadata":        {`{"header":` + header + `,"content":{},"metadata":null}`, "shell", true, "null"},
		"empty JSON buffers":   {`{"header":` + header + `,"content":{},"buffers":[ ],"channel":"control"}`, "control", false, "{}"},
		"null JSON buffers":    {`{"header":` + header + `,"content":{},"buffers":null,"channel":"stdin"}`, "stdin", false, "{}"},
		"escaped field name":   {`{"header":` + header + `,"conten\u0074":{},"channel":"shell"}`, "shell", false, "{}"},
		"escaped channel":      {`{"header":` + header + `,"content":{},"channel":"\u0073hell"}`, "shell", false, "{}"},
		"channel is a number":  {`{"header":` + header + `,"content":{},"channel":7}`, "", false, "{}"},
		"last of two counts":   {`{"channel":"x","header":` + header + `,"content":{},"channel":"stdin"}`, "stdin", false, "{}"},
		"space around all":     {" { \"header\" : " + header + " ,\n\"content\" :\t{ } , \"channel\" : \"shell\" } ", "shell", false, "{}"},
		"braces in strings":    {`{"x":"}{\"","header":` + header + `,"content":{}}`, "shell", true, "{}"},
		"unknown scalar field": {`{"x":-1.5e9,"y":true,"header":` + header + `,"content":{}}`, "shell", true, "{}"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := newLegacy().decode(opText, []byte(tt.text))
			require.NoError(t, err)
			require.Equal(t, tt.channel, r.channel)
			require.Equal(t, tt.assumed, r.assumed)
			require.Equal(t, header, string(r.parts[kernel.PartHeader]))
			require.Equal(t, tt.meta, string(r.parts[kernel.PartMetadata]))
			require.Equal(t, "{}", string(r.parts[kernel.PartParent]))
		})
	}
}

// JupyterLab's serializer writes no bytes at all for metadata that is undefined.
func TestV1EmptyPartsAreEmptyObjects(t *testing.T) {
	payload := v1Frame([]uint64{6, 56, 61, 61 + 16, 77, 77, 79}, `shell{"msg_type":"t"}{}`)
	r, err := v1{}.decode(opBinary, payload)
	require.NoError(t, err)
	require.Equal(t, "{}", string(r.parts[kernel.PartParent]))
	require.Equal(t, "{}", string(r.parts[kernel.PartMetadata]))
	require.Equal(t, "{}", string(r.parts[kernel.PartContent]))
}

func v1Frame(words []uint64, rest string) []byte {
	var b []byte
	for _, w := range words {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return append(b, rest...)
}

func legacyFrame(words []uint32, rest string) []byte {
	var b []byte
	for _, w := range words {
		b = binary.BigEndian.AppendUint32(b, w)
	}
	return append(b, rest...)
}

type hostile struct {
	codec  codec
	opcode int
	data   []byte
	code   int
}

func hostileFrames() map[string]hostile {
	body := `shell{"msg_type":"t"}{}{}{}` // 5 16 2 2 2
	msg := `{"header":{"msg_type":"t"},"content":{}}`
	deep := strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)
	def, v := newLegacy(), v1{}
	return map[string]hostile{
		"v1 empty":                 {v, opBinary, nil, closeInvalidData},
		"v1 text frame":            {v, opText, []byte(msg), closeUnsupported},
		"v1 short count":           {v, opBinary, []byte{6, 0, 0}, closeInvalidData},
		"v1 count 2^64-1":          {v, opBinary, v1Frame([]uint64{math.MaxUint64}, body), closeInvalidData},
		"v1 count 2^61":            {v, opBinary, v1Frame([]uint64{1 << 61, 0, 0}, body), closeInvalidData},
		"v1 count over the frame":  {v, opBinary, v1Frame([]uint64{8000, 64, 64}, body), closeInvalidData},
		"v1 count 0":               {v, opBinary, v1Frame([]uint64{0}, body), closeInvalidData},
		"v1 too few offsets":       {v, opBinary, v1Frame([]uint64{5, 48, 53, 69, 71, 73}, body), closeInvalidData},
		"v1 offset in the table":   {v, opBinary, v1Frame([]uint64{6, 8, 61, 77, 79, 81, 83}, body), closeInvalidData},
		"v1 decreasing offsets":    {v, opBinary, v1Frame([]uint64{6, 56, 61, 60, 79, 81, 83}, body), closeInvalidData},
		"v1 offset beyond":         {v, opBinary, v1Frame([]uint64{6, 56, 61, 77, 79, 81, 84}, body), closeInvalidData},
		"v1 offset 2^63":           {v, opBinary, v1Frame([]uint64{6, 56, 61, 77, 79, 81, 1 << 63}, body), closeInvalidData},
		"v1 offsets wrap":          {v, opBinary, v1Frame([]uint64{6, 56, math.MaxUint64, 0, 0, 0, 56}, body), closeInvalidData},
		"v1 header is no JSON":     {v, opBinary, v1Frame([]uint64{6, 56, 61, 77, 79, 81, 83}, `shell{"msg_type":"t",{}{}{}`), closeInvalidData},
		"v1 content is an array":   {v, opBinary, v1Frame([]uint64{6, 56, 61, 77, 79, 81, 83}, `shell{"msg_type":"t"}{}{}[]`), closeInvalidData},
		"v1 content is null":       {v, opBinary, v1Frame([]uint64{6, 56, 61, 77, 79, 81, 85}, `shell{"msg_type":"t"}{}{}null`), closeInvalidData},
		"v1 no header":             {v, opBinary, v1Frame([]uint64{6, 56, 61, 61, 63, 65, 67}, `shell{}{}{}`), closeInvalidData},
		"v1 invalid UTF-8":         {v, opBinary, v1Frame([]uint64{6, 56, 61, 77, 79, 81, 90}, "shell{\"msg_type\":\"t\"}{}{}{\"a\":\"\xff\"}"), closeInvalidData},
		"v1 NaN":                   {v, opBinary, v1Frame([]uint64{6, 56, 61, 77, 79, 81, 90}, `shell{"msg_type":"t"}{}{}{"a":NaN}`), closeInvalidData},
		"v1 deep JSON":             {v, opBinary, v1Frame([]uint64{6, 56, 61, 77, 79, 81, 87 + 40_000}, `shell{"msg_type":"t"}{}{}{"a":`+deep+`}`), closeInvalidData},
		"default empty text":       {def, opText, nil, closeInvalidData},
		"default not JSON":         {def, opText, []byte(`{"header":`), closeInvalidData},
		"default trailing":         {def, opText, []byte(msg + "x"), closeInvalidData},
		"default array":            {def, opText, []byte(`[1,2]`), closeInvalidData},
		"default string":           {def, opText, []byte(`"x"`), closeInvalidData},
		"default NaN":              {def, opText, []byte(`{"header":{"msg_type":"t"},"content":{"a":NaN}}`), closeInvalidData},
		"default invalid UTF-8":    {def, opText, []byte("{\"header\":{\"msg_type\":\"t\"},\"content\":{\"a\":\"\xff\"}}"), closeInvalidData},
		"default no header":        {def, opText, []byte(`{"content":{}}`), closeInvalidData},
		"default header null":      {def, opText, []byte(`{"header":null,"content":{}}`), closeInvalidData},
		"default no content":       {def, opText, []byte(`{"header":{"msg_type":"t"}}`), closeInvalidData},
		"default metadata number":  {def, opText, []byte(`{"header":{"msg_type":"t"},"content":{},"metadata":1}`), closeInvalidData},
		"default JSON buffers":     {def, opText, []byte(`{"header":{"msg_type":"t"},"content":{},"buffers":["YQ=="]}`), closeInvalidData},
		"default deep JSON":        {def, opText, []byte(`{"header":{"msg_type":"t"},"content":{"a":` + deep + `}}`), closeInvalidData},
		"default binary empty":     {def, opBinary, nil, closeInvalidData},
		"default binary count 0":   {def, opBinary, legacyFrame([]uint32{0}, msg), closeInvalidData},
		"default binary 2^32-1":    {def, opBinary, legacyFrame([]uint32{math.MaxUint32, 8}, msg), closeInvalidData},
		"default binary over":      {def, opBinary, legacyFrame([]uint32{8000, 8}, msg), closeInvalidData},
		"default binary in table":  {def, opBinary, legacyFrame([]uint32{1, 4}, msg), closeInvalidData},
		"default binary falling":   {def, opBinary, legacyFrame([]uint32{2, 13, 12}, msg), closeInvalidData},
		"default binary beyond":    {def, opBinary, legacyFrame([]uint32{2, 12, math.MaxUint32}, msg), closeInvalidData},
		"default binary no offset": {def, opBinary, []byte{0, 0, 0, 1, 0}, closeInvalidData},
	}
}

// S9, P13: counts and offsets are checked before anything is allocated by them.
func TestHostileFramesAreRefused_S9(t *testing.T) {
	for name, h := range hostileFrames() {
		t.Run(name, func(t *testing.T) {
			_, err := h.codec.decode(h.opcode, h.data)
			var c *closeError
			require.True(t, errors.As(err, &c), "got %v", err)
			require.Equal(t, h.code, c.code)
			require.NotEmpty(t, c.reason)
			require.Contains(t, refusals, c.refuse)
		})
	}
}

func TestHostileCountsAllocateNothing_S9(t *testing.T) {
	for name, h := range map[string]hostile{
		"v1":      {v1{}, opBinary, v1Frame([]uint64{v1MinOffsets + maxBuffers}, "x"), 0},
		"default": {newLegacy(), opBinary, legacyFrame([]uint32{maxBuffers, 8}, "x"), 0},
	} {
		const runs = 100
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			_, err := h.codec.decode(h.opcode, h.data)
			require.Error(t, err)
		}
		runtime.ReadMemStats(&after)
		require.Less(t, (after.TotalAlloc-before.TotalAlloc)/runs, uint64(4096), name)
	}
}
