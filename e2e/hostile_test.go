package e2e

import (
	"bufio"
	wire "encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// tells are what an error must not show: where things are on the server's disk, what it is written in (S12).
func (s *server) tells() []string {
	return []string{s.root, s.state, "goroutine", "panic", "runtime error", ".go:", "Traceback", "json: ", "strconv", "invalid character",
		"cannot unmarshal", "no such file", "permission denied", "openat", "EOF", "*errors", "0x"}
}

// requireClear checks that an answer refuses, clearly and without telling on the server.
func requireClear(t *testing.T, s *server, what string, a answer) {
	t.Helper()
	require.GreaterOrEqual(t, a.StatusCode, 400, "%s: %s", what, a.body)
	require.Less(t, a.StatusCode, 500, "%s: %s", what, a.body)
	if a.Request.Method == http.MethodHead {
		return
	}
	var body struct {
		Message string                         `json:"message"`
		Reason  *string                        `json:"reason"`
		Error   struct{ Code, Message string } // the ImageStore's
	}
	require.NoError(t, json.Unmarshal(a.body, &body), "%s: %s", what, a.body)
	body.Message += body.Error.Message
	require.NotEmpty(t, body.Message, what)
	for _, tell := range s.tells() {
		require.NotContains(t, string(a.body), tell, what)
	}
}

// bodies that are no request to anything.
var badBodies = map[string]string{
	"not JSON": "hello", "half": `{"path": "x`, "array": `[1,2]`, "number": `7`, "text": `"x"`, "two": `{} {}`,
	"NaN": `{"path": NaN}`, "bad UTF-8": "{\"path\": \"\xff\xfe\", \"name\": \"\xc0\x80\"}", "deep": strings.Repeat(`{"a":`, 20_000) + "1" + strings.Repeat("}", 20_000),
	"wrong types": `{"path": 7, "name": [], "type": {}, "kernel": "x", "kernel_id": 1, "env": 3, "ext": {}, "copy_from": 9, "content": 5, "format": 1, "chunk": "one"}`,
	"huge number": `{"path": 1e999999, "chunk": 1e400, "name": 123456789012345678901234567890, "type": true}`,
}

// Bodies that make no sense are the sender's fault, on every route that reads one.
func TestBadBodiesAreTheSendersFault_P13_S12(t *testing.T) {
	s := startSynth(t)
	made := s.create("x.ipynb", "synth")
	require.Equal(t, 201, s.call("PUT", "api/contents/f.txt", text("kept"), nil).StatusCode)
	for _, to := range []string{
		"POST api/sessions", "PATCH api/sessions/" + made.ID, "POST api/kernels", "PUT api/contents/f.txt", "PUT api/contents/new.txt",
		"PATCH api/contents/f.txt", "POST api/contents/", "PUT api/config/notebook", "PATCH api/config/notebook", "PATCH api/me",
	} {
		method, path, _ := strings.Cut(to, " ")
		for name, body := range badBodies {
			a, err := s.ask(method, path, []byte(body), s.bearer())
			require.NoError(t, err)
			if a.StatusCode < 300 && takesAnything(to, name) {
				continue
			}
			requireClear(t, s.server, to+" "+name, a)
		}
	}
	for _, format := range []string{"text", "base64"} {
		a, err := s.ask("PUT", "api/contents/f.txt", []byte(`{"type": "file", "format": "`+format+"\", \"content\": \"\xff\"}"), s.bearer())
		require.NoError(t, err)
		requireClear(t, s.server, "content that is not "+format, a)
	}
	require.Equal(t, "works\n", s.dial(t, made.Kernel.ID).execute("print works").text)
	a, err := s.ask("GET", "files/f.txt", nil, s.bearer())
	require.NoError(t, err)
	require.Equal(t, "kept", string(a.body))
	require.NotContains(t, s.log.String(), "level=ERROR")
}

// takesAnything names the fields that a route does not read: what it ignores may be of any type. A section of the
// configuration is any object.
func takesAnything(route, body string) bool {
	if strings.Contains(route, "api/config") {
		return slices.Contains([]string{"wrong types", "huge number"}, body)
	}
	return route == "PATCH api/me" && body == "wrong types"
}

// frame makes a masked WebSocket frame with a header byte and a claimed length.
func frame(b0 byte, claimed uint64, payload []byte) []byte {
	f := []byte{b0, 0x80 | 127}
	f = wire.BigEndian.AppendUint64(f, claimed)
	f = append(f, 0, 0, 0, 0) // the mask
	return append(f, payload...)
}

func whole(b0 byte, payload []byte) []byte { return frame(b0, uint64(len(payload)), payload) }

func words(order wire.ByteOrder, size int, numbers ...uint64) []byte {
	var b []byte
	for _, n := range numbers {
		word := make([]byte, size)
		if size == 4 {
			order.PutUint32(word, uint32(n))
		} else {
			order.PutUint64(word, n)
		}
		b = append(b, word...)
	}
	return append(b, "shell{}{}{}{}"...)
}

const v1 = "v1.kernel.websocket.jupyter.org"

// Garbage on a WebSocket closes that one with a code that says why. Who works on the same kernel notices nothing.
func TestGarbageFramesCostTheirSenderOnly_P13_S9(t *testing.T) {
	s := startSynth(t)
	kernel := s.create("x.ipynb", "synth").Kernel.ID
	neighbour := s.dial(t, kernel)
	neighbour.execute("echo ready")
	big, le := wire.BigEndian, wire.LittleEndian
	cases := map[string]struct {
		protocol string
		bytes    []byte
		code     int
	}{
		"not masked":           {"", []byte{0x81, 2, '{', '}'}, 1002},
		"reserved bits":        {"", whole(0x81|0x70, []byte("{}")), 1002},
		"reserved opcode":      {"", whole(0x83, []byte("{}")), 1002},
		"control too long":     {"", whole(0x89, make([]byte, 126)), 1002},
		"control in parts":     {"", whole(0x09, []byte("x")), 1002},
		"continues nothing":    {"", whole(0x80, []byte("x")), 1002},
		"2^62 bytes":           {"", frame(0x82, 1<<62, []byte("x")), 1009},
		"2^63 bytes":           {"", frame(0x82, 1<<63, []byte("x")), 1009},
		"1 GB, one byte sent":  {"", frame(0x82, 1<<30, []byte("x")), 1009},
		"no UTF-8":             {"", whole(0x81, []byte("{\"channel\": \"\xff\xfe\"}")), 1007},
		"no JSON":              {"", whole(0x81, []byte("hello")), 1007},
		"no object":            {"", whole(0x81, []byte("[1]")), 1007},
		"header of wrong type": {"", whole(0x81, []byte(`{"channel":"shell","header":7,"parent_header":{},"metadata":{},"content":{}}`)), 1007},
		"4e9 buffers":          {"", whole(0x82, words(big, 4, 0xffffffff, 8)), 1007},
		"offsets beyond":       {"", whole(0x82, words(big, 4, 2, 12, 0xfffffff0)), 1007},
		"offsets backwards":    {"", whole(0x82, words(big, 4, 3, 24, 20, 16)), 1007},
		"empty binary":         {"", whole(0x82, nil), 1007},
		"v1 text":              {v1, whole(0x81, []byte("{}")), 1003},
		"v1 2^64-1 offsets":    {v1, whole(0x82, words(le, 8, 1<<64-1, 8)), 1007},
		"v1 2^61 offsets":      {v1, whole(0x82, words(le, 8, 1<<61, 8)), 1007},
		"v1 offsets backwards": {v1, whole(0x82, words(le, 8, 6, 56, 61, 60, 65, 67, 69)), 1007},
		"v1 offsets beyond":    {v1, whole(0x82, words(le, 8, 6, 56, 61, 63, 65, 67, 1<<63)), 1007},
		"v1 offset overflow":   {v1, whole(0x82, words(le, 8, 6, 1<<64-8, 61, 63, 65, 67, 69)), 1007},
		"v1 empty":             {v1, whole(0x82, nil), 1007},
	}
	for name, c := range cases {
		code := s.rawFrame(t, kernel, c.protocol, c.bytes)
		require.Equal(t, c.code, code, name)
		require.Equal(t, "fine\n", neighbour.execute("print fine").text, name)
	}
	require.Equal(t, float64(len(cases)), s.metric("nbserv_websocket_refused_total"), "each is counted")
	require.NotContains(t, s.log.String(), "level=ERROR")
}

// rawFrame opens a WebSocket by hand, sends bytes and gives the code that the server closes with.
func (s *server) rawFrame(t *testing.T, kernel, protocol string, b []byte) (code int) {
	t.Helper()
	u, err := url.Parse(s.url)
	require.NoError(t, err)
	conn, err := net.Dial("tcp", u.Host)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	head := fmt.Sprintf("GET /api/kernels/%s/channels HTTP/1.1\r\nHost: %s\r\nAuthorization: token %s\r\nConnection: Upgrade\r\n"+
		"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", kernel, u.Host, s.token)
	if protocol != "" {
		head += "Sec-WebSocket-Protocol: " + protocol + "\r\n"
	}
	_, err = io.WriteString(conn, head+"\r\n")
	require.NoError(t, err)
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
	require.Equal(t, protocol, resp.Header.Get("Sec-WebSocket-Protocol"))
	_, err = conn.Write(b)
	require.NoError(t, err)
	for {
		opcode, payload := readFrame(t, in)
		if opcode == websocket.CloseMessage {
			require.GreaterOrEqual(t, len(payload), 2)
			return int(wire.BigEndian.Uint16(payload))
		}
	}
}

// readFrame reads one frame of the server's.
func readFrame(t *testing.T, in *bufio.Reader) (opcode int, payload []byte) {
	t.Helper()
	head := make([]byte, 2)
	_, err := io.ReadFull(in, head)
	require.NoError(t, err)
	size := uint64(head[1])
	if extra := map[uint64]int{126: 2, 127: 8}[size]; extra > 0 {
		length := make([]byte, 8)
		_, err := io.ReadFull(in, length[8-extra:])
		require.NoError(t, err)
		size = wire.BigEndian.Uint64(length)
	}
	payload = make([]byte, size)
	_, err = io.ReadFull(in, payload)
	require.NoError(t, err)
	return int(head[0] & 0x0f), payload
}

// A kernel that forges, repeats or breaks its messages reaches nobody with them, and its clients work on.
func TestHostileKernel_S9(t *testing.T) {
	s := startSynth(t)
	other := s.dial(t, s.create("other.ipynb", "synth").Kernel.ID)
	c := s.dial(t, s.create("hostile.ipynb", "synth").Kernel.ID)
	require.Equal(t, "genuine\n", c.execute("badsig").text, "a wrong signature is not relayed")
	require.Equal(t, "once\n", c.execute("replay").text, "a replay is not relayed")
	require.Positive(t, s.metric("nbserv_kernel_messages_rejected_total", `channel="iopub"`))
	for _, code := range []string{"hugeframe iopub", "hugeframe shell", "garbage iopub"} {
		_, err := c.collect(c.request("shell", "execute_request", map[string]any{"code": code, "silent": false}))
		require.NoError(t, err, code)
		require.Equal(t, "after\n", c.execute("print after").text, code)
		require.Equal(t, "fine\n", other.execute("print fine").text, code)
	}
	for name, args := range map[string][]string{"never": {"-startup", "never"}, "dead": {"-startup", "dead"}, "huge": {"-accept", "shell=huge"}, "silent": {"-accept", "iopub=silent"}} {
		s.badSpec(name, args...)
		require.NotEqual(t, 500, s.call("POST", "api/sessions", map[string]any{"path": name, "kernel": map[string]any{"name": name}}, nil).StatusCode)
		require.Equal(t, "fine\n", other.execute("print fine").text, name)
	}
	require.NotContains(t, s.log.String(), "level=ERROR")
}
