package kernel

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
)

// Position is a place in a kernel's journal: everything up to and including Seq has been read. The zero
// Position stands before everything. Epoch names the journal: a Position of another epoch is unknown to it.
type Position struct {
	Epoch uint64
	Seq   uint64
}

// String is the Position as clients carry it, "EPOCH:SEQ", the epoch in hexadecimal.
func (p Position) String() string { return fmt.Sprintf("%x:%d", p.Epoch, p.Seq) }

// ParsePosition reads what String wrote; any other text is Invalid.
func ParsePosition(s string) (Position, error) {
	epoch, seq, ok := strings.Cut(s, ":")
	e, err1 := strconv.ParseUint(epoch, 16, 64)
	q, err2 := strconv.ParseUint(seq, 10, 64)
	if !ok || err1 != nil || err2 != nil {
		return Position{}, fault.New(fault.Invalid, "not a journal position (EPOCH:SEQ)")
	}
	return Position{Epoch: e, Seq: q}, nil
}

// EntryKind tells what an entry of a journal writes down.
type EntryKind uint8

// The kinds of entries. Clients get what was said to them; observers get all kinds.
const (
	Said     EntryKind = iota // the kernel, or the server in its place, said Message: for To, or for all when To is ""
	Asked                     // the client session To sent Message, an execute_request; what it causes comes after it
	Attached                  // a client of the client session To came; no Message
	Detached                  // the client of the client session To went, and no other took its place; no Message
)

// Entry is one record of a kernel's journal as a reader gets it, or in its place a gap notice.
type Entry struct {
	Seq     uint64    // this entry's number, or for a gap the last number that is missing
	Kind    EntryKind // Said for a gap notice
	To      string    // the client session that it is for or about; "" is all
	Message *Message  // nil for a gap notice, Attached and Detached
	Gap     *Gap      // nil but for a gap notice
}

// Gap says that messages a reader had not seen yet are no longer kept.
type Gap struct {
	Dropped uint64 // how many messages; 0 when that is unknown (another epoch)
	Reason  string // for people: why
}

// Status describes a kernel at one moment.
type Status struct {
	ID             string
	Spec           string // the kernelspec's name
	ExecutionState string // starting, idle, busy, restarting, autorestarting, terminating, dead
	LastActivity   time.Time
	Connections    int    // attached clients
	Reason         string // why it is dead, for people; "" while it lives
	Cwd            string // the absolute folder it is started in; "" is the root folder
	Limits         Enforced

	Owner string // as its StartOptions have it
	// Lost says that it is dead because its process ended while no server ran, or was dead already when this one
	// began: its journal can be read, and nobody waits for it, until it is shut down or restarted.
	Lost bool

	Position Position // the newest place in its journal
	// Departed grows whenever a client session that had sent execute_requests detaches. Those of a Transient client
	// count when they name a cell (metadata cellId): no notebook has what the others print.
	Departed uint64
	Gone     bool // it has been shut down, and its id forgotten; Watch alone tells
	// Order is the place of its start among the Host's. Serial grows with each look at the kernel: of two Statuses
	// with one Order the one with the greater Serial is the newer.
	Order, Serial uint64
}
