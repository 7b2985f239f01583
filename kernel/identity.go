package kernel

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"
)

// A kernel answers to the identity that asked. A connection that follows one that broke, or that an earlier server
// had, gets a new identity: libzmq's ROUTER, unless it is told to hand over (ipykernel tells it, IRkernel does not),
// ignores a connection with an identity that it still knows, and with it all that is sent there. It knows one until
// all that came from it is read. What was asked before is answered to the old identity, so that we listen there, too,
// until the kernel is through with it.

// maxIdentities bounds those that a kernel that is busy for long collects.
const maxIdentities = 8

// newIdentity makes the name of the next connection.
func (i *incarnation) newIdentity() {
	i.identities = append(i.identities, uuid.NewString())
	if over := len(i.identities) - maxIdentities; over > 0 {
		i.identities = i.identities[over:]
	}
}

// answerChannels are those on which a kernel answers to an identity.
var answerChannels = []Channel{Shell, Stdin, Control}

// pastWait bounds how long a connection waits for those to earlier identities: they take as long as it did.
const pastWait = time.Second

// listenToPast takes what comes to the identities of earlier connections until stop is called, which may be done
// twice. It returns when it listens: what clients send from then on may be what a kernel waits for.
func (k *Kernel) listenToPast(ctx context.Context, inc *incarnation) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	past := inc.identities[:len(inc.identities)-1]
	tried := make(chan struct{}, len(past))
	var wg sync.WaitGroup
	for _, identity := range past {
		wg.Go(func() {
			conn, err := Dial(ctx, inc.files.Info.Endpoints(), ConnOptions{
				Deliver: func(m *Message) { k.deliver(inc, m) }, Reject: k.reject, Identity: identity, Channels: answerChannels,
			})
			tried <- struct{}{}
			if err != nil {
				return // without it, what was asked is ended in the kernel's place
			}
			select {
			case <-conn.Done():
			case <-ctx.Done():
			}
			_ = conn.Close()
		})
	}
	late := time.NewTimer(pastWait)
	defer late.Stop()
	for range past {
		select {
		case <-tried:
		case <-late.C:
		case <-ctx.Done():
		}
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

// lostGrace is how much later than the answer over the newest connection those over earlier ones may come: other
// sockets of the same machine.
const lostGrace = 500 * time.Millisecond

// awaitLost waits until every request of an earlier connection has its reply, or none is to come: the kernel has
// answered what was sent after them.
func (k *Kernel) awaitLost(ctx context.Context) {
	late := time.NewTimer(lostGrace)
	defer late.Stop()
	tick := time.NewTicker(lostGrace / 50)
	defer tick.Stop()
	for k.hasLost() {
		select {
		case <-tick.C:
		case <-late.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (k *Kernel) hasLost() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.open.byID {
		if r.lost != "" && !(r.replied && r.done) {
			return true
		}
	}
	return false
}
