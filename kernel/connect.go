package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
)

const (
	// maxBreaks is how often in a row a connection may break under a living process before that is ended. One that
	// held for Config.StableAfter begins a new row.
	maxBreaks = 3
	// exitGrace is how long a broken connection waits for its process to be the one that ended.
	exitGrace = time.Second
	// renudge is when the server asks again, where a reply came but its idle status did not: the
	// subscription was late.
	renudge = 50 * time.Millisecond
	// firstRenudge and lastRenudge are when the server asks again where nothing came, doubling in between.
	// Most kernels are still starting then, and have the request; but rapaio 3.0 opens its sockets before it
	// knows any message, and throws away what comes first.
	firstRenudge = 250 * time.Millisecond
	lastRenudge  = 2 * time.Second
	// settling is what a kernel that is not known well gets between opening its sockets and our first request,
	// unless it says before that it is ready: one that comes still earlier ends rapaio's shell thread.
	settling = 200 * time.Millisecond
)

// connect keeps inc connected until ctx ends, which is when its process has. A kernel that does not open its
// sockets, does not answer, or breaks the protocol again and again is ended.
func (k *Kernel) connect(ctx context.Context, inc *incarnation) {
	<-k.restored
	for breaks := 0; ; breaks++ {
		began := time.Now()
		k.mu.Lock()
		again := inc.served
		k.mu.Unlock()
		if breaks > 0 {
			inc.newIdentity()
			k.recordIdentities(inc)
		}
		conn, err := k.dial(ctx, inc)
		for err != nil && again && ctx.Err() == nil && reachable(inc.files.Info) {
			k.log.Warn("kernel does not answer its server: is it stopped?", "err", err)
			conn, err = k.dial(ctx, inc)
		}
		if err == nil {
			err = k.serve(ctx, inc, conn, again)
		}
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > k.cfg.StableAfter+exitGrace {
			breaks = 0
		}
		if breaks == maxBreaks || !errors.Is(err, errBroken) {
			k.giveUp(inc, err)
			<-ctx.Done()
			return
		}
		k.log.Warn("connection to a kernel broke", "err", err)
	}
}

// errBroken marks the end of a connection that was up.
var errBroken = errors.New("the connection broke")

func (k *Kernel) giveUp(inc *incarnation, err error) {
	k.mu.Lock()
	if inc.cause == "" {
		inc.cause, inc.by = "the kernel was ended: "+err.Error(), byUnresponsive
		if errors.Is(err, errBroken) { // more would tell the server's paths
			inc.cause, inc.by = "the kernel was ended: its connection broke again and again", byConnection
		}
	}
	k.mu.Unlock()
	k.log.Warn("kernel is ended by the server", "err", err)
	if err := inc.proc.Kill(); err != nil {
		k.log.Error("cannot end a kernel", "err", err)
	}
}

// reachable tells whether a kernel's socket is still there: a kernel that is stopped, or swapped out, takes
// connections and shakes no hands.
func reachable(info ConnectionInfo) bool {
	network, address, _ := strings.Cut(info.Endpoint(Shell), "://")
	if info.Transport == IPC {
		network = "unix"
	}
	c, err := net.DialTimeout(network, address, time.Second)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

func (k *Kernel) dial(ctx context.Context, inc *incarnation) (*Conn, error) {
	limited, cancel := context.WithTimeoutCause(ctx, k.cfg.StartTimeout,
		fmt.Errorf("it did not open its sockets within %s", k.cfg.StartTimeout))
	defer cancel()
	for len(inc.events) > 0 { // of the connection before; there may be no room for the answers
		<-inc.events
	}
	conn, err := Dial(limited, inc.files.Info.Endpoints(), ConnOptions{
		Deliver:  func(m *Message) { k.deliver(inc, m) },
		Reject:   k.reject,
		Identity: inc.identities[len(inc.identities)-1],
	})
	if err != nil {
		if limited.Err() == nil { // it was there, and cut us off
			err = afterGrace(ctx, err)
		}
		return nil, err
	}
	k.mu.Lock()
	inc.conn = conn
	k.mu.Unlock()
	return conn, nil
}

// reject counts and logs a message of the kernel that was dropped.
func (k *Kernel) reject(ch Channel, err error) {
	k.metrics.rejected(ch)
	k.log.Warn("message from a kernel dropped", "channel", ch.String(), "err", err)
}

// serve makes conn ready and stays with it until it breaks or ctx ends; conn is closed when it returns. again
// says that it follows one that was ready and broke.
func (k *Kernel) serve(ctx context.Context, inc *incarnation, conn *Conn, again bool) error {
	defer func() {
		k.mu.Lock()
		inc.conn, inc.ready = nil, false
		for _, r := range k.open.byID {
			r.lost = connectionBroke
		}
		for _, m := range k.pending {
			k.unsent(m)
		}
		k.mu.Unlock()
		_ = conn.Close()
	}()
	stopPast := k.listenToPast(ctx, inc)
	defer stopPast()
	if err := k.greet(ctx, inc, conn, again); err != nil {
		return err
	}
	if again || inc.adopted {
		k.awaitLost(ctx)
		stopPast()
		k.mu.Lock()
		inc.settled = true // what comes from now on is ended at once
		k.mu.Unlock()
		k.endLost()
	}
	if len(inc.identities) > 1 {
		inc.identities = inc.identities[len(inc.identities)-1:]
		k.recordIdentities(inc)
	}
	for !k.handOver(inc, conn) { // more waits than its queue holds
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-conn.Done():
			return afterGrace(ctx, conn.Err())
		case <-time.After(renudge):
		}
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-conn.Done():
		return afterGrace(ctx, conn.Err())
	}
}

// afterGrace is errBroken for the reason err, unless ctx ends within exitGrace: then the process was ending.
func afterGrace(ctx context.Context, err error) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(exitGrace):
		return fmt.Errorf("%w: %w", errBroken, err)
	}
}

// greet asks for kernel_info until an answer shows that the kernel works and that its outputs reach us: both
// reply and idle have come. A kernel that sends iopub_welcome (JEP 65) takes the clients' messages from then
// on: they queue up behind our request. A kernel that was ready before takes them at the latest when our
// subscription must be in force, and has all the time it wants to answer: it may be busy. So has one that an
// earlier server started: it may have been ready, and that server gone before it could say so.
func (k *Kernel) greet(ctx context.Context, inc *incarnation, conn *Conn, again bool) error {
	wait := firstRenudge
	late, repeat := time.NewTimer(k.cfg.StartTimeout), time.NewTimer(settling)
	defer late.Stop()
	defer repeat.Stop()
	replied, idle := "", ""
	asked := map[string]bool{} // an answer may be late, and of the connection before
	if again || inc.files.Info.Transport == IPC {
		repeat.Reset(wait)
		if err := k.nudge(conn, asked); err != nil {
			return afterGrace(ctx, err)
		}
	}
	if again || inc.adopted {
		late.Stop()
	}
	if again {
		repeat.Reset(settling)
	}
	for {
		select {
		case ev := <-inc.events:
			switch {
			case ev.welcome:
				if len(asked) == 0 { // the clients' messages go behind it
					if err := k.nudge(conn, asked); err != nil {
						return afterGrace(ctx, err)
					}
				}
				k.handOver(inc, conn)
			case ev.reply != nil && asked[ev.reply.Parent.MsgID]:
				replied = ev.reply.Parent.MsgID
				repeat.Reset(renudge)
			case asked[ev.idle]:
				idle = ev.idle
			}
			if replied != "" && replied == idle {
				k.handOver(inc, conn)
				k.answered(inc)
				return nil
			}
		case <-repeat.C:
			if again && replied == "" {
				k.handOver(inc, conn)
				continue
			}
			if err := k.nudge(conn, asked); fault.KindOf(err) == fault.Gone {
				return afterGrace(ctx, err)
			}
			if !again {
				repeat.Reset(wait)
				wait = min(2*wait, lastRenudge)
			}
		case <-late.C:
			return fmt.Errorf("it did not answer within %s", k.cfg.StartTimeout)
		case <-conn.Done():
			return afterGrace(ctx, conn.Err())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// nudge sends a kernel_info_request and notes its msg_id in asked.
func (k *Kernel) nudge(conn *Conn, asked map[string]bool) error {
	m := compose(Shell, k.own, "kernel_info_request", nil, struct{}{})
	asked[m.Header.MsgID] = true
	return conn.Send(m)
}

// handOver hands over what clients sent meanwhile, and lets them send directly from now on; false when conn
// does not take it all.
func (k *Kernel) handOver(inc *incarnation, conn *Conn) bool {
	for {
		k.mu.Lock()
		if inc.ready || inc.expected {
			k.mu.Unlock()
			return true
		}
		if len(k.pending) == 0 {
			inc.ready, inc.served = true, true
			k.turned()
			k.mu.Unlock()
			k.recordReady()
			return true
		}
		batch := k.pending
		k.pending, k.pendingB = nil, 0
		before := inc.served
		inc.served = true // with the first message there is something to interrupt
		k.mu.Unlock()
		for i, m := range batch {
			if err := conn.Send(m); err != nil {
				k.mu.Lock()
				inc.served = before || i > 0
				k.pending = append(batch[i:], k.pending...)
				for _, m := range batch[i:] {
					k.pendingB += m.Size()
				}
				k.mu.Unlock()
				return false // the connection broke, or its queue is full before anything was read
			}
		}
	}
}

// endLost ends the requests whose answers went down with a broken connection. The kernel has answered what was
// sent after them, so that it is done with them: it works on its shell's requests in order.
func (k *Kernel) endLost() {
	k.mu.Lock()
	var list []ending
	for _, r := range k.open.all() {
		if r.lost == "" {
			continue
		}
		e := ending{to: r.to}
		if !r.replied {
			e.msgs = append(e.msgs, r.lostReply(k.voice, r.lost))
		}
		if !r.done {
			e.msgs = append(e.msgs, status(k.voice, stateIdle, r.header))
		}
		list = append(list, e)
		k.open.remove(r)
		delete(k.working, r.id)
	}
	if k.state == stateBusy && len(k.working) == 0 {
		k.state, k.active = stateIdle, time.Now()
		k.note(changed)
	}
	k.mu.Unlock()
	k.write(list)
}

// answered ends the starting states: the kernel has answered and, so far, does nothing.
func (k *Kernel) answered(inc *incarnation) {
	k.mu.Lock()
	switch {
	case inc.expected: // it is being ended already
	case k.state == stateStarting, k.state == stateRestarting, k.state == stateAutorestarting:
		k.state = stateIdle
		if len(k.working) > 0 {
			k.state = stateBusy
		}
		k.active = time.Now()
		k.note(changed)
	}
	if !inc.expected {
		k.reason = "" // of the process before
	}
	k.mu.Unlock()
	if inc.adopted {
		k.log.Info("kernel has answered its new server")
		return
	}
	k.log.Info("kernel is ready", "dur", time.Since(inc.born))
}
