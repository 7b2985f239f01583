package httpx

import (
	"net/http"
	"strconv"

	"github.com/nbserv/nbserv/internal/fault"
)

// status maps a fault.Kind to the HTTP status that Jupyter's clients expect.
var status = map[fault.Kind]int{
	fault.Internal:        http.StatusInternalServerError,
	fault.Invalid:         http.StatusBadRequest,
	fault.Unauthenticated: http.StatusUnauthorized,
	fault.Forbidden:       http.StatusForbidden, // Jupyter answers 403, not 401, to missing credentials
	fault.NotFound:        http.StatusNotFound,
	fault.NotAllowed:      http.StatusMethodNotAllowed,
	fault.Gone:            http.StatusGone,
	fault.Conflict:        http.StatusConflict,
	fault.TooLarge:        http.StatusRequestEntityTooLarge,
	fault.RangeInvalid:    http.StatusRequestedRangeNotSatisfiable,
	fault.TooMany:         http.StatusTooManyRequests,
	fault.Unstartable:     http.StatusNotImplemented,
	fault.Busy:            http.StatusServiceUnavailable,
	fault.Timeout:         http.StatusGatewayTimeout,
	fault.NoSpace:         http.StatusInsufficientStorage,
	fault.Canceled:        statusGone, // only the log sees it
}

// Status is the HTTP status for a fault's Kind.
func Status(k fault.Kind) int { return status[k] }

// retryAfter is what Busy and TooMany tell a client to wait, in seconds, when the handler set nothing better.
const retryAfter = 1

// Handler is a handler that returns its error; ServeHTTP writes it the way Jupyter does.
type Handler func(http.ResponseWriter, *http.Request) error

func (h Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := h(w, r); err != nil {
		WriteError(w, r, err)
	}
}

// WriteError writes err as Jupyter's {"message", "reason"} and notes its cause for the access log, which writes it
// down once. Only where no AccessLog is around does it log an Internal err itself.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	k := fault.KindOf(err)
	NoteError(r.Context(), err)
	if n := noteOf(r.Context()); k == fault.Internal && (n == nil || n.log == nil) {
		Logger(r.Context()).ErrorContext(r.Context(), "request failed", "err", err, "request_id", RequestID(r.Context()))
	}
	body := struct {
		Message string  `json:"message"`
		Reason  *string `json:"reason"`
	}{Message: fault.Message(err)}
	if k == fault.Internal {
		if id := RequestID(r.Context()); id != "" {
			body.Message += " (request " + id + ")"
		}
	}
	if (k == fault.Busy || k == fault.TooMany) && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	}
	_ = WriteJSON(w, Status(k), body)
}
