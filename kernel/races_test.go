package kernel_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/kernel/kerneltest"
)

// A restart by hand may come right after a death, while that is still being told to everybody.
func TestRestartOfAKernelThatHasJustDied_P5_P6(t *testing.T) {
	for limit, died := range map[int]string{5: "autorestarting", -1: "dead"} {
		t.Run(died, func(t *testing.T) {
			f := newFixture(t, kernel.Config{RestartLimit: limit}, kerneltest.Options{})
			id := f.start()
			c := f.attach(id)
			for range 3 {
				c.until(ended(c.run("echo warm")))
				c.run("sleep 20ms\ndie 1")
				for range 400 { // ending them all takes a while
					c.run("print never")
				}
				c.until(func(e kernel.Entry) bool { return e.Message != nil && e.Message.Channel == kernel.Shell })
				require.NoError(t, f.Restart(t.Context(), id))
				all := describe(c.until(ended(c.run("echo anew"))))
				after := all[strings.LastIndex(all, "status:busy"):] // the new process is at work
				require.NotContains(t, after, "status:dead")
			}
		})
	}
}

func TestClientsOfOneSessionAttachAtOnce_P10(t *testing.T) {
	f := newFixture(t, kernel.Config{}, kerneltest.Options{})
	id := f.start()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 200 {
				c, err := f.Attach(id, kernel.AttachOptions{ClientSession: "page"})
				if err != nil {
					t.Error(err)
					return
				}
				if i%2 == 0 {
					c.Detach()
				}
			}
		})
	}
	wg.Wait()
	last := f.attachAs(id, "page", nil)
	last.until(ended(last.run("echo one is left")))
	s, err := f.Get(id)
	require.NoError(t, err)
	require.Equal(t, 1, s.Connections)
}

// endings counts the replies and idle statuses of each request.
func endings(list []kernel.Entry) (replies, idles map[string]int) {
	replies, idles = make(map[string]int), make(map[string]int)
	for _, e := range list {
		switch {
		case e.Message == nil:
		case e.Message.Channel == kernel.Shell:
			replies[e.Message.Parent.MsgID]++
		case state(e) == "idle":
			idles[e.Message.Parent.MsgID]++
		}
	}
	return replies, idles
}

// endedAfter is ended for who has read all before.
func endedAfter(all []kernel.Entry, m *kernel.Message) func(kernel.Entry) bool {
	last := ended(m)
	for _, e := range all {
		last(e)
	}
	return last
}

// What is sent around the break of a connection ends once: by the kernel, or in its place if its answers are lost.
func TestRequestsAroundABrokenConnectionEndOnce_P5_P6(t *testing.T) {
	for _, socket := range []string{"iopub", "shell"} {
		for _, running := range []string{"sleep 1ms", "sleep 1300ms"} { // ends before, or after, the new connection
			t.Run(socket+" "+running, func(t *testing.T) {
				f := newFixture(t, kernel.Config{}, kerneltest.Options{})
				c := f.attach(f.start())
				c.until(ended(c.run("echo warm")))
				sent := []*kernel.Message{c.run(running)}
				c.until(func(e kernel.Entry) bool { return state(e) == "busy" })
				f.prov.Kernels()[0].Disconnect(socket)
				for i := range 20 {
					sent = append(sent, c.run(fmt.Sprintf("echo %d", i)))
				}
				var all []kernel.Entry
				for i := range sent { // in any order: some by the kernel, some in its place
					replies, idles := endings(all)
					if id := sent[i].Header.MsgID; replies[id] == 0 || idles[id] == 0 {
						all = append(all, c.until(endedAfter(all, sent[i]))...)
					}
				}
				last := c.run("echo last") // what would end a second time has by then
				all = append(all, c.until(ended(last))...)
				replies, idles := endings(all)
				for i, m := range sent {
					require.Equal(t, 1, replies[m.Header.MsgID], "replies to request %d", i)
					require.Equal(t, 1, idles[m.Header.MsgID], "idle statuses of request %d", i)
				}
				require.Equal(t, "ok", content(t, all, "execute_reply")["status"])
			})
		}
	}
}

// What the old process says while it ends must not be shown as the state of the new one.
func TestStateAfterARestartIsTheNewProcess(t *testing.T) {
	asked, begun := make(chan struct{}), make(chan struct{})
	first := true
	f := newFixtureFunc(t, kernel.Config{}, func(kernel.Launch) (kerneltest.Options, error) {
		if !first {
			return kerneltest.Options{}, nil
		}
		first = false
		return kerneltest.Options{Script: func(r *kerneltest.Request) {
			switch {
			case r.Type == "execute_request" && r.Code() == "first":
				<-asked
			case r.Type == "execute_request":
				close(begun)
				r.Sleep(patience)
			case r.Type == "shutdown_request": // takes a while, during which the shell goes on
				close(asked)
				<-begun
				r.Sleep(50 * time.Millisecond) // for its busy status to come
				r.Default()
			default:
				r.Default()
			}
		}}, nil
	})
	id := f.start()
	c := f.attach(id)
	c.run("first")
	c.until(func(e kernel.Entry) bool { return state(e) == "busy" })
	c.run("second")
	require.NoError(t, f.Restart(t.Context(), id))
	require.NoError(t, f.Ready(t.Context(), id))
	f.waitState(id, "idle")
}

// Close ends also a kernel that is being restarted, and what that restart starts.
func TestCloseDuringARestart_P11_P15(t *testing.T) {
	f := newFixture(t, kernel.Config{ShutdownWait: time.Hour}, kerneltest.Options{})
	id := f.start()
	c := f.attach(id)
	c.run("hang")
	c.until(func(e kernel.Entry) bool { return state(e) == "busy" })
	restarted := make(chan error, 1)
	go func() { restarted <- f.Restart(context.Background(), id) }()
	f.waitState(id, "restarting")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.Error(t, f.Close(ctx), "it says that it had to kill")
	select {
	case <-restarted:
	case <-time.After(patience):
		require.FailNow(t, "the restart goes on")
	}
	require.Empty(t, f.List())
	for _, k := range f.prov.Kernels() {
		select {
		case <-k.Done():
		case <-time.After(patience):
			require.FailNow(t, "a process is left")
		}
	}
}

// A Shutdown that overtakes the Start of its kernel leaves no process behind.
func TestShutdownDuringAStart_P11(t *testing.T) {
	f := newFixture(t, kernel.Config{ShutdownWait: 50 * time.Millisecond}, kerneltest.Options{})
	for i := range 50 {
		id := fmt.Sprintf("k%d", i)
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = f.Start(t.Context(), kernel.StartOptions{ID: id}) })
		wg.Go(func() {
			for fault.KindOf(f.Shutdown(t.Context(), id)) == fault.NotFound && t.Context().Err() == nil {
			}
		})
		wg.Wait()
	}
	require.Empty(t, f.List())
	for _, k := range f.prov.Kernels() {
		select {
		case <-k.Done():
		case <-time.After(patience):
			require.FailNow(t, "a process is left")
		}
	}
}

// A client that attached while its kernel was being started learns that it is not going to be.
func TestClientOfAKernelThatCannotStartIsTold_P6(t *testing.T) {
	launching, fail := make(chan struct{}), make(chan struct{})
	f := newFixtureFunc(t, kernel.Config{}, func(kernel.Launch) (kerneltest.Options, error) {
		close(launching)
		<-fail
		return kerneltest.Options{}, fault.New(fault.Unstartable, "no such command")
	})
	started := make(chan error, 1)
	go func() {
		_, err := f.Start(context.Background(), kernel.StartOptions{ID: "k"})
		started <- err
	}()
	<-launching
	c := f.attach("k")
	close(fail)
	require.Error(t, <-started)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c.until(func(e kernel.Entry) bool { return state(e) == "dead" })
	_, err := c.Next(ctx, make([]kernel.Entry, 1))
	require.Equal(t, fault.Gone, fault.KindOf(err), "%v", err)
	require.Equal(t, fault.Gone, fault.KindOf(c.Send(code(t, c.session, "echo"))))
}

// The answers to a client without a session of its own are for it alone, too.
func TestRepliesToAnonymousClientsAreTheirs_P5(t *testing.T) {
	f := newFixture(t, kernel.Config{}, kerneltest.Options{})
	id := f.start()
	a, b, c := f.attachAs(id, "", nil), f.attachAs(id, "", nil), f.attach(id)
	m := a.run("echo hi")
	a.until(ended(m))
	for _, other := range []*frontend{b, c} {
		other.until(func(e kernel.Entry) bool { return state(e) == "idle" })
		mark := other.run("echo mark")
		require.NotContains(t, fmt.Sprint(replyParents(other.until(ended(mark)))), m.Header.MsgID)
	}
}

func replyParents(list []kernel.Entry) (ids []string) {
	for _, e := range list {
		if e.Message != nil && e.Message.Channel == kernel.Shell {
			ids = append(ids, e.Message.Parent.MsgID)
		}
	}
	return ids
}

// ipykernel goes idle without a reply where an interrupt hits it before the code has begun.
func TestExecutionWithoutAReplyEnds_P6(t *testing.T) {
	f := newFixture(t, kernel.Config{}, kerneltest.Options{})
	c := f.attach(f.start())
	m := c.run("noreply")
	all := c.until(ended(m))
	require.Contains(t, content(t, all, "execute_reply")["evalue"], "without a reply")
	late := c.run("late-reply 20ms")
	all = c.until(ended(late))
	require.Equal(t, "ok", content(t, all, "execute_reply")["status"], "a late one is not forestalled")
}

// A connection may break now and then over a kernel's long life: only breaks in a row end it.
func TestBreaksLongAgoAreForgotten(t *testing.T) {
	f := newFixture(t, kernel.Config{StableAfter: time.Millisecond, RestartLimit: -1}, kerneltest.Options{})
	c := f.attach(f.start())
	for range 4 { // one more than a row may have
		c.until(ended(c.run("sleep 10ms")))
		f.prov.Kernels()[0].Disconnect("iopub")
	}
	c.until(ended(c.run("echo alive")))
	require.Len(t, f.prov.Kernels(), 1)
}

// interruptedByMessage is a fixture whose kernels want interrupts as messages.
func interruptedByMessage(t *testing.T, o kerneltest.Options) *fixture {
	t.Helper()
	f := newFixture(t, kernel.Config{}, o)
	data := t.TempDir()
	kerneltest.WriteSpec(t, data, "synth", map[string]any{"interrupt_mode": "message"})
	f.specs = kernel.NewSpecs(kernel.SpecsConfig{DataDirs: []string{data}, DefaultName: "synth", NoNativeKernel: true})
	f.next()
	return f
}

// untilCut waits until the server has noticed that its connection is broken: no interrupt can be sent then.
func (f *fixture) untilCut(id string) {
	f.t.Helper()
	require.Eventually(f.t, func() bool {
		err := f.Interrupt(f.t.Context(), id)
		require.True(f.t, err == nil || fault.KindOf(err) == fault.Busy, "%v", err)
		return err != nil
	}, patience, time.Millisecond)
}

// What is sent while a connection is made anew has its outputs: it waits until the new subscription is in force.
func TestOutputsAfterABrokenConnectionAreThere_P4(t *testing.T) {
	for _, welcome := range []bool{true, false} {
		t.Run(fmt.Sprint("welcome ", welcome), func(t *testing.T) {
			f := interruptedByMessage(t, kerneltest.Options{NoWelcome: !welcome})
			id := f.start()
			c := f.attach(id)
			c.until(ended(c.run("echo warm")))
			f.prov.Kernels()[0].Disconnect()
			f.untilCut(id)
			var sent []*kernel.Message
			for i := range 10 {
				sent = append(sent, c.run(fmt.Sprintf("print line %d", i)))
			}
			text := stdout(t, c.until(ended(sent[len(sent)-1])))
			for i := range sent {
				require.Contains(t, text, fmt.Sprintf("line %d\n", i))
			}
		})
	}
}

// An interrupt that cannot be passed on just now is refused, not lost; it works as soon as the connection is back.
func TestInterruptWhileTheConnectionIsMadeAnew_P6(t *testing.T) {
	f := interruptedByMessage(t, kerneltest.Options{})
	id := f.start()
	c := f.attach(id)
	c.until(ended(c.run("echo warm")))
	m := c.run("hang")
	c.until(func(e kernel.Entry) bool { return state(e) == "busy" })
	f.prov.Kernels()[0].Disconnect()
	f.untilCut(id)
	require.Eventually(t, func() bool { return f.Interrupt(t.Context(), id) == nil }, patience, time.Millisecond)
	require.NoError(t, f.Restart(t.Context(), id))
	c.until(ended(m))
}
