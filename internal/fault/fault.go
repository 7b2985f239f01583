// Package fault names the ways a request can fail, so that domain code never speaks of HTTP.
//
// A fault has a Kind (which decides the status code, the close code or the dialect's error code), a message
// for the client and, when there is one, the underlying error for the log. An error without a Kind is
// Internal: its text stays in the log.
package fault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// Kind says what went wrong in terms a client can act on.
type Kind uint8

// The kinds. Every transport maps all of them; a test walks Kinds to prove it.
const (
	Internal        Kind = iota // a defect or an unexpected condition of the server
	Invalid                     // malformed body, path, header or message
	Unauthenticated             // a dialect that answers 401 to missing or bad credentials
	Forbidden                   // no permission: credentials, a hidden or a read-only path
	NotFound                    // no such kernel, session, kernelspec, path or upload
	NotAllowed                  // the method does not exist on this path
	Gone                        // it was there, and ended before this request
	Conflict                    // exists already, wrong offset, wrong state
	TooLarge                    // over a configured limit
	RangeInvalid                // a byte range that the file does not have
	TooMany                     // this client has used up its rate
	Unstartable                 // the kernelspec is unknown or its kernel does not start
	Busy                        // a queue or a limit is full, or the server is stopping: retry later
	Timeout                     // the kernel did not answer in time
	NoSpace                     // the disk is full; what was there is intact
	Canceled                    // the client has gone
)

// Kinds lists every Kind, for tests that prove a mapping complete.
func Kinds() []Kind {
	all := make([]Kind, 0, int(Canceled)+1)
	for k := Internal; k <= Canceled; k++ {
		all = append(all, k)
	}
	return all
}

// Error is a fault: Msg is for the client, Err for the log.
type Error struct {
	Kind Kind
	Msg  string
	Err  error
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.Msg
	}
	return e.Msg + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// New makes a fault of kind k. The formatted message is shown to clients.
func New(k Kind, format string, args ...any) error {
	return &Error{Kind: k, Msg: fmt.Sprintf(format, args...)}
}

// Wrap makes a fault of kind k around err, which goes to the log only.
func Wrap(k Kind, err error, format string, args ...any) error {
	return &Error{Kind: k, Msg: fmt.Sprintf(format, args...), Err: err}
}

// KindOf finds the Kind of err: of the outermost fault in its chain, or of the operating system's error.
func KindOf(err error) Kind {
	var f *Error
	switch {
	case err == nil:
		return Internal
	case errors.As(err, &f):
		return f.Kind
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return NoSpace
	case OutOfDescriptors(err):
		return Busy
	}
	return Internal
}

// Message is what a client may read about err. Internal errors keep their text to the log.
func Message(err error) string {
	var f *Error
	if errors.As(err, &f) && f.Kind != Internal {
		return f.Msg
	}
	switch KindOf(err) {
	case Canceled:
		return "the request was cancelled"
	case Timeout:
		return "the operation took too long"
	case NoSpace:
		return "no space left on the disk"
	case Busy:
		return noDescriptors
	}
	return "internal error"
}

const noDescriptors = "the server has no free file descriptors"

// OutOfDescriptors tells whether an operating system's error says that this process or the machine can open no more
// files for the moment. What was asked for may be there.
func OutOfDescriptors(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// OS turns an operating system's error about what (a client's own name for the thing, never a server path)
// into a fault. A nil err gives nil.
func OS(err error, what string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return Wrap(NotFound, err, "%s does not exist", what)
	case errors.Is(err, fs.ErrExist), errors.Is(err, syscall.ENOTEMPTY):
		return Wrap(Conflict, err, "%s already exists", what)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return Wrap(Forbidden, err, "permission denied: %s", what)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return Wrap(NoSpace, err, "no space left on the disk for %s", what)
	case errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.EINVAL):
		return Wrap(Invalid, err, "not a usable name: %s", what)
	case OutOfDescriptors(err):
		return Wrap(Busy, err, noDescriptors)
	}
	return Wrap(Internal, err, "cannot use %s", what)
}
