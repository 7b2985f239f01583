package ws

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/gorilla/websocket"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

// The close codes a client can see. JupyterLab reconnects after all of them but 1000 and 1001; when its new
// WebSocket is then refused it asks GET /api/kernels/{id} whether the kernel still is.
const (
	closeNormal         = websocket.CloseNormalClosure
	closeGoingAway      = websocket.CloseGoingAway
	closeProtocol       = websocket.CloseProtocolError
	closeUnsupported    = websocket.CloseUnsupportedData
	closeInvalidData    = websocket.CloseInvalidFramePayloadData
	closePolicy         = websocket.ClosePolicyViolation
	closeTooBig         = websocket.CloseMessageTooBig
	closeInternal       = websocket.CloseInternalServerErr
	closeServiceRestart = websocket.CloseServiceRestart
	closeTryAgainLater  = websocket.CloseTryAgainLater
	// RFC 6455 section 7.4.2 leaves 4000 to 4999 to applications; these echo HTTP's 408 and 410.
	closeNoPong     = 4408
	closeKernelGone = 4410
)

// maxReason is what fits into a close frame beside the code. RFC 6455 section 5.5.
const maxReason = 125 - 2

// closeCodes maps every fault.Kind to the code that ends a WebSocket.
var closeCodes = map[fault.Kind]int{
	fault.Internal:        closeInternal,
	fault.Invalid:         closeInvalidData,
	fault.Unauthenticated: closePolicy,
	fault.Forbidden:       closePolicy,
	fault.NotFound:        closeKernelGone,
	fault.NotAllowed:      closePolicy,
	fault.Gone:            closeKernelGone,
	fault.Conflict:        closePolicy,
	fault.TooLarge:        closeTooBig,
	fault.RangeInvalid:    closeInvalidData,
	fault.TooMany:         closeTryAgainLater,
	fault.Unstartable:     closeKernelGone,
	fault.Busy:            closeTryAgainLater,
	fault.Timeout:         closeTryAgainLater,
	fault.NoSpace:         closeInternal,
	fault.Canceled:        closeGoingAway,
}

// closeError ends a Bridge with a code and a reason that the client gets to read.
type closeError struct {
	code   int
	reason string
	refuse refusal // why a frame was refused; "" when the Bridge ended for another reason
}

func (e *closeError) Error() string { return fmt.Sprintf("closed with %d: %s", e.code, e.reason) }

// refused makes the closeError for a frame that is not taken.
func refused(code int, why refusal, format string, args ...any) error {
	return &closeError{code: code, reason: fmt.Sprintf(format, args...), refuse: why}
}

// closeFrame says what to tell the client of a Bridge that ended for cause. ok is false when there is nobody
// to tell: the connection itself has failed.
func closeFrame(cause error) (code int, reason string, ok bool) {
	var ours *closeError
	var theirs *websocket.CloseError
	var lost *connError
	switch {
	case errors.As(cause, &lost):
		return 0, "", false
	case errors.As(cause, &ours):
		return ours.code, cutReason(ours.reason), true
	case errors.As(cause, &theirs):
		return theirs.Code, "", true // the answer of RFC 6455 section 5.5.1: the same code
	case errors.Is(cause, kernel.ErrTakenOver):
		// The page behind this WebSocket has opened another one, or two pages share a session id: with any
		// code but 1000 and 1001 both would reconnect in turns for ever.
		return closeNormal, "a newer connection of this session has taken over", true
	case errors.Is(cause, context.Canceled):
		return closeGoingAway, "", true
	}
	return closeCodes[fault.KindOf(cause)], cutReason(fault.Message(cause)), true
}

// cutReason makes s fit a close frame: valid UTF-8 and at most maxReason bytes.
func cutReason(s string) string {
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
