package events

import (
	"encoding/json"
	"log/slog"
	"sync"

	"github.com/nbserv/nbserv/internal/fault"
)

const (
	// maxQueued bounds what waits for one subscriber: more than a burst of a page's requests makes.
	maxQueued = 1000
	// maxSubscribers bounds a server's subscribers. A page is one.
	maxSubscribers = 10_000
)

// Bus hands events to their subscribers. Safe for concurrent use.
type Bus struct {
	// immutable
	schemas map[string]schema
	log     *slog.Logger

	mu     sync.Mutex // guards the rest
	subs   map[*subscriber]struct{}
	closed bool
	open   sync.WaitGroup // subscribers that have not left
}

// subscriber gets events over a channel that is closed when it is too slow, or the Bus ends.
type subscriber struct {
	events chan []byte
	slow   bool // guarded by the bus's mu
}

// NewBus makes a Bus that knows the server's own schemas and those in schemaDir; "" is none.
func NewBus(schemaDir string, log *slog.Logger) (*Bus, error) {
	schemas, err := load(schemaDir)
	if err != nil {
		return nil, err
	}
	return &Bus{schemas: schemas, log: log, subs: make(map[*subscriber]struct{})}, nil
}

// Emit tells subscribers that data happened, an object that the schema allows. It never blocks. Without subscribers it
// costs nothing. Invalid is an unknown schema, or data that it does not allow.
func (b *Bus) Emit(schemaID string, data json.RawMessage) error {
	s, ok := b.schemas[schemaID]
	if !ok {
		return fault.New(fault.Invalid, "schema_id: no such schema is registered")
	}
	if err := s.check(data); err != nil {
		return err
	}
	b.send(capsule(schemaID, data))
	return nil
}

// Tell is Emit for the server's own events, made only when somebody listens. An event that does not fit its schema
// is a defect, and logged.
func (b *Bus) Tell(schemaID string, event any) {
	b.mu.Lock()
	listening := len(b.subs) > 0
	b.mu.Unlock()
	if !listening {
		return
	}
	data, err := json.Marshal(event)
	if err == nil {
		err = b.Emit(schemaID, data)
	}
	if err != nil {
		b.log.Error("cannot tell an event", "err", err)
	}
}

// capsule is an event as subscribers get it: the event's own fields, and the name of its schema.
func capsule(schemaID string, data json.RawMessage) []byte {
	name, _ := json.Marshal(schemaID) // a string
	fields := map[string]json.RawMessage{}
	_ = json.Unmarshal(data, &fields) // it is an object: its schema says so
	fields["schema_id"] = name
	text, _ := json.Marshal(fields) // they were read from JSON
	return text
}

func (b *Bus) send(event []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.subs {
		select {
		case s.events <- event:
		default:
			s.slow = true
			b.drop(s)
		}
	}
}

// drop ends s. mu is held.
func (b *Bus) drop(s *subscriber) {
	delete(b.subs, s)
	close(s.events)
}

func (b *Bus) subscribe() (*subscriber, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return nil, fault.New(fault.Busy, "the server is stopping")
	case len(b.subs) >= maxSubscribers:
		return nil, fault.New(fault.Busy, "%d clients subscribe already, which is the limit", len(b.subs))
	}
	s := &subscriber{events: make(chan []byte, maxQueued)}
	b.subs[s] = struct{}{}
	b.open.Add(1)
	return s, nil
}

func (b *Bus) leave(s *subscriber) {
	b.mu.Lock()
	if _, ok := b.subs[s]; ok {
		b.drop(s)
	}
	b.mu.Unlock()
	b.open.Done()
}

// end says why s's channel was closed.
func (b *Bus) end(s *subscriber) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.slow {
		return fault.New(fault.Busy, "the client is too far behind")
	}
	return fault.New(fault.Canceled, "the server is stopping")
}

// Close ends all subscriptions, takes no new ones, and returns when their WebSockets are gone.
func (b *Bus) Close() {
	b.mu.Lock()
	b.closed = true
	for s := range b.subs {
		b.drop(s)
	}
	b.mu.Unlock()
	b.open.Wait()
}
