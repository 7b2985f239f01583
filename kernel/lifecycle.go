package kernel

import (
	"context"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
)

// acquire takes the right to start and end k's processes, waiting for whoever has it.
func (k *Kernel) acquire(ctx context.Context) error {
	select {
	case <-k.op:
		return nil
	case <-ctx.Done():
		return fault.Wrap(fault.Timeout, context.Cause(ctx), "the kernel is still being started or ended")
	}
}

func (k *Kernel) release() { k.op <- struct{}{} }

// begin launches the first process, before anybody else may do anything to it. Where that is impossible the
// kernel exists as a dead one if the configuration says so, and not at all otherwise.
func (k *Kernel) begin(ctx context.Context) error {
	defer k.release()
	err := k.launch(ctx)
	if err == nil {
		return nil
	}
	k.mu.Lock()
	k.stillborn = k.cfg.PendingKernels && fault.KindOf(err) == fault.Unstartable
	if k.stillborn {
		k.state, k.reason, k.spec.Name = stateDead, fault.Message(err), k.start.Spec
		err = nil
	}
	k.ended = !k.stillborn
	k.turned()
	k.mu.Unlock()
	k.removeRecord()
	if err != nil {
		k.finish("the kernel did not start: " + fault.Message(err))
	}
	return err
}

// cullable says in what time the kernel is to be culled by cfg if it goes on as it does now (0 is at once), and by
// which rule; no rule, no culling.
func (k *Kernel) cullable(cfg *Config, now time.Time) (due time.Duration, why string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	idle := now.Sub(k.active)
	switch {
	case k.ended, k.lost:
		return 0, ""
	case k.state == stateBusy && !cfg.CullBusy:
		return 0, ""
	case len(k.clients) > 0 && !cfg.CullConnected:
		return 0, ""
	}
	return max(0, cfg.CullIdleTimeout-idle), "the kernel was idle for " + idle.Round(time.Second).String() +
		" and was culled: the limit is " + cfg.CullIdleTimeout.String()
}

// killNow ends the process at once, whatever it was asked before, and those that follow it.
func (k *Kernel) killNow() {
	k.mu.Lock()
	inc := k.inc
	k.hurry = true
	k.mu.Unlock()
	if inc != nil {
		_ = inc.proc.Kill()
	}
}

// interrupt asks the kernel to stop what it does, as its kernelspec wants to be asked.
func (k *Kernel) interrupt() error {
	k.mu.Lock()
	inc, conn, mode, state := k.inc, k.readyConn(), k.spec.InterruptMode, k.state
	served := inc != nil && inc.served
	if conn == nil && served { // it is being connected again: what it does was asked before
		conn = inc.conn
	}
	k.mu.Unlock()
	switch {
	case inc == nil:
		return fault.New(fault.Conflict, "the kernel is %s: there is nothing to interrupt", state)
	case !served: // nothing runs yet, and a signal would end a process that has no handler so far
		return nil
	case mode != interruptByMsg:
		return inc.proc.Interrupt()
	case conn == nil:
		return errNoInterrupt
	}
	err := conn.Send(compose(Control, k.own, "interrupt_request", nil, struct{}{}))
	if fault.KindOf(err) == fault.Gone { // it broke this moment
		return errNoInterrupt
	}
	return err
}

var errNoInterrupt = fault.New(fault.Busy, "the kernel is being connected again, and takes interrupts as messages only")

// restart replaces the kernel's process. Clients and journal stay; what runs or waits is ended.
func (k *Kernel) restart(ctx context.Context) error {
	if err := k.acquire(ctx); err != nil {
		return err
	}
	defer k.release()
	k.mu.Lock()
	if k.ended {
		k.mu.Unlock()
		return k.hasEnded(fault.NotFound)
	}
	k.state, k.reason = stateRestarting, ""
	k.note(changed)
	inc := k.expectEnd(byRestart)
	k.mu.Unlock()
	// From here on a client that goes away must not leave the kernel without a process.
	ctx = context.WithoutCancel(ctx)
	if inc != nil {
		k.stopProcess(inc, true)
	}
	k.mu.Lock()
	end := k.endOpen("the kernel was restarted")
	k.deaths = 0
	k.mu.Unlock()
	k.write(end)
	// No status "restarting": that is what a death looks like. JupyterLab tells its user of one that did not ask for it,
	// and the reference server says nothing either.
	k.metrics.restarted()
	if err := k.launch(ctx); err != nil {
		k.fail("the kernel could not be started again: " + fault.Message(err))
		return err
	}
	return nil
}

// shutdown ends the kernel for good: process tree, connection, files, goroutines.
func (k *Kernel) shutdown(ctx context.Context, by cause, why string) error {
	if err := k.acquire(ctx); err != nil {
		return err
	}
	defer k.release()
	k.mu.Lock()
	if k.ended {
		k.mu.Unlock()
		return k.hasEnded(fault.NotFound)
	}
	k.ended, k.state = true, stateTerminating
	k.turned()
	inc := k.expectEnd(by)
	k.mu.Unlock()
	close(k.stop)
	if inc != nil {
		k.stopProcess(inc, false)
	}
	k.finish(why)
	k.wg.Wait()
	k.removeRecord()
	k.log.Info("kernel ended", "reason", why)
	return nil
}

// leave ends all but the kernel's process, and keeps its record for the next server.
func (k *Kernel) leave(ctx context.Context) error {
	if err := k.acquire(ctx); err != nil {
		return err
	}
	defer k.release()
	k.mu.Lock()
	if k.ended {
		k.mu.Unlock()
		return nil
	}
	close(k.left)
	k.ended = true
	k.turned()
	dying, why := k.inc == nil && k.state == stateAutorestarting, k.reason
	k.forgetAllAway()
	k.mu.Unlock()
	k.wg.Wait()
	if dying {
		k.recordDeath(why)
	}
	k.journal.End(errLeft)
	k.journal.Close()
	return nil
}

// finish ends what waits for a kernel that has ended.
func (k *Kernel) finish(why string) {
	k.mu.Lock()
	end := k.endOpen(why)
	k.state, k.reason = stateDead, why
	k.forgetAllAway()
	k.mu.Unlock()
	k.write(end)
	k.say(stateDead)
	k.journal.End(fault.New(fault.Gone, "%s", why))
	k.journal.Discard()
}

// expectEnd is the current incarnation, nil if there is none: from now on it changes the kernel's state no more,
// and its end, of that cause, is no death. mu is held.
func (k *Kernel) expectEnd(by cause) *incarnation {
	if k.inc != nil {
		k.inc.expected, k.inc.by = true, by
	}
	return k.inc
}

// stopProcess ends inc: asked on control, then by SIGTERM, then by SIGKILL, each after its share of
// ShutdownWait. It returns when inc is gone.
func (k *Kernel) stopProcess(inc *incarnation, restart bool) {
	k.mu.Lock()
	conn := k.readyConn()
	inc.ready = false // what clients send from now on does not reach it
	wait := k.cfg.ShutdownWait
	if k.hurry {
		wait = 0
	}
	k.mu.Unlock()
	asked := conn != nil && wait > 0 &&
		conn.Send(compose(Control, k.own, "shutdown_request", nil, map[string]bool{"restart": restart})) == nil
	if asked && within(inc.proc.Done(), wait) {
		<-inc.gone
		return
	}
	if err := inc.proc.Terminate(); err != nil {
		k.log.Debug("cannot signal a kernel", "err", err)
	}
	if !within(inc.proc.Done(), max(wait/2, minTermWait)) {
		k.log.Warn("kernel did not end when told to and is killed", "waited", wait)
		if err := inc.proc.Kill(); err != nil {
			k.log.Error("cannot kill a kernel", "err", err)
		}
	}
	<-inc.gone
}

// minTermWait is what SIGTERM gets even where the configuration leaves no time: enough to remove a file.
const minTermWait = 100 * time.Millisecond

// within reports whether done was closed in d.
func within(done <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}
