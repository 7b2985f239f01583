package httpx

import (
	"fmt"
	"net/http"
	"runtime/debug"

	"github.com/nbserv/nbserv/internal/fault"
)

// Recover turns a panic below it into a 500 with the request's id; when the answer had begun, the connection is
// cut, so that no client takes half an answer for a whole one. The stack goes to the access log.
// http.ErrAbortHandler passes: it is how a handler cuts its own connection.
func Recover(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler { // never wrapped, and net/http compares it the same way
				panic(v)
			}
			err := fault.Wrap(fault.Internal, fmt.Errorf("panic: %v", v), "panic")
			n := noteOf(r.Context())
			if n != nil {
				n.stack = debug.Stack()
			}
			if rec, ok := w.(*recorder); ok && rec.status != 0 {
				NoteError(r.Context(), err)
				panic(http.ErrAbortHandler)
			}
			WriteError(w, r, err)
		}()
		next.ServeHTTP(w, r)
	})
}
