package httpx

import (
	"net/http"
	"time"
)

// BodyAborter gives a function that makes a blocked read of the request's body fail, and those after it. It may be
// called from any goroutine. A body that has a method Abort does it itself: one that sets deadlines of its own would
// otherwise overwrite this one, and it knows when the connection serves another request.
func BodyAborter(w http.ResponseWriter, r *http.Request) func() {
	if b, ok := r.Body.(interface{ Abort() }); ok {
		return b.Abort
	}
	c := http.NewResponseController(w)
	return func() { _ = c.SetReadDeadline(time.Unix(1, 0)) } // a connection without deadlines has its own end
}
