package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-zeromq/zmq4"
	"github.com/google/uuid"

	"github.com/nbserv/nbserv/internal/fault"
)

const (
	// maxQueued and maxQueuedBytes bound what waits to be written to one of a kernel's sockets. libzmq's own
	// high-water mark is 1,000 messages; a kernel that is busy for long reads nothing more.
	maxQueued      = 1000
	maxQueuedBytes = 256 << 20
)

// Endpoints are the addresses of a kernel's five sockets, such as ipc:///run/user/1/k-1, and its signing key.
type Endpoints struct {
	Channels  [numChannels]string // by Channel
	Heartbeat string
	Key       []byte
}

// Endpoints are the addresses that a connection file means.
func (c ConnectionInfo) Endpoints() Endpoints {
	ep := Endpoints{Heartbeat: c.Heartbeat(), Key: []byte(c.Key)}
	for ch := range numChannels {
		ep.Channels[ch] = c.Endpoint(ch)
	}
	return ep
}

// Conn is the client end of ONE incarnation of a kernel: shell, iopub, stdin and control, each owned by its
// goroutines. Readers never wait: a stalled reader makes the kernel drop output.
type Conn struct {
	// immutable
	codec   Codec
	hb      string
	deliver func(*Message)
	reject  func(Channel, error)
	socks   [numChannels]*sock // nil for channels that are not connected
	wg      sync.WaitGroup

	readers atomic.Int32  // that still run
	drained chan struct{} // closed when none does: everything the kernel sent has been delivered
	done    chan struct{} // closed when the first socket breaks or Close begins
	once    sync.Once
	err     error // why; written before done is closed
}

// sock is one socket: a zmq4 socket over a guarded link, and the queue of its writer.
type sock struct {
	zmq    zmq4.Socket
	link   *link
	queue  chan *Message // nil for iopub, which is only read
	queued atomic.Int64  // bytes in queue
}

// ConnOptions are what a Conn tells its owner.
type ConnOptions struct {
	// Deliver gets every message, in order per channel, from one goroutine a channel. It must not block.
	Deliver func(*Message)
	// Reject is told of every message that was dropped because it was malformed, wrongly signed or a replay.
	// It must not block. nil ignores them.
	Reject func(Channel, error)
	// Identity names us to the kernel's sockets: what it answers goes to who has it. "" is random.
	Identity string
	// Channels are those to connect; nil is all.
	Channels []Channel
}

// Dial connects to a kernel's sockets, trying again until they are there, and returns once all have shaken
// hands: the kernel may still be starting. ctx bounds the call.
func Dial(ctx context.Context, ep Endpoints, o ConnOptions) (*Conn, error) {
	if err := registerTransports(); err != nil {
		return nil, err
	}
	if o.Reject == nil {
		o.Reject = func(Channel, error) {}
	}
	c := &Conn{codec: NewCodec(ep.Key), hb: ep.Heartbeat, deliver: o.Deliver, reject: o.Reject, done: make(chan struct{}), drained: make(chan struct{})}
	channels := o.Channels
	if channels == nil {
		channels = allChannels
	}
	c.readers.Store(int32(len(channels)))
	// Shell, control and stdin share one identity: that is how input_request finds its way back.
	id := zmq4.SocketIdentity(o.Identity)
	if len(id) == 0 {
		id = zmq4.SocketIdentity(uuid.NewString())
	}
	for _, ch := range channels {
		s, err := dialSock(ctx, ch, ep.Channels[ch], id)
		if err != nil {
			c.abandon()
			return nil, fmt.Errorf("connect to the kernel's %s socket: %w", ch, err)
		}
		c.socks[ch] = s
	}
	for _, ch := range channels {
		s := c.socks[ch]
		c.wg.Go(func() { c.read(ch, s) })
		if s.queue != nil {
			c.wg.Go(func() { c.write(s) })
		}
	}
	return c, nil
}

// allChannels are in the order in which they are connected.
var allChannels = []Channel{Shell, IOPub, Stdin, Control}

// abandon closes the sockets of a Dial that failed.
func (c *Conn) abandon() {
	for _, s := range c.socks {
		if s != nil {
			closeZMQ(s.zmq, s.link)
		}
	}
}

// dialSock makes one zmq4 socket over a guarded link.
func dialSock(ctx context.Context, ch Channel, ep string, id zmq4.SocketIdentity) (*sock, error) {
	s := &sock{}
	if ch == IOPub {
		z, l, err := dialZMQ(ctx, zmq4.NewSub, ep, id, 64<<10, 128)
		if err != nil {
			return nil, err
		}
		if err = z.SetOption(zmq4.OptionSubscribe, ""); err == nil {
			err = l.Flush()
		}
		if err != nil {
			closeZMQ(z, l)
			return nil, err
		}
		s.zmq, s.link = z, l
		return s, nil
	}
	var err error
	s.queue = make(chan *Message, maxQueued)
	s.zmq, s.link, err = dialZMQ(ctx, zmq4.NewDealer, ep, id, 4<<10, 4<<10)
	return s, err
}

// dialZMQ connects a socket within ctx, which zmq4's own handshake would ignore.
func dialZMQ(ctx context.Context, kind func(context.Context, ...zmq4.Option) zmq4.Socket, ep string,
	id zmq4.SocketIdentity, readSize, writeSize int) (zmq4.Socket, *link, error) {
	o := &linkOptions{dial: ctx, readSize: readSize, writeSize: writeSize}
	z := kind(context.WithValue(context.Background(), linkKey{}, o),
		zmq4.WithID(id),
		zmq4.WithDialerMaxRetries(0),                // the transport tries again, within ctx
		zmq4.WithAutomaticReconnect(false),          // it gives up silently; after a restart we dial anew
		zmq4.WithTimeout(math.MaxInt64),             // a timed-out send may still be delivered later
		zmq4.WithLogger(log.New(io.Discard, "", 0)), // its lines have no context; errors come back to us
	)
	err := shakeHands(z, guardedEndpoint(ep))
	if err == nil && !o.link.ready() {
		closeZMQ(z, o.link)
		return nil, nil, context.Cause(ctx)
	}
	if err != nil {
		if o.link != nil {
			o.link.endHandshake()
			_ = o.link.Close()
		}
		_ = z.Close()
		if end, ok := ctx.Deadline(); ok && !time.Now().Before(end) {
			<-ctx.Done() // the network's timer may be a moment ahead of the context's
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, nil, err
	}
	return z, o.link, nil
}

// shakeHands is z.Dial. zmq4 v0.17.0 indexes past the end of a READY command whose properties are cut short.
func shakeHands(z zmq4.Socket, ep string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errFrame, p)
		}
	}()
	return z.Dial(ep)
}

// closeZMQ ends a connected socket whose last error nobody has received yet: zmq4's own reader hands that
// over exactly once, and would wait for ever for somebody to take it.
func closeZMQ(z zmq4.Socket, l *link) {
	_ = l.Close()
	for {
		if _, err := z.Recv(); err != nil {
			break
		}
	}
	_ = z.Close()
}

// read hands on what one socket receives until it breaks.
func (c *Conn) read(ch Channel, s *sock) {
	defer func() {
		if c.readers.Add(-1) == 0 {
			close(c.drained)
		}
	}()
	var seen replays
	for {
		msg, err := s.zmq.Recv()
		if err != nil {
			c.fail(fmt.Errorf("the %s connection ended: %w", ch, err))
			return
		}
		if msg.Type == zmq4.CmdMsg {
			continue
		}
		m, sig, err := c.codec.decode(ch, msg.Frames)
		if err == nil && seen.repeats(sig) {
			err = fault.New(fault.Forbidden, "a message was sent twice with one signature")
		}
		if err != nil {
			c.reject(ch, err)
			continue
		}
		c.deliver(m)
	}
}

// write sends what is queued for one socket. Messages of a burst share a write.
func (c *Conn) write(s *sock) {
	for {
		select {
		case <-c.done:
			return
		case m := <-s.queue:
			err := s.zmq.SendMulti(zmq4.NewMsgFrom(c.codec.Encode(m)...))
			s.queued.Add(-int64(m.Size()))
			if err == nil && len(s.queue) == 0 {
				err = s.link.Flush()
			}
			if err != nil {
				c.fail(fmt.Errorf("write to the kernel: %w", err))
				return
			}
		}
	}
}

// Send puts m on its channel's queue and never blocks: a full queue is Busy, a closed Conn Gone. iopub cannot
// be sent on: Invalid.
func (c *Conn) Send(m *Message) error {
	if m.Channel >= numChannels || c.socks[m.Channel] == nil || c.socks[m.Channel].queue == nil {
		return fault.New(fault.Invalid, "messages cannot be sent on the %s channel", m.Channel)
	}
	select {
	case <-c.done:
		return fault.Wrap(fault.Gone, c.err, "the connection to the kernel has ended")
	default:
	}
	s, size := c.socks[m.Channel], int64(m.Size())
	if s.queued.Add(size) > maxQueuedBytes && size < s.queued.Load() {
		s.queued.Add(-size)
		return fault.New(fault.Busy, "the kernel does not read its %s messages: too many bytes are waiting", m.Channel)
	}
	select {
	case s.queue <- m:
		return nil
	default:
		s.queued.Add(-size)
		return fault.New(fault.Busy, "the kernel does not read its %s messages: %d are waiting", m.Channel, maxQueued)
	}
}

// Beat asks the kernel's heartbeat socket for an echo, over a connection of its own, and returns nil when it
// came before ctx ended.
func (c *Conn) Beat(ctx context.Context) error {
	z, l, err := dialZMQ(ctx, zmq4.NewDealer, c.hb, nil, 512, 128)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	// A DEALER speaks to a REP (or a device in front of one) with an empty delimiter frame.
	ping := []byte("ping")
	err = z.SendMulti(zmq4.NewMsgFrom(nil, ping))
	if err == nil {
		err = l.Flush()
	}
	if err != nil {
		closeZMQ(z, l)
		return err
	}
	msg, err := z.Recv()
	if err != nil {
		_ = l.Close()
		return errors.Join(err, z.Close())
	}
	closeZMQ(z, l)
	if len(msg.Frames) == 0 || !bytes.Equal(msg.Frames[len(msg.Frames)-1], ping) {
		return errors.New("the heartbeat came back changed")
	}
	return nil
}

// Done is closed when a socket has broken or Close began; Err then says why.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Drained is closed when every socket has broken and all that was received before is delivered.
func (c *Conn) Drained() <-chan struct{} { return c.drained }

// Err is why Done was closed; nil before that, and after Close.
func (c *Conn) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

func (c *Conn) fail(err error) {
	c.once.Do(func() {
		c.err = err
		close(c.done)
	})
}

// Close ends the connection and returns when its goroutines are gone; nothing is delivered afterwards.
func (c *Conn) Close() error {
	c.fail(nil)
	for _, s := range c.socks {
		if s != nil {
			_ = s.link.Close()
		}
	}
	c.wg.Wait()
	for _, s := range c.socks {
		if s != nil {
			_ = s.zmq.Close()
		}
	}
	return nil
}

// replayWindow is how many signatures a reader remembers. A replayed message is one of the recent past; the
// reference client remembers 65,536, which would be 4 MiB for each kernel.
const replayWindow = 2048

// replays knows the signatures of the last messages. The zero value is ready; one goroutine uses it.
type replays struct {
	seen map[[16]byte]struct{}
	ring [][16]byte
	next int
}

// repeats notes a signature and reports whether it was there before.
func (r *replays) repeats(sig []byte) bool {
	if len(sig) < 16 {
		return false // an unsigned connection
	}
	key := [16]byte(sig)
	if _, ok := r.seen[key]; ok {
		return true
	}
	if r.seen == nil {
		r.seen = make(map[[16]byte]struct{})
	}
	r.seen[key] = struct{}{}
	if len(r.ring) < replayWindow {
		r.ring = append(r.ring, key)
		return false
	}
	delete(r.seen, r.ring[r.next])
	r.ring[r.next] = key
	r.next = (r.next + 1) % replayWindow
	return false
}
