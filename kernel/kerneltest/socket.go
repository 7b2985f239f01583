package kerneltest

import (
	"bufio"
	"bytes"
	"errors"
	"io/fs"
	"net"
	"os"
	"sync"
	"time"
)

// Accept is what a socket does with a new connection.
type Accept string

// The ways to accept. The zero Accept is the polite one.
const (
	AcceptNormally Accept = ""
	AcceptSilent   Accept = "silent"  // says nothing, for ever
	AcceptGarbage  Accept = "garbage" // sends 64 bytes that are no greeting
	AcceptHalf     Accept = "half"    // sends half a greeting, then nothing
	AcceptClose    Accept = "close"   // closes at once
	AcceptHuge     Accept = "huge"    // greets, then sends a READY command that claims 2^62 bytes
)

const (
	readBuffer = 64 << 10
	// drainTimeout bounds how long a graceful end waits for clients to take the last bytes: libzmq's
	// linger in ipykernel.
	drainTimeout = time.Second
)

// socket is one bound ZMQ socket of a kernel with all its connections.
type socket struct {
	// immutable
	kind    string // ZMTP's socket type
	accept  Accept
	hwm     int                            // see outbox
	receive func(p *peer, frames [][]byte) // called from the connection's reader
	// subscribed is told of each topic that nobody subscribed to before: an XPUB that is not verbose.
	subscribed func(topic []byte)
	ln         net.Listener

	wg sync.WaitGroup

	pubMu   sync.Mutex // makes the order of messages the same for all subscribers; taken before mu
	targets []*peer    // guarded by pubMu

	mu sync.Mutex
	// guarded by mu
	peers  map[*peer]struct{}
	byID   map[string]*peer
	topics map[string]int // over all peers
	closed bool
	lost   int // messages dropped for peers that are gone
}

// peer is one connection to a socket.
type peer struct {
	// immutable
	identity string
	conn     net.Conn
	out      *outbox

	topics map[string]int // guarded by socket.mu
}

// listen binds an endpoint ("tcp" with host:port, "ipc" with a path). A socket file that a dead kernel left
// behind is replaced, as libzmq does.
func listen(transport, address string) (net.Listener, error) {
	if transport == "tcp" {
		return net.Listen("tcp", address)
	}
	fi, err := os.Lstat(address)
	if err == nil && fi.Mode().Type() == fs.ModeSocket {
		if err := os.Remove(address); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return net.Listen("unix", address)
}

// serve accepts until the listener is closed.
func (s *socket) serve() {
	for {
		conn, err := s.ln.Accept()
		if err != nil {
			return
		}
		p := &peer{conn: conn, out: newOutbox(s.hwm), topics: map[string]int{}}
		if !s.add(p) {
			conn.Close()
			return
		}
		s.wg.Go(func() { s.handle(p) })
	}
}

func (s *socket) add(p *peer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.peers[p] = struct{}{}
	return true
}

// handle is the life of one connection.
func (s *socket) handle(p *peer) {
	defer s.remove(p)
	defer p.conn.Close()
	br := bufio.NewReaderSize(p.conn, readBuffer)
	if s.accept != AcceptNormally {
		s.misbehave(p, br)
		return
	}
	identity, err := greet(p.conn, br, s.kind)
	if err != nil {
		return
	}
	s.identify(p, identity)
	if _, err := p.conn.Write(ready(s.kind)); err != nil {
		return
	}
	var writer sync.WaitGroup
	writer.Go(func() {
		p.out.writeTo(p.conn)
		p.conn.Close()
	})
	s.read(p, br)
	p.out.close()
	writer.Wait()
}

// identify makes the newest connection the one that an identity names (ROUTER_HANDOVER, as in ipykernel).
func (s *socket) identify(p *peer, identity string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.identity = identity
	if _, ok := s.peers[p]; ok && identity != "" {
		s.byID[identity] = p
	}
}

// remove forgets a connection: its place, its identity and its subscriptions. Idempotent.
func (s *socket) remove(p *peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.peers[p]; !ok {
		return
	}
	delete(s.peers, p)
	if s.byID[p.identity] == p {
		delete(s.byID, p.identity)
	}
	for topic := range p.topics {
		s.forget(topic)
	}
	s.lost += p.out.drops()
}

// forget counts one peer less for topic. mu is held.
func (s *socket) forget(topic string) {
	if s.topics[topic]--; s.topics[topic] == 0 {
		delete(s.topics, topic)
	}
}

func (s *socket) read(p *peer, br *bufio.Reader) {
	for {
		frames, command, err := readMessage(br)
		switch {
		case err != nil:
			return
		case command:
			s.command(p, frames[0])
		case s.publishes():
			s.subscription(p, frames[0])
		default:
			s.receive(p, frames)
		}
	}
}

// sendRaw writes bytes that are no frames to every peer.
func (s *socket) sendRaw(b []byte) {
	for _, p := range s.all() {
		p.out.pushRaw(b)
	}
}

// peer finds the connection that an identity names, nil if there is none.
func (s *socket) peer(identity string) *peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byID[identity]
}

func (s *socket) all() []*peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*peer, 0, len(s.peers))
	for p := range s.peers {
		all = append(all, p)
	}
	return all
}

// dropped counts the messages that no peer got because of hwm.
func (s *socket) dropped() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.lost
	for p := range s.peers {
		n += p.out.drops()
	}
	return n
}

// disconnect cuts all connections; new ones are accepted. Forgetting comes first, so that whoever connects
// again upon the cut is subscribed anew and welcomed.
func (s *socket) disconnect() {
	for _, p := range s.all() {
		s.remove(p)
		p.out.close()
		p.conn.Close()
	}
}

// close ends the socket and waits for its goroutines; gracefully means that what is queued is written first.
func (s *socket) close(gracefully bool) {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.ln.Close()
	for _, p := range s.all() {
		if gracefully && s.accept == AcceptNormally {
			p.conn.SetDeadline(time.Now().Add(drainTimeout))
			p.out.drain()
			continue
		}
		p.out.close()
		p.conn.Close()
	}
	s.wg.Wait()
}

// misbehave greets as Accept says and then waits for the peer to go.
func (s *socket) misbehave(p *peer, br *bufio.Reader) {
	switch s.accept {
	case AcceptGarbage:
		p.conn.Write(bytes.Repeat([]byte("garbage!"), greetingLen/8))
	case AcceptHalf:
		p.conn.Write(greeting()[:greetingLen/2])
	case AcceptHuge:
		p.conn.Write(append(greeting(), hugeFrame(flagCommand)...))
	case AcceptClose:
		return
	}
	for {
		if _, err := br.Discard(readBuffer); err != nil {
			return
		}
	}
}

// hugeFrame is the header of a frame that claims 2^62 bytes, and the first few of them.
func hugeFrame(flags byte) []byte {
	return append(appendFrameHeader(nil, flags, 1<<62), "and so on"...)
}
