package ws

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/kernel/kerneltest"
)

// startKernel puts the Server in front of a kernel.Manager whose one kernel, "k", is a scripted one on real
// ZeroMQ sockets.
func startKernel(t *testing.T) *served {
	t.Helper()
	data := t.TempDir()
	spec := filepath.Join(data, "kernels", "synth")
	require.NoError(t, os.MkdirAll(spec, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(spec, "kernel.json"),
		[]byte(`{"argv":["synth","{connection_file}"],"display_name":"synth","language":"synth","metadata":{"nbserv":{"transport":"ipc"}}}`), 0o600))
	run, err := os.MkdirTemp("", "ws") // short: a socket's path may have 107 bytes
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(run) })

	m := kernel.NewManager(kernel.Config{RootDir: data, RuntimeDir: run, ShutdownWait: time.Second},
		kernel.NewSpecs(kernel.SpecsConfig{DataDirs: []string{data}, NoNativeKernel: true, DefaultName: "synth"}),
		kerneltest.NewProvisioner(t, kerneltest.Options{}), nil)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, m.Close(ctx))
	})
	_, err = m.Start(t.Context(), kernel.StartOptions{ID: "k"})
	require.NoError(t, err)
	return serveHost(t, m, Config{}, (*httptest.Server).Start)
}

// execute sends code to the kernel and gives what belongs to it, until reply and idle have come.
func execute(t *testing.T, c *websocket.Conn, k codec, session, id, code string) []*kernel.Message {
	t.Helper()
	transmit(t, c, k, executeRequest(t, session, id, code))
	return answers(t, c, k, id)
}

func executeRequest(t *testing.T, session, id, code string) *kernel.Message {
	t.Helper()
	text, err := json.Marshal(code)
	require.NoError(t, err)
	m, err := kernel.NewMessage(kernel.Shell, [4]json.RawMessage{
		json.RawMessage(fmt.Sprintf(`{"msg_id":%q,"msg_type":"execute_request","session":%q,"username":"u",`+
			`"date":"2026-01-01T00:00:00Z","version":"5.4"}`, id, session)),
		emptyObject, emptyObject,
		json.RawMessage(`{"code":` + string(text) + `,"silent":false,"store_history":true,"user_expressions":{},"allow_stdin":true}`),
	}, nil)
	require.NoError(t, err)
	return m
}

func answers(t *testing.T, c *websocket.Conn, k codec, id string) (all []*kernel.Message) {
	t.Helper()
	for reply, idle := false, false; !reply || !idle; {
		m := receive(t, c, k)
		if m.Parent.MsgID != id {
			continue
		}
		all = append(all, m)
		reply = reply || m.Header.MsgType == "execute_reply"
		idle = idle || m.Header.MsgType == "status" && strings.Contains(string(m.Parts[kernel.PartContent]), `"idle"`)
	}
	return all
}

// One execution through a real kernel.Manager and real sockets, in both protocols: busy, outputs in order,
// idle; nothing lost of a flood; buffers whole; input asked and answered (P4, P5).
func TestExecutesThroughAManager_P4_P5(t *testing.T) {
	for name, protocol := range protocols {
		t.Run(name, func(t *testing.T) {
			s, k := startKernel(t), codecs[name]
			c := s.dial(t, "?session_id=me", protocol)

			all := execute(t, c, k, "me", "one", "order 300")
			first := slices.IndexFunc(all, func(m *kernel.Message) bool { return m.Channel == kernel.IOPub })
			require.Contains(t, string(all[first].Parts[kernel.PartContent]), `"busy"`) // the reply has a socket of its own

			all = execute(t, c, k, "me", "two", "flood 5000 100")
			n := 0
			for _, m := range all {
				if m.Header.MsgType != "stream" {
					continue
				}
				var meta struct{ Seq int }
				require.NoError(t, json.Unmarshal(m.Parts[kernel.PartMetadata], &meta))
				require.Equal(t, n, meta.Seq)
				n++
			}
			require.Equal(t, 5000, n)

			n = 0
			for _, m := range execute(t, c, k, "me", "three", "buffers 5 1000000") {
				for _, b := range m.Buffers {
					require.Len(t, b, 1_000_000)
					n++
				}
			}
			require.Equal(t, 5, n)

			transmit(t, c, k, executeRequest(t, "me", "four", "input name?"))
			var ask *kernel.Message
			for ask == nil || ask.Header.MsgType != "input_request" {
				ask = receive(t, c, k)
			}
			require.Equal(t, kernel.Stdin, ask.Channel)
			reply, err := kernel.NewMessage(kernel.Stdin, [4]json.RawMessage{
				json.RawMessage(`{"msg_id":"i","msg_type":"input_reply","session":"me","username":"u","version":"5.4"}`),
				ask.Parts[kernel.PartHeader], emptyObject, json.RawMessage(`{"value":"Ann"}`),
			}, nil)
			require.NoError(t, err)
			transmit(t, c, k, reply)
			said := ""
			for _, m := range answers(t, c, k, "four") {
				said += string(m.Parts[kernel.PartContent])
			}
			require.Contains(t, said, "Ann")
		})
	}
}

// A page that comes back with its session id reads on where it stopped: what the kernel said meanwhile is there,
// the reply to the request of its first WebSocket too (P4).
func TestReconnectReadsOn_P4(t *testing.T) {
	s := startKernel(t)
	first := s.dial(t, "?session_id=me&positions=1", subprotocolV1)
	transmit(t, first, v1{}, executeRequest(t, "me", "one", "print begun\nsleep 1s\nprint over\necho done"))
	m := receive(t, first, v1{})
	for m.Header.MsgType != "stream" {
		m = receive(t, first, v1{})
	}
	told, ended := keepReading(first, place(t, m).Seq)
	<-told
	require.NoError(t, first.WriteControl(websocket.CloseMessage, nil, time.Now().Add(patience)))
	<-ended

	second := s.dial(t, "?session_id=me", "")
	said := ""
	for _, m := range answers(t, second, newLegacy(), "one") {
		said += string(m.Parts[kernel.PartContent])
	}
	require.Contains(t, said, "over")
	require.NotContains(t, said, "begun", "what was read is not repeated")
}

// Two frontends see one order (P5), and each only its own replies.
func TestTwoFrontendsSeeOneOrder_P5(t *testing.T) {
	s := startKernel(t)
	a, b := s.dial(t, "?session_id=a", subprotocolV1), s.dial(t, "?session_id=b", "")
	transmit(t, a, v1{}, executeRequest(t, "a", "one", "order 100"))
	var saw [2][]string
	for i, c := range []*websocket.Conn{a, b} {
		k := []codec{v1{}, newLegacy()}[i]
		for idle := false; !idle; {
			m := receive(t, c, k)
			if m.Channel != kernel.IOPub {
				require.Equal(t, a, c, "the reply is for the one that asked")
				continue
			}
			if m.Parent.MsgID == "one" {
				saw[i] = append(saw[i], m.Header.MsgID)
			}
			idle = m.Parent.MsgID == "one" && strings.Contains(string(m.Parts[kernel.PartContent]), `"idle"`)
		}
	}
	require.Equal(t, saw[0], saw[1])
	require.Greater(t, len(saw[0]), 100)
}
