package kerneltest

import (
	"crypto/rand"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/nbserv/nbserv/kernel"
)

// queueLen is how many requests a channel holds before it stops reading: libzmq's high-water mark.
const queueLen = 1000

// killed is the end of a process by SIGKILL.
var killed = kernel.Exit{Code: -1, Signal: syscall.SIGKILL}

// Kernel is one running scripted kernel. All methods are safe for concurrent use.
type Kernel struct {
	// immutable
	opts    Options
	file    string
	conn    connection
	codec   kernel.Codec
	session string
	sockets map[string]*socket // by name; empty if Startup binds none
	queues  [2]chan *Request   // shell, control
	inputs  chan string        // values of input_reply
	ending  chan struct{}      // closed when the kernel ends
	done    chan struct{}      // closed when it has ended

	messages atomic.Uint64 // numbers msg_ids
	hung     atomic.Bool   // control is dead, signals are ignored
	deaf     atomic.Bool   // the heartbeat too

	mu sync.Mutex
	// guarded by mu
	current    *Request // the shell request in work
	exit       kernel.Exit
	graceful   bool
	ended      bool
	executions int // the execution count

	abort int // owned by the shell goroutine: how many of the next requests to abort
}

// Serve starts a kernel on the endpoints of a connection file and returns when its sockets are bound. Ports
// of 0 are chosen and the file rewritten.
func Serve(connectionFile string, o Options) (*Kernel, error) {
	conn, err := readConnection(connectionFile)
	if err != nil {
		return nil, err
	}
	k := &Kernel{
		opts:    o,
		file:    connectionFile,
		conn:    conn,
		codec:   kernel.NewCodec([]byte(conn.key)),
		session: rand.Text(),
		sockets: map[string]*socket{},
		queues:  [2]chan *Request{make(chan *Request, queueLen), make(chan *Request, queueLen)},
		inputs:  make(chan string, 1),
		ending:  make(chan struct{}),
		done:    make(chan struct{}),
	}
	if o.Startup == StartupNormal {
		if err := k.bind(); err != nil {
			return nil, err
		}
	}
	var workers sync.WaitGroup
	for _, queue := range k.queues {
		workers.Go(func() { k.work(queue) })
	}
	for _, s := range k.sockets {
		s.wg.Go(s.serve)
	}
	go k.supervise(&workers) // Close and Done wait for it
	if o.Startup == StartupDead {
		k.end(kernel.Exit{Code: 1, Stderr: "synthkernel: told to die at start\n"}, false)
	}
	return k, nil
}

func (k *Kernel) bind() error {
	listeners, chose, err := k.conn.bind()
	if err != nil {
		return err
	}
	for name, ln := range listeners {
		k.sockets[name] = k.newSocket(name)
		k.sockets[name].ln = ln
	}
	if chose {
		return k.conn.write(k.file)
	}
	return nil
}

func (k *Kernel) newSocket(name string) *socket {
	s := &socket{
		kind:   "ROUTER",
		accept: k.opts.Accept[name],
		peers:  map[*peer]struct{}{},
		byID:   map[string]*peer{},
		topics: map[string]int{},
	}
	switch name {
	case "shell":
		s.receive = k.receiver(kernel.Shell, k.queues[0])
	case "control":
		s.receive = k.receiver(kernel.Control, k.queues[1])
	case "stdin":
		s.receive = k.input
	case "hb":
		s.receive = k.beat
	case "iopub":
		s.hwm = k.opts.HWM
		s.kind = "XPUB"
		s.subscribed = k.welcome
		if k.opts.NoWelcome {
			s.kind, s.subscribed = "PUB", nil
		}
	}
	return s
}

// supervise ends everything once the kernel is told to end.
func (k *Kernel) supervise(workers *sync.WaitGroup) {
	<-k.ending
	k.mu.Lock()
	graceful := k.graceful
	k.mu.Unlock()
	// At the same time, because a worker may wait for a subscriber of iopub, and a reader for a worker.
	var closing sync.WaitGroup
	for _, s := range k.sockets {
		closing.Go(func() { s.close(graceful) })
	}
	closing.Wait()
	workers.Wait()
	close(k.done)
}

// end ends the kernel once; later calls do nothing.
func (k *Kernel) end(e kernel.Exit, graceful bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ended {
		return
	}
	k.exit, k.graceful, k.ended = e, graceful, true
	close(k.ending)
	if k.current != nil {
		k.current.interrupt() // what a Script waits for
	}
}

// ConnectionFile is the path of the file the kernel serves.
func (k *Kernel) ConnectionFile() string { return k.file }

// Key is the connection file's key.
func (k *Kernel) Key() string { return k.conn.key }

// Endpoint is a socket's address as ZMQ writes it; name is shell, iopub, stdin, control or hb.
func (k *Kernel) Endpoint(name string) string {
	return k.conn.transport + "://" + k.conn.address(name)
}

// Done is closed when the kernel has ended and all its goroutines are gone.
func (k *Kernel) Done() <-chan struct{} { return k.done }

// Exit tells how it ended; valid once Done is closed.
func (k *Kernel) Exit() kernel.Exit {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.exit
}

// Dropped counts the iopub messages that subscribers did not get because of Options.HWM.
func (k *Kernel) Dropped() int {
	if s := k.sockets["iopub"]; s != nil {
		return s.dropped()
	}
	return 0
}

// Queued counts the shell requests that wait behind the one in work.
func (k *Kernel) Queued() int { return len(k.queues[0]) }

// Executions is how many executions that count have begun.
func (k *Kernel) Executions() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.executions
}

// Idle reports whether no shell request is in work or waits.
func (k *Kernel) Idle() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.current == nil && k.Queued() == 0
}

// Hung reports whether the command hang or hang-all is at work.
func (k *Kernel) Hung() bool { return k.hung.Load() }

// Interrupt does what SIGINT does: it ends the shell request in work, if there is one. A hung kernel ignores it.
func (k *Kernel) Interrupt() {
	if k.hung.Load() {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if r := k.current; r != nil {
		r.interrupt()
	}
}

// Terminate does what SIGTERM does: the kernel dies of it, unless it hangs.
func (k *Kernel) Terminate() {
	if !k.hung.Load() {
		k.end(kernel.Exit{Code: -1, Signal: syscall.SIGTERM}, false)
	}
}

// Die ends the kernel at once, connections cut, as if its process had ended this way.
func (k *Kernel) Die(e kernel.Exit) { k.end(e, false) }

// Disconnect cuts all connections of the sockets named, of all sockets without a name; the kernel lives on.
func (k *Kernel) Disconnect(names ...string) {
	for name, s := range k.sockets {
		if len(names) == 0 {
			s.disconnect()
		}
		for _, n := range names {
			if n == name {
				s.disconnect()
			}
		}
	}
}

// Close kills the kernel and returns when its goroutines are gone. Idempotent.
func (k *Kernel) Close() {
	k.end(killed, false)
	<-k.done
}

// receiver makes requests of messages; what is malformed or wrongly signed is ignored, as kernels do.
func (k *Kernel) receiver(ch kernel.Channel, queue chan<- *Request) func(*peer, [][]byte) {
	return func(p *peer, frames [][]byte) {
		m, err := k.codec.Decode(ch, frames)
		if err != nil {
			return
		}
		select {
		case queue <- newRequest(k, p, m):
		case <-k.ending:
		}
	}
}

// beat echoes what a heartbeat client sends.
func (k *Kernel) beat(p *peer, frames [][]byte) {
	if !k.deaf.Load() {
		p.out.push(frames)
	}
}

// work handles one channel's requests in their order.
func (k *Kernel) work(queue <-chan *Request) {
	for {
		select {
		case r := <-queue:
			if k.isEnding() { // of two ready cases either may be chosen, and the dead do not work
				return
			}
			k.handle(r)
		case <-k.ending:
			return
		}
	}
}

func (k *Kernel) isEnding() bool {
	select {
	case <-k.ending:
		return true
	default:
		return false
	}
}

// handle brackets one request with busy and idle.
func (k *Kernel) handle(r *Request) {
	if r.Channel == kernel.Control && k.hung.Load() {
		return
	}
	if r.Channel == kernel.Shell {
		k.setCurrent(r)
		defer k.setCurrent(nil)
	}
	r.Publish("status", busy)
	if k.aborting(r) {
		r.Reply(map[string]string{"status": "aborted"})
	} else {
		r.run()
	}
	r.Idle()
	if r.Type == "shutdown_request" && r.replied {
		k.end(kernel.Exit{}, true)
	}
}

// aborting reports whether r is an execution that was queued when an earlier one failed.
func (k *Kernel) aborting(r *Request) bool {
	if r.Channel != kernel.Shell || k.abort == 0 {
		return false
	}
	k.abort--
	return r.Type == "execute_request"
}

func (k *Kernel) setCurrent(r *Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.current = r
}
