package kernel

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
)

// incarnation is one process of a kernel with the connection to it.
type incarnation struct {
	proc    Process
	files   *Connection
	born    time.Time
	adopted bool          // an earlier server started it
	events  chan event    // for whoever waits for the kernel's first answers
	gone    chan struct{} // closed when process, connection and files are gone, or left to the next server
	memory  memoryState   // owned by watchMemory

	// identities are ours to its sockets: the last is the connection's, the others are of connections before, to
	// which answers may still be under way. Owned by who starts it, then by connect.
	identities []string

	// guarded by the kernel's mu
	conn     *Conn  // nil until its sockets are connected, and between two connections
	ready    bool   // conn takes the clients' messages
	settled  bool   // what an earlier server asked was answered, or ended in its place
	served   bool   // it was ready once, or has got some of the clients' messages
	expected bool   // somebody ends it on purpose, who speaks to the clients
	cause    string // why the server ended it, for people; "" when it ended by itself
	by       cause  // who or what ended it on purpose; "" when it ended by itself
}

// event is an answer to one of the server's own requests.
type event struct {
	welcome bool
	reply   *Message
	idle    string // msg_id of the request
}

// note hands ev over without waiting; nobody may be listening any more.
func (i *incarnation) note(ev event) {
	select {
	case i.events <- ev:
	default:
	}
}

// launch starts a process and the goroutine that watches over it. The caller holds k.op.
func (k *Kernel) launch(ctx context.Context) error {
	spec, err := k.specs.ToStart(k.start.Spec)
	if err != nil {
		return err
	}
	files, err := NewConnection(k.cfg.RuntimeDir, k.id, spec.Name, spec.Transport())
	if err != nil {
		return err
	}
	limits, err := k.limits(spec)
	if err != nil {
		return errors.Join(err, files.Close())
	}
	cwd := k.start.Cwd
	if cwd == "" {
		cwd = k.cfg.RootDir
	}
	inc := newIncarnation(files)
	if err := k.recordLaunch(inc, spec); err != nil {
		return errors.Join(err, files.Close())
	}
	inc.proc, err = k.prov.Launch(ctx, Launch{
		KernelID: k.id, Mark: k.record.Process.Mark, Spec: spec, ConnectionFile: files.File, Release: files.Release, Cwd: cwd,
		Env: k.start.Env, Limits: limits, Sandbox: k.start.Sandbox,
	})
	if err != nil {
		return errors.Join(err, files.Close())
	}
	k.recordProcess(inc.proc.Record())
	k.mu.Lock()
	k.spec, k.inc, k.stillborn, k.lost = spec, inc, false, false
	if k.state != stateAutorestarting { // of which the reason is news until the kernel is back
		k.reason = ""
	}
	k.note(changed)
	k.mu.Unlock()
	rec := inc.proc.Record()
	k.log.Info("kernel process started", "pid", rec.PID, "spec", spec.Name, "limits", rec.Enforced.String())
	k.wg.Go(func() { k.watch(inc) })
	return nil
}

func newIncarnation(files *Connection) *incarnation {
	inc := &incarnation{files: files, born: time.Now(), events: make(chan event, 64), gone: make(chan struct{})}
	inc.newIdentity()
	return inc
}

// watch owns inc from its start to its end.
func (k *Kernel) watch(inc *incarnation) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { k.connect(ctx, inc) })
	ended := k.beat(inc)
	if ended {
		k.drainLast(inc)
	}
	cancel()
	wg.Wait()
	if !ended {
		inc.proc.Release()
		close(inc.gone)
		return
	}
	if err := inc.proc.Kill(); err != nil { // what the process left behind
		k.log.Warn("cannot end what a kernel left behind", "err", err)
	}
	if err := inc.files.Close(); err != nil {
		k.log.Warn("cannot remove a connection file", "err", err)
	}
	exit := inc.proc.Exit()
	k.mu.Lock()
	by := cmp.Or(inc.by, exit.cause())
	k.mu.Unlock()
	k.metrics.processEnded(by)
	k.log.Info("kernel process ended", "exit", exit.String(), "cause", by)
	restart := k.over(inc, exit)
	k.mu.Lock()
	k.inc = nil // not before its endings are written down: who starts the next process waits for gone
	k.mu.Unlock()
	close(inc.gone)
	if restart {
		k.autorestart(inc)
	}
}

// drainLast lets the readers take what the kernel sent before it died: its sockets break once that is read.
func (k *Kernel) drainLast(inc *incarnation) {
	k.mu.Lock()
	conn := inc.conn
	k.mu.Unlock()
	if conn == nil {
		return
	}
	select {
	case <-conn.Drained():
	case <-time.After(drainTime):
	}
}

// drainTime bounds drainLast. A peer that is gone breaks the connection at once; a child that inherited the
// sockets may hold them open.
const drainTime = 250 * time.Millisecond

// over takes note of inc's end and reports whether the kernel is to be started again.
func (k *Kernel) over(inc *incarnation, exit Exit) bool {
	k.mu.Lock()
	if inc.expected {
		k.mu.Unlock()
		return false
	}
	why := inc.cause
	if why == "" {
		why = "the kernel died: " + exit.String()
		if line := exit.lastLine(); line != "" && !inc.served { // while it starts, it says what is missing
			why += ": " + line
		}
	}
	var end []ending
	if inc.served { // what never reached a process waits for the next one
		end = k.endOpen(why)
	}
	if time.Since(inc.born) > k.cfg.StableAfter {
		k.deaths = 0
	}
	k.deaths++
	again := k.deaths <= k.cfg.RestartLimit
	if again {
		k.state, k.reason = stateAutorestarting, why
	} else {
		end = append(end, k.endOpen(why)...)
		k.state, k.reason = stateDead, why
		k.turned()
	}
	k.mu.Unlock()
	k.metrics.died(again)
	if !again {
		k.recordDeath(why)
	}
	k.write(end)
	if again {
		k.say(stateRestarting) // what the reference server says of an automatic restart, too
	} else {
		k.log.Warn("kernel is dead", "reason", why)
		k.say(stateDead)
	}
	return again
}

// autorestart starts a process in the place of dead, unless somebody else did, or ended the kernel, meanwhile.
func (k *Kernel) autorestart(dead *incarnation) {
	k.mu.Lock()
	again := min(k.deaths-1, maxPauseDoublings) // a restart by hand sets deaths back at any time
	k.mu.Unlock()
	if again > 0 { // the first time at once
		select {
		case <-time.After(restartPause << again):
		case <-k.stop:
			return
		case <-k.left:
			return
		}
	}
	select {
	case <-k.op:
	case <-k.stop:
		return
	case <-k.left:
		return
	}
	defer k.release()
	k.mu.Lock()
	due := k.state == stateAutorestarting && k.inc == nil
	k.mu.Unlock()
	if !due {
		return
	}
	k.log.Warn("kernel died and is started again", "pid", dead.proc.Record().PID)
	if err := k.launch(context.Background()); err != nil {
		k.fail("the kernel died and could not be started again: " + fault.Message(err))
		k.log.Error("cannot start a kernel again", "err", err)
	}
}

// restartPause doubles with each death in a row, up to 6.4 s.
const (
	restartPause      = 100 * time.Millisecond
	maxPauseDoublings = 6
)

// fail declares the kernel dead and ends what waits for it.
func (k *Kernel) fail(why string) {
	k.mu.Lock()
	end := k.endOpen(why)
	k.state, k.reason = stateDead, why
	k.turned()
	k.mu.Unlock()
	k.metrics.died(false)
	k.recordDeath(why)
	k.write(end)
	k.say(stateDead)
}

// beat waits for the process to end, or to be left (false), and meanwhile notes in the log when its heartbeat is
// missing. A missing heartbeat is no death: a stopped or swapped-out kernel may go on later.
func (k *Kernel) beat(inc *incarnation) (ended bool) {
	var ticks <-chan time.Time // none where the heart is not listened to
	if k.cfg.Heartbeat > 0 {
		tick := time.NewTicker(k.cfg.Heartbeat)
		defer tick.Stop()
		ticks = tick.C
	}
	missed := 0
	for {
		select {
		case <-inc.proc.Done():
			return true
		case <-k.left:
			return false
		case <-ticks:
		}
		k.mu.Lock()
		conn := k.readyConn()
		k.mu.Unlock()
		if conn == nil {
			continue
		}
		err := k.beatOnce(inc, conn)
		switch {
		case err == nil && missed >= beatsMissed:
			k.log.Info("kernel's heartbeat is back")
		case err != nil && missed+1 == beatsMissed:
			k.log.Warn("kernel's heartbeat is missing", "err", err)
			k.metrics.missedBeat()
		}
		if missed++; err == nil {
			missed = 0
		}
	}
}

// beatOnce asks for one heartbeat. It ends with the process: nobody answers for a dead one, and its death is news.
func (k *Kernel) beatOnce(inc *incarnation, conn *Conn) error {
	ctx, cancel := context.WithTimeout(context.Background(), k.cfg.Heartbeat/2)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-inc.proc.Done():
			cancel()
		case <-k.left:
			cancel()
		case <-ctx.Done():
		}
	})
	err := conn.Beat(ctx)
	cancel()
	wg.Wait()
	return err
}

// beatsMissed in a row are worth a line in the log.
const beatsMissed = 3
