package kernel

import "github.com/nbserv/nbserv/internal/fault"

// ErrTakenOver is what a client's Next and Send return after another client of the same client session has
// taken its place. It is a Gone fault; callers that close quietly compare with errors.Is.
var ErrTakenOver = fault.New(fault.Gone, "another connection of this session has taken over")

// errLeft is the answer of a Manager that has left its kernels.
var errLeft = fault.New(fault.Busy, "the server is stopping; the kernel goes on")

// errRecovering is the answer of a Manager that does not know its kernels yet.
var errRecovering = fault.New(fault.Busy, "the server is still taking over its kernels")
