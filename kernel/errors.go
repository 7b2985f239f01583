package kernel

import "github.com/nbserv/nbserv/internal/fault"

// ErrTakenOver is what a client's Next and Send return after another client of the same client session has
// taken its place. It is a Gone fault; callers that close quietly compare with errors.Is.
var ErrTakenOver = fault.New(fault.Gone, "another connection of this session has taken over")
