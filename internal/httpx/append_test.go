package httpx_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/httpx"
)

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", `q"b\`, "\x00\x1f\n\r\t\x7f", "é\u2028\U0001F600", "bad\xff\xc3", "<&>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b := httpx.AppendString([]byte("x"), s)
		require.Equal(t, byte('x'), b[0])
		var back string
		require.NoError(t, json.Unmarshal(b[1:], &back))
		want, err := json.Marshal(s)
		require.NoError(t, err)
		var std string
		require.NoError(t, json.Unmarshal(want, &std))
		require.Equal(t, std, back)
		require.False(t, strings.ContainsAny(string(b), "\n\r\x00"))
	})
}
