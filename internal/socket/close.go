package socket

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"

	"github.com/nbserv/nbserv/internal/fault"
)

// maxReason is what fits into a close frame beside the code. RFC 6455 section 5.5.
const maxReason = 125 - 2

// closeCodes maps every fault.Kind to the code that ends a WebSocket. RFC 6455 section 7.4.
var closeCodes = map[fault.Kind]int{
	fault.Internal:        websocket.CloseInternalServerErr,
	fault.Invalid:         websocket.CloseInvalidFramePayloadData,
	fault.Unauthenticated: websocket.ClosePolicyViolation,
	fault.Forbidden:       websocket.ClosePolicyViolation,
	fault.NotFound:        websocket.CloseNormalClosure,
	fault.NotAllowed:      websocket.ClosePolicyViolation,
	fault.Gone:            websocket.CloseNormalClosure,
	fault.Conflict:        websocket.ClosePolicyViolation,
	fault.TooLarge:        websocket.CloseMessageTooBig,
	fault.RangeInvalid:    websocket.CloseInvalidFramePayloadData,
	fault.TooMany:         websocket.CloseTryAgainLater,
	fault.Unstartable:     websocket.CloseInternalServerErr,
	fault.Busy:            websocket.CloseTryAgainLater,
	fault.Timeout:         websocket.CloseTryAgainLater,
	fault.NoSpace:         websocket.CloseInternalServerErr,
	fault.Canceled:        websocket.CloseGoingAway,
}

// goodbye sends the close frame for the cause of a WebSocket's end, unless its connection itself has failed, and
// gives the client a moment to hang up: closing with unread bytes pending would reset the connection, and the reset
// can overtake the frame.
func goodbye(conn *websocket.Conn, cause error) {
	code, reason := 0, ""
	var theirs *websocket.CloseError
	var ours *fault.Error
	switch {
	case errors.As(cause, &theirs) && theirs.Code == websocket.CloseAbnormalClosure:
		return // the network's end
	case errors.As(cause, &theirs):
		if code = theirs.Code; code == websocket.CloseNoStatusReceived {
			code = websocket.CloseNormalClosure
		}
	case errors.Is(cause, websocket.ErrReadLimit):
		code, reason = websocket.CloseMessageTooBig, "the message is over the server's limit"
	case errors.Is(cause, errFinished):
		code = websocket.CloseNormalClosure
	case errors.As(cause, &ours):
		code, reason = closeCodes[ours.Kind], fault.Message(cause)
	case errors.Is(cause, context.Canceled):
		code = websocket.CloseGoingAway
	default:
		return
	}
	deadline := time.Now().Add(closeWait)
	err := conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, cut(reason)), deadline)
	if err != nil || theirs != nil {
		return
	}
	under := conn.NetConn() // gorilla reads no more after a failed read
	_ = under.SetReadDeadline(deadline)
	_, _ = io.Copy(io.Discard, under)
}

// cut makes s fit a close frame: valid UTF-8 and at most maxReason bytes.
func cut(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= maxReason {
		return s
	}
	n := maxReason
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
