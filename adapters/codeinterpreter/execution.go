package codeinterpreter

import (
	"context"
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

// execution is one piece of code in a session. Safe for concurrent use.
type execution struct {
	// immutable
	session   *session
	id        string
	seq       int64
	request   request
	hash      [sha256.Size]byte // of the request
	created   time.Time
	kept      bool          // in the database, too
	begun     chan struct{} // closed when it runs, or ends without
	done      chan struct{} // closed when it has ended
	cancelled chan struct{} // closed when somebody wants its end

	size int // guarded by the session's mu: of its outcome

	mu       sync.Mutex // guards the rest
	state    state
	run      runRow
	end      uint64 // the place in the journal after which nothing of it comes; 0 when that is not known
	finished time.Time
	outcome  *outcome // nil before the end, and where only the database has it
	err      error    // why there is no outcome: the server's trouble, not the code's
	wanted   bool     // cancelled is closed
}

func (s *session) newExecution(id string, req request) *execution {
	return &execution{
		session: s, id: id, request: req, hash: sha256.Sum256(encode(req)), created: time.Now().UTC().Truncate(time.Microsecond),
		begun: make(chan struct{}), done: make(chan struct{}), cancelled: make(chan struct{}), state: notStarted,
	}
}

// submit queues an execution. key is the id that the client chose: an execution that is there under it is given
// instead, when its request is the same, else the fault is Conflict. "" makes an id. Faults: TooMany when the queue
// is full, Busy when the server is stopping.
func (s *session) submit(ctx context.Context, key string, req request) (*execution, error) {
	id := key
	if id == "" {
		id = uuid.NewString()
	}
	e := s.newExecution(id, req)
	e.kept = key != "" || req.Async
	if same, err := s.enter(e); same != nil || err != nil {
		return same, err
	}
	if e.kept { // what is acknowledged survives the server (P2)
		err := s.pool.of.table.addExecution(ctx, executionRow{
			sessionID: s.id, id: id, seq: e.seq, hash: e.hash[:], request: req, state: notStarted, created: e.created,
		})
		if err != nil {
			s.leave(e, err)
			return nil, err
		}
	}
	if err := s.enqueue(e); err != nil {
		s.leave(e, err)
		if e.kept {
			_ = s.pool.of.table.dropExecution(context.WithoutCancel(ctx), s.id, id) // else the next server runs it
		}
		return nil, err
	}
	return e, nil
}

// enter puts e on the list of the session's executions, or gives the one that is there under its id.
func (s *session) enter(e *execution) (same *execution, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.executions[e.id]; old != nil {
		if old.hash != e.hash {
			return nil, coded("OperationIdConflict", fault.New(fault.Conflict, "operation %s was another request: an id stands for one", e.id))
		}
		return old, nil
	}
	switch {
	case s.ending:
		return nil, fault.New(fault.Gone, "the session was deleted")
	case len(s.queue) >= s.pool.Queue:
		s.pool.fullQueues.Inc()
		return nil, coded("SessionBusy", fault.New(fault.TooMany, "%d executions wait for this session already, which is the limit", len(s.queue)))
	case len(s.executions) >= maxKept:
		return nil, fault.New(fault.TooMany, "the session has %d executions that are remembered, which is the limit", len(s.executions))
	}
	s.seq++
	e.seq = s.seq
	s.executions[e.id] = e
	return nil, nil
}

// leave takes e off the list: it never was. Who has joined it meanwhile learns why.
func (s *session) leave(e *execution, why error) {
	s.mu.Lock()
	delete(s.executions, e.id)
	s.mu.Unlock()
	e.fail(why)
}

// enqueue puts e into the queue, and asks for somebody to work on it.
func (s *session) enqueue(e *execution) error {
	s.mu.Lock()
	if s.ending {
		s.mu.Unlock()
		return fault.New(fault.Gone, "the session was deleted")
	}
	s.queue = append(s.queue, e)
	idle := !s.running
	s.running = true
	s.mu.Unlock()
	if !idle {
		return nil
	}
	select {
	case s.pool.of.work <- s:
		return nil
	case <-s.pool.of.stopped:
	}
	s.mu.Lock()
	others := slices.DeleteFunc(s.queue, func(q *execution) bool { return q == e })
	s.queue, s.running = nil, false
	s.mu.Unlock()
	for _, q := range others {
		q.fail(errStopping)
	}
	return errStopping
}

// cancel ends an execution: one that waits at once, one that runs by interrupting it. ended tells that it had ended.
func (s *session) cancel(e *execution) (ended bool) {
	s.mu.Lock()
	i := slices.Index(s.queue, e)
	if i >= 0 {
		s.queue = slices.Delete(s.queue, i, i+1)
	}
	s.mu.Unlock()
	if i < 0 {
		return e.cancel()
	}
	e.finish(&outcome{State: canceled, Error: &apiError{codeCanceled, "it was cancelled before it began"}})
	return false
}

// execution finds an execution by its id.
func (s *session) execution(id string) (*execution, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.executions[id]; e != nil {
		return e, nil
	}
	return nil, coded("ExecutionNotFound", fault.New(fault.NotFound, "there is no execution %q in this session", id))
}

// restore makes an execution of an earlier server's.
func (s *session) restore(r executionRow) *execution {
	e := s.newExecution(r.id, r.request)
	e.seq, e.created, e.kept, e.state, e.run = r.seq, r.created, true, r.state, r.run
	s.seq = max(s.seq, r.seq)
	s.executions[r.id] = e
	if e.state.ended() {
		e.finished = time.Now()
		close(e.begun)
		close(e.done)
	}
	return e
}

// stub is an ended execution whose outcome only the database has.
func (e *execution) stub() *execution {
	e.mu.Lock()
	defer e.mu.Unlock()
	return &execution{
		session: e.session, id: e.id, seq: e.seq, request: e.request, hash: e.hash, created: e.created, kept: true, begun: e.begun, done: e.done,
		cancelled: e.cancelled, state: e.state, run: e.run, end: e.end, finished: e.finished, wanted: true,
	}
}

// snapshot gives the execution as it is now, with its outcome when it has ended. The error is the one for which there
// is no outcome.
func (e *execution) snapshot(ctx context.Context) (snapshot, error) {
	e.mu.Lock()
	s := snapshot{
		id: e.id, identifier: e.session.identifier, sessionID: e.session.id, request: e.request, state: e.state, created: e.created, outcome: e.outcome,
	}
	err := e.err
	e.mu.Unlock()
	if err == nil && s.outcome == nil && s.state.ended() {
		s.outcome, err = e.session.pool.of.table.outcome(ctx, e.session.id, e.id)
	}
	return s, err
}

func (e *execution) endedAt() (time.Time, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.finished, e.state.ended()
}

// begin notes that e runs.
func (e *execution) begin(ctx context.Context, run runRow) error {
	e.mu.Lock()
	e.state, e.run = running, run
	e.mu.Unlock()
	var err error
	if e.kept {
		err = e.session.pool.of.table.beginExecution(ctx, e.session.id, e.id, run)
	}
	close(e.begun)
	return err
}

// where tells under which client session e runs in which kernel, from which place on, and where it ends.
func (e *execution) where() (run runRow, end uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.run, e.end
}

// reach notes up to which place of the journal e was read.
func (e *execution) reach(seq uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.end = max(e.end, seq)
}

// finish notes what e came to, first in the database: what a client reads it can read again (P2).
func (e *execution) finish(o *outcome) {
	if e.kept {
		// Not bounded by the server's stop: it takes a moment.
		if err := e.session.pool.of.table.endExecution(context.Background(), e.session.id, e.id, o); err != nil {
			e.session.pool.of.cfg.Logger.Error("cannot keep the outcome of an execution", "session_id", e.session.id, "err", err)
		}
	}
	e.mu.Lock()
	if e.state == notStarted {
		close(e.begun)
	}
	e.state, e.outcome, e.finished = o.State, o, time.Now()
	e.mu.Unlock()
	e.session.pool.ended[o.State].Inc()
	close(e.done)
	e.session.remember(e, len(o.Stdout)+len(o.Stderr)+len(encode(o.Outputs)))
}

// fail notes that e has no outcome, and why. The database is left as it is: a later server may know better.
func (e *execution) fail(why error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.state == notStarted {
		close(e.begun)
	}
	e.err = why
	close(e.done)
}

// cancel asks for e's end; ended tells that it had ended before.
func (e *execution) cancel() (ended bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.state.ended() || e.err != nil {
		return true
	}
	if !e.wanted {
		e.wanted = true
		close(e.cancelled)
	}
	return false
}

// wait waits until e has ended.
func (e *execution) wait(ctx context.Context) error {
	select {
	case <-e.done:
		return nil
	case <-ctx.Done():
		return fault.Wrap(fault.Canceled, context.Cause(ctx), "the client has gone")
	}
}

// observed gives the kernel's journal to somebody who wants e's messages, from p on, or from its beginning.
func (e *execution) observed(p *kernel.Position) (kernel.Client, error) {
	run, _ := e.where()
	from := run.position
	if p != nil {
		from = *p
	}
	return e.session.pool.of.host.Attach(run.kernelID, kernel.AttachOptions{Observe: true, Since: &from})
}
