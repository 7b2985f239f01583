package remote

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

const (
	// windowBytes is how much is sent to a server before it says what was delivered: enough to keep a connection
	// full, little enough to be kept in the journal until it is confirmed, and in the server when a browser is slow.
	windowBytes = 1 << 20
	// batchBytes is about how much is written at once.
	batchBytes = 256 << 10
	// batchEntries is how many entries are taken from the journal at once. Each client has room for them.
	batchEntries = 64
)

// stream is one client of a kernel whose frontend is at a server.
type stream struct {
	// immutable
	s      *Server
	h      kernel.Host
	id     string
	p      *pipe
	client kernel.Client

	mu        sync.Mutex
	underway  []mark        // guarded by mu: batches that were not confirmed, oldest first
	size      int           // guarded by mu: of them together
	confirmed chan struct{} // holds a token once there may be room
}

// mark is a batch that was sent: confirmed when everything up to seq is.
type mark struct {
	seq  uint64
	size int
}

// client attaches a frontend and serves it until its server leaves.
func (s *Server) client(h kernel.Host, w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		failed(w, fault.New(fault.Busy, "the kernel host is stopping"))
		return
	}
	defer s.streams.Done()
	var o kernel.AttachOptions
	if err := json.Unmarshal([]byte(r.URL.Query().Get("options")), &o); err != nil {
		failed(w, fault.Wrap(fault.Invalid, err, "malformed options"))
		return
	}
	o.Confirm = true
	id := r.URL.Query().Get("id")
	c, err := h.Attach(id, o)
	if err != nil {
		s.fail(w, r.URL.Path, err)
		return
	}
	defer c.Detach()
	p, err := hijack(w, r)
	if err != nil {
		failed(w, err)
		return
	}
	st := &stream{s: s, h: h, id: id, p: p, client: c, confirmed: make(chan struct{}, 1)}
	st.run()
}

// run serves the stream. It ends when the server has left, whatever the kernel does: what the server has said by then
// is read to the end, for it tells what was delivered.
func (s *stream) run() {
	ctx, cancel := context.WithCancel(s.s.end)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = s.p.conn.Close() })
	defer stop()
	var writer sync.WaitGroup
	writer.Go(func() { s.write(ctx) })
	s.read()
	cancel()
	writer.Wait()
	s.p.close()
}

// read takes what the server says, until it leaves.
func (s *stream) read() {
	for {
		frames, err := s.p.read(nil)
		if err != nil {
			return
		}
		for len(frames) > 0 {
			kind, payload, rest, _, _ := cutFrame(frames) // whole and well-formed: read saw to it
			frames = rest
			if err := s.take(kind, payload); err != nil {
				s.s.log.Warn("a server broke the protocol", "kernel_id", s.id, "err", err)
				return
			}
		}
	}
}

func (s *stream) take(kind frameKind, payload []byte) error {
	switch kind {
	case frameMessage:
		e, err := decodeEntry(payload)
		if err != nil || e.Message == nil {
			return errFrame
		}
		if err := s.client.Send(e.Message); err != nil {
			s.refuse(err)
		}
	case frameUnsettled:
		e, err := decodeEntry(payload)
		if err != nil || e.Message == nil {
			return errFrame
		}
		if c, ok := s.client.(interface{ Unsettled(*kernel.Message) }); ok {
			c.Unsettled(e.Message)
		}
	case frameConfirm:
		seq, err := decodeNumber(payload)
		if err != nil {
			return err
		}
		s.client.Confirm(seq)
		s.taken(seq)
	case frameTaken:
		seq, err := decodeNumber(payload)
		if err != nil {
			return err
		}
		s.taken(seq)
	default:
		return errFrame
	}
	return nil
}

// refuse tells the server why its message was not taken.
func (s *stream) refuse(err error) {
	o := newOutbox()
	defer o.free()
	o.json(frameRefused, newWireFault(err))
	_ = s.p.write(o) // a server that has gone needs no answer
}

// taken makes room for what follows.
func (s *stream) taken(seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.underway) > 0 && s.underway[0].seq <= seq {
		s.size -= s.underway[0].size
		s.underway = s.underway[1:]
	}
	select {
	case s.confirmed <- struct{}{}:
	default:
	}
}

// room waits until no more than windowBytes are under way.
func (s *stream) room(ctx context.Context) bool {
	for {
		s.mu.Lock()
		free := s.size < windowBytes
		s.mu.Unlock()
		if free {
			return true
		}
		select {
		case <-s.confirmed:
		case <-ctx.Done():
			return false
		}
	}
}

// sent notes a batch.
func (s *stream) sent(seq uint64, size int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.underway) == 0 {
		s.underway = nil // its array has moved on
	}
	s.underway = append(s.underway, mark{seq, size})
	s.size += size
}

// write carries the journal's entries to the server.
func (s *stream) write(ctx context.Context) {
	var said state
	if err := s.greet(&said); err != nil {
		return
	}
	var batch [batchEntries]kernel.Entry
	most := len(batch)
	for s.room(ctx) {
		n, err := s.client.Next(ctx, batch[:most])
		if ctx.Err() != nil {
			return // this process ends, not the client
		}
		if err != nil {
			s.bye(err)
			return
		}
		size, err := s.send(batch[:n], &said)
		if err != nil {
			return // read sees the end, too
		}
		clear(batch[:n]) // or an idle connection would keep its last messages alive
		if most = min(2*most, len(batch)); size > batchBytes {
			most = max(1, n*batchBytes/size)
		}
	}
}

// greet says where the client begins.
func (s *stream) greet(said *state) error {
	o := newOutbox()
	defer o.free()
	first := attached{Position: s.client.Position()}
	if st, err := s.h.Get(s.id); err == nil {
		first.Status, *said = &st, stateOf(st)
	}
	o.json(frameAttached, first)
	return s.p.write(o)
}

// send writes a batch, in front of it the kernel's state if the server does not know it: who has read that a kernel
// is idle may ask whether it is.
func (s *stream) send(batch []kernel.Entry, said *state) (size int, err error) {
	position := s.client.Position().Seq
	o := newOutbox()
	defer o.free()
	if st, err := s.h.Get(s.id); err == nil {
		if now := stateOf(st); !now.same(*said) {
			o.state(now)
			*said = now
		}
	}
	for i, e := range batch {
		if e.Gap != nil {
			o.json(frameGap, e)
		} else {
			o.entry(frameEntry, e)
		}
		if i+1 < len(batch) && o.full() {
			size += o.size
			if err := s.p.write(o); err != nil {
				return size, err
			}
			o.reset()
		}
	}
	o.number(framePosition, position)
	size += o.size
	s.sent(position, size)
	return size, s.p.write(o)
}

// bye tells the server why nothing follows.
func (s *stream) bye(err error) {
	o := newOutbox()
	defer o.free()
	if st, e := s.h.Get(s.id); e == nil {
		o.state(stateOf(st))
	}
	o.json(frameEnd, newWireFault(err))
	_ = s.p.write(o)
}
