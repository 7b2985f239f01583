package ws

import (
	"context"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

func TestEveryKindHasACloseCode(t *testing.T) {
	for _, k := range fault.Kinds() {
		code, ok := closeCodes[k]
		require.True(t, ok, "kind %d", k)
		got, reason, tell := closeFrame(fault.New(k, "what happened"))
		require.True(t, tell)
		require.Equal(t, code, got)
		if k == fault.Internal {
			require.Equal(t, "internal error", reason, "S12")
		} else {
			require.Equal(t, "what happened", reason)
		}
	}
	require.Len(t, closeCodes, len(fault.Kinds()))
}

func TestCloseFrame(t *testing.T) {
	for name, tt := range map[string]struct {
		cause error
		code  int
		tell  bool
	}{
		"taken over":       {kernel.ErrTakenOver, closeNormal, true},
		"the client left":  {&websocket.CloseError{Code: 4000}, 4000, true},
		"without a code":   {&websocket.CloseError{Code: websocket.CloseNoStatusReceived}, websocket.CloseNoStatusReceived, true},
		"ctx ended":        {context.Canceled, closeGoingAway, true},
		"a defect":         {errors.New("secret detail"), closeInternal, true},
		"connection lost":  {&connError{err: errors.New("reset")}, 0, false},
		"kernel is gone":   {fault.New(fault.Gone, "x"), closeKernelGone, true},
		"kernel not found": {fault.New(fault.NotFound, "x"), closeKernelGone, true},
	} {
		code, reason, tell := closeFrame(tt.cause)
		require.Equal(t, tt.code, code, name)
		require.Equal(t, tt.tell, tell, name)
		require.NotContains(t, reason, "secret", name)
	}
}

func TestReasonFitsAControlFrame(t *testing.T) {
	for _, s := range []string{"", "short", strings.Repeat("é", 100), strings.Repeat("x", 122) + "\U0001F600", "bad \xff"} {
		got := cutReason(s)
		require.LessOrEqual(t, len(got), maxReason)
		require.True(t, utf8.ValidString(got))
		require.True(t, strings.HasPrefix(strings.ToValidUTF8(s, "\uFFFD"), got))
	}
}
