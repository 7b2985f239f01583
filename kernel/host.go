package kernel

import (
	"context"
	"encoding/json"
	"iter"
)

// Host is where kernels live: *Manager in this process, later another process behind a socket. All methods
// are safe for concurrent use. An unknown id is NotFound everywhere.
type Host interface {
	// Start launches a kernel and returns as soon as its process runs; the kernel may still be "starting".
	// An unknown kernelspec, or one whose process cannot be started, is Unstartable. An ID in use is Conflict.
	Start(ctx context.Context, o StartOptions) (Status, error)
	Get(id string) (Status, error)
	List() []Status // ordered by start
	// Interrupt asks the kernel to stop what it does, by signal or message as its kernelspec says.
	Interrupt(ctx context.Context, id string) error
	// Restart replaces the kernel's process; id, journal and clients stay. It returns when the new process runs.
	Restart(ctx context.Context, id string) error
	// Shutdown ends the kernel and its whole process tree and forgets its id.
	Shutdown(ctx context.Context, id string) error
	// Ready waits until the kernel takes messages without delay, or is known not to: dead is no error.
	Ready(ctx context.Context, id string) error
	// Attach connects a frontend. See AttachOptions.
	Attach(id string, o AttachOptions) (Client, error)
	// Execute runs code and yields what belongs to it, until both its reply and its idle status have come.
	// Leaving the loop early does not interrupt the kernel; cancelling ctx ends the loop, not the code.
	Execute(ctx context.Context, id string, req ExecuteRequest) iter.Seq2[Entry, error]
	// Watch yields every kernel's Status, then each change as it happens, until ctx ends. A kernel that is gone
	// comes once more, with Gone. It watches from the call on, so that nothing is missed between a List after it
	// and the loop, which may be run once. A slow reader gets the newest Status of each kernel and holds nobody
	// up; what a kernel merely says (LastActivity, Position) comes up to 100 ms late.
	Watch(ctx context.Context) iter.Seq[Status]
}

// StartOptions say what to start.
type StartOptions struct {
	ID   string            // the kernel's id; "" makes a new UUID
	Spec string            // the kernelspec's name; "" is the default one
	Cwd  string            // absolute working folder on the server's machine; "" is the root folder
	Env  map[string]string // from the client: data, never templates; loader variables are refused
	// Owner is who starts it, in a word of theirs: what they find again in its Status, also under another server.
	Owner string
	// Limits of the kernel; what they leave open its kernelspec decides, then Config.Limits.
	Limits Limits
	// Sandbox confines the kernel's processes; nil runs them as the server's own user. Cwd is then of no use.
	Sandbox *Sandbox
}

// AttachOptions say who attaches and from where it reads on.
type AttachOptions struct {
	// ClientSession is the frontend's session id, as in its message headers. A second client of the same
	// ClientSession takes the first one's place: the first's Next returns ErrTakenOver, the second reads on
	// where the first stopped. "" makes an anonymous client that nobody can take over.
	ClientSession string
	// Since asks to read on from there. nil reads on from where this ClientSession last stopped, or from
	// now when the kernel does not know it.
	Since *Position
	// Observe makes a client that sees every entry of every kind, whoever it is for. It is not among the
	// kernel's Connections, keeps no kernel from being culled, takes nobody's place, is not remembered when it
	// detaches, and its Send is Invalid. ClientSession means nothing then.
	Observe bool
	// Transient says that nobody will come back for this ClientSession: Detach keeps nothing for it.
	Transient bool
	// Confirm makes delivery explicit: Client.Confirm says what was delivered, and calling Next again does not.
	Confirm bool
	// Borrow says that what Next returns is not looked at any more when it is called again: the memory may then be
	// used anew.
	Borrow bool
}

// Client is one frontend of a kernel: a place in its journal and a way to send.
type Client interface {
	// Send hands a message to the kernel and never blocks. A channel or type that frontends may not send is
	// Invalid, a full queue Busy, a kernel that has ended Gone. m must not be changed afterwards.
	Send(m *Message) error
	// Next waits for entries after the client's position and fills buf with as many as there are. Calling
	// it again says that those returned before were delivered. It fails with ctx's error, with
	// ErrTakenOver, or with Gone once the kernel has ended and everything was read. One reader at a time.
	Next(ctx context.Context, buf []Entry) (int, error)
	// Confirm says that everything up to the number seq was delivered; without AttachOptions.Confirm it says nothing
	// new.
	Confirm(seq uint64)
	// Position is the place up to which entries were returned by Next.
	Position() Position
	// Detach ends the client; the kernel remembers its position for a while. Idempotent.
	Detach()
}

// ExecuteRequest is the content of an execute_request, with Jupyter's own defaults in the zero value except
// that history is kept only when asked for.
// https://jupyter-client.readthedocs.io/en/stable/messaging.html#execute
type ExecuteRequest struct {
	Code            string
	Silent          bool
	StoreHistory    bool
	UserExpressions map[string]string
	AllowStdin      bool
	StopOnError     bool
	Metadata        json.RawMessage // the message's metadata; nil is {}
	ClientSession   string          // "" makes one for this execution
}
