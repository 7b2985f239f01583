package lsp

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFrames(t *testing.T) {
	for text, want := range map[string][]string{
		"Content-Length: 2\r\n\r\n{}Content-Length: 7\r\n\r\n{\"a\":1}": {"{}", `{"a":1}`},
		"content-length:2\n\n{}": {"{}"},
		"Content-Type: application/vscode-jsonrpc; charset=utf-8\r\nContent-Length: 2\r\n\r\n{}": {"{}"},
		"Content-Length: 2\r\nContent-Type: x\r\n\r\n{}":                                         {"{}"},
		"hello\n\nworld Content-Length: 2\r\n\r\n{}":                                             {"{}"},
		"Content-Length: 0\r\n\r\nContent-Length: 2\r\n\r\n{}":                                   {"{}"},
		strings.Repeat("x", 3*lineBuffer) + "\nContent-Length: 2\r\n\r\n{}":                      {"{}"},
		"Content-Length: 5\r\n\r\n{}":                                                            nil,
		"Content-Length: 2\r\n":                                                                  nil,
		"":                                                                                       nil,
	} {
		r := newReader(strings.NewReader(text))
		var got []string
		for {
			m, err := r.next()
			if err != nil {
				break
			}
			got = append(got, string(m))
		}
		require.Equal(t, want, got, "%.60q", text)
	}
}

// What was announced and never comes takes no memory.
func TestAnnouncedLengthTakesNoMemory_P9_S9(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := newReader(strings.NewReader("Content-Length: 67108864\r\n\r\n{")).next()
	runtime.ReadMemStats(&after)
	require.Error(t, err)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(maxFromServer/4))
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("Content-Length: 2\r\n\r\n{}"))
	f.Add([]byte("hello\r\n\r\nContent-Length: 0\r\n\r\nContent-Length: 9\r\n\r\n{\"a\":\"ä\"}"))
	f.Add([]byte("Content-Length: 2\r\nContent-Length: 3\r\n\r\n{ }"))
	f.Add([]byte("Content-Length: -2\r\n\r\n{}"))
	f.Add([]byte("Content-Length: \r\n\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r := newReader(bytes.NewReader(text))
		for total := 0; ; {
			m, err := r.next()
			if err != nil {
				break
			}
			require.True(t, isMessage(m))
			total += len(m)
			require.LessOrEqual(t, total, len(text), "no byte is given twice")
		}
		if isMessage(text) { // what is framed comes back, whatever was printed before it
			back, err := newReader(strings.NewReader("noise" + string(frame(text)))).next()
			require.NoError(t, err)
			require.Equal(t, text, back)
		}
	})
}
