package kernel

import (
	"context"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/nbserv/nbserv/internal/fault"
)

// The execution states that the server itself gives a kernel; idle and busy come from the kernel.
const (
	stateStarting       = "starting"
	stateIdle           = "idle"
	stateBusy           = "busy"
	stateRestarting     = "restarting"
	stateAutorestarting = "autorestarting"
	stateTerminating    = "terminating"
	stateDead           = "dead"
)

// Kernel is the lasting identity of one kernel: its id, kernelspec, journal and clients. Its processes and
// connections (incarnations) come and go below it.
type Kernel struct {
	// immutable
	id       string
	start    StartOptions
	cfg      *Config
	specs    *Specs
	prov     Provisioner
	metrics  *metrics
	log      *slog.Logger
	journal  *Journal
	budget   *Budget
	own      string // the client session of the server's own requests to this kernel
	order    uint64 // of its start among the manager's kernels
	watchers *watchers
	op       chan struct{} // holds one token, at first taken by begin: whoever has it may start and end processes
	stop     chan struct{} // closed when the kernel is shut down
	left     chan struct{} // closed when the kernel is left to the next server
	restored chan struct{} // closed when it is known what an earlier server left open
	folder   string        // for what survives this process; "" is none
	marks    string        // how the marks of its processes begin
	wg       sync.WaitGroup

	record saved // owned by who starts the process: at first the holder of op, then inc's goroutines, in turn

	noticed atomic.Uint32 // a notice: what watchers have been told, and have not looked at

	mu        sync.Mutex // guards the rest
	spec      Spec       // as of the last launch
	state     string
	reason    string
	active    time.Time // last activity; its monotonic part measures idleness
	clients   map[*client]struct{}
	observers map[*client]struct{}
	bySession map[string]*client
	away      map[string]*away
	open      openRequests
	replies   answers             // to what an earlier server had asked
	working   map[string]struct{} // msg_ids of the tracked requests that the kernel is busy with
	inc       *incarnation        // the current one; nil while there is none
	pending   []*Message          // what clients sent while no connection was ready
	pendingB  int
	deaths    int           // in a row
	stillborn bool          // no process of it ever ran
	lost      bool          // its process ended under an earlier server, or with that
	ended     bool          // shut down, or left
	hurry     bool          // the server's time to stop is up: no process is asked to end any more
	voice     string        // the session in the headers of the kernel's own messages; ours until it spoke
	turn      chan struct{} // closed, and replaced, when the kernel becomes ready, dead or ended
	departed  uint64        // client sessions that executed and detached
	looks     uint64        // calls of Status
}

func newKernel(m *Manager, o StartOptions, order uint64) *Kernel {
	set := m.set.Load()
	k := &Kernel{
		id: o.ID, start: o, cfg: &set.Config, specs: set.specs, prov: m.prov, metrics: m.metrics,
		log:      m.cfg.Logger.With("kernel_id", o.ID),
		budget:   m.budget,
		own:      uuid.NewString(),
		order:    order,
		watchers: &m.watchers,
		op:       make(chan struct{}, 1),
		stop:     make(chan struct{}),
		left:     make(chan struct{}),
		restored: make(chan struct{}),
		marks:    m.marks,
		state:    stateStarting, active: time.Now(),
		clients: make(map[*client]struct{}), observers: make(map[*client]struct{}), bySession: make(map[string]*client), away: make(map[string]*away),
		working: make(map[string]struct{}), turn: make(chan struct{}),
	}
	k.voice = k.own
	close(k.restored)
	k.noticed.Store(uint32(removed)) // until it is announced
	if m.cfg.StateDir != "" {
		k.folder = filepath.Join(m.cfg.StateDir, kernelsFolder, o.ID)
	}
	k.journal = beginJournal(k.journalFolder(), set.Journal, m.budget)
	return k
}

// journalFolder is where the kernel's journal is; "" is in memory.
func (k *Kernel) journalFolder() string {
	if k.folder == "" {
		return ""
	}
	return filepath.Join(k.folder, journalFolder)
}

// Status describes k now.
func (k *Kernel) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.looks++
	return Status{
		ID: k.id, Spec: k.spec.Name, ExecutionState: k.state, LastActivity: k.lastActivity(),
		Connections: len(k.clients), Reason: k.reason, Limits: k.enforced(), Cwd: k.start.Cwd, Owner: k.start.Owner, Lost: k.lost,
		Position: k.journal.Position(), Departed: k.departed, Order: k.order, Serial: k.looks,
	}
}

// waitReady waits until the kernel's current connection takes messages, or the kernel is dead or has ended.
func (k *Kernel) waitReady(ctx context.Context) error {
	for {
		k.mu.Lock()
		done, turn := k.readyConn() != nil || k.ended || k.state == stateDead, k.turn
		k.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-turn:
		case <-ctx.Done():
			return fault.Wrap(fault.KindOf(ctx.Err()), context.Cause(ctx), "the kernel is still starting")
		}
	}
}

// hasEnded is the fault of a call that comes after the kernel's end: of the kind given, unless the kernel has only
// been left to the next server.
func (k *Kernel) hasEnded(kind fault.Kind) error {
	select {
	case <-k.left:
		return errLeft
	default:
		return fault.New(kind, "the kernel has ended")
	}
}

// turned wakes whoever waits for the kernel to become ready or dead. mu is held.
func (k *Kernel) turned() {
	k.note(changed)
	close(k.turn)
	k.turn = make(chan struct{})
}

const (
	// maxPending and maxPendingBytes bound what clients may send before their kernel is ready.
	maxPending      = 1000
	maxPendingBytes = 64 << 20
)

// send takes a message from the client session from. It never blocks.
func (k *Kernel) send(from string, m *Message) error {
	if m.Channel == IOPub || m.Channel >= numChannels {
		return fault.New(fault.Invalid, "clients cannot send on the %s channel", m.Channel)
	}
	k.mu.Lock()
	if k.ended {
		k.mu.Unlock()
		return k.hasEnded(fault.Gone)
	}
	tracked := k.open.add(m, from)
	if tracked && m.Header.MsgType == executeRequest {
		k.journal.Note(Asked, from, m)
	}
	if k.state == stateDead {
		end := k.endOpen("the kernel is dead: " + k.reason)
		k.mu.Unlock()
		k.write(end)
		return nil
	}
	if tracked {
		if err := k.makeRoom(m); err != nil {
			k.mu.Unlock()
			return err
		}
	}
	conn := k.readyConn()
	if conn == nil {
		err := k.hold(m)
		k.mu.Unlock()
		return err
	}
	k.mu.Unlock()
	err := conn.Send(m)
	if err == nil {
		k.metrics.sent(m)
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if fault.KindOf(err) == fault.Gone { // the connection has just broken: its successor will send it
		if tracked && k.open.byID[m.Header.MsgID] == nil {
			return nil // the kernel has died of it, and the request was ended in its place
		}
		return k.hold(m)
	}
	k.refuse(m, err)
	return err
}

// makeRoom ends a request in favour of m, or m itself where it is the one too many: then it is Busy. mu is held.
func (k *Kernel) makeRoom(m *Message) error {
	r := k.open.surplus(k.open.byID[m.Header.MsgID])
	switch {
	case r == nil:
		return nil
	case r.id != m.Header.MsgID:
		k.write([]ending{{r.to, r.endings(k.voice, "NoReply", tooManyOpen)}})
		return nil
	}
	err := fault.New(fault.Busy, "%s", tooManyOpen)
	k.write([]ending{{r.to, r.endings(k.voice, "NotSent", tooManyOpen)}})
	return err
}

// tooManyOpen is why a request ends before its answer.
var tooManyOpen = "the kernel has not answered " + strconv.Itoa(maxOpen) + " other requests"

// hold keeps m until a connection is ready. mu is held.
func (k *Kernel) hold(m *Message) error {
	if len(k.pending) >= maxPending || k.pendingB+m.Size() > maxPendingBytes {
		err := fault.New(fault.Busy, "the kernel is not ready, and too many messages wait for it")
		k.refuse(m, err)
		return err
	}
	k.pending = append(k.pending, m)
	k.pendingB += m.Size()
	k.unsent(m)
	return nil
}

// unsent notes that m is not among what goes down with a broken connection. mu is held.
func (k *Kernel) unsent(m *Message) {
	if r := k.open.byID[m.Header.MsgID]; r != nil {
		r.lost = ""
	}
}

// refuse ends the request m, which is not sent: the journal says that it was asked. mu is held.
func (k *Kernel) refuse(m *Message, why error) {
	r := k.open.byID[m.Header.MsgID]
	if r == nil {
		return
	}
	k.open.remove(r)
	if r.kind == executeRequest {
		k.write([]ending{{r.to, r.endings(k.voice, "NotSent", fault.Message(why))}})
	}
}

// readyConn is the connection that takes messages now, or nil. mu is held.
func (k *Kernel) readyConn() *Conn {
	if k.inc != nil && k.inc.ready {
		return k.inc.conn
	}
	return nil
}

// ending is what the server says in a kernel's place to end one request.
type ending struct {
	to   string
	msgs []*Message
}

// endOpen ends every request under way and forgets what still waits; the caller writes the endings down once
// it holds no lock. mu is held.
func (k *Kernel) endOpen(why string) []ending {
	var list []ending
	open := k.open.take()
	blame(open)
	for _, r := range open {
		list = append(list, ending{r.to, r.endings(k.voice, deadKernelError, why)})
	}
	k.pending, k.pendingB = nil, 0
	clear(k.working)
	return list
}

// blame takes the oldest request of the shell for the one in work where none is known to be: its busy status
// may have died with the kernel, and somebody has to be told why nothing comes.
func blame(open []*request) {
	var first *request
	for _, r := range open {
		if r.channel != Shell || r.done {
			continue
		}
		if r.busy {
			return
		}
		if first == nil {
			first = r
		}
	}
	if first != nil {
		first.busy = true
	}
}

// deadKernelError is the ename of the errors that the server reports in the place of a kernel that died.
const deadKernelError = "DeadKernelError"

// write puts endings into the journal: replies for whom they are for, iopub for all.
func (k *Kernel) write(list []ending) {
	for _, e := range list {
		for _, m := range e.msgs {
			if m.Channel == IOPub {
				k.journal.Append("", m)
			} else {
				k.journal.Append(e.to, m)
			}
		}
	}
	k.note(active)
}

// say tells all clients the kernel's state, as a status message without a parent.
func (k *Kernel) say(state string) {
	k.mu.Lock()
	voice := k.voice
	k.mu.Unlock()
	k.journal.Append("", status(voice, state, nil))
	k.note(changed) // of which it tells
}
