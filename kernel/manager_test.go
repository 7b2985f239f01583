package kernel_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/kernel/kerneltest"
)

func TestExecutionIsBracketedAndAddressed_P5(t *testing.T) {
	for _, test := range []struct {
		spec      string
		noWelcome bool
	}{{"synth", false}, {"synth", true}, {"synth-tcp", false}} {
		t.Run(fmt.Sprintf("%+v", test), func(t *testing.T) {
			f := newFixture(t, kernel.Config{}, kerneltest.Options{NoWelcome: test.noWelcome})
			s, err := f.Start(t.Context(), kernel.StartOptions{Spec: test.spec})
			require.NoError(t, err)
			id := s.ID
			a, b := f.attach(id), f.attach(id)
			m := a.run("echo hi") // at once: the kernel is still starting
			all := a.until(ended(m))
			require.Contains(t, describe(all), "execute_reply") // on another socket: it may come at any place
			require.Equal(t, "status:busy execute_input stream execute_result status:idle",
				strings.Join(strings.Fields(strings.Replace(describe(all), "execute_reply", "", 1)), " "))
			others := b.until(func(e kernel.Entry) bool { return state(e) == "idle" })
			require.NotContains(t, describe(others), "execute_reply", "a reply is for who asked")
			require.Contains(t, describe(others), "stream", "output is for all")
			f.waitState(id, "idle")
		})
	}
}

func TestControlIdleDoesNotHideABusyShell(t *testing.T) {
	f := newFixture(t, kernel.Config{}, kerneltest.Options{Script: func(r *kerneltest.Request) {
		if r.Default(); r.Channel == kernel.Control {
			r.Reply(map[string]string{"status": "ok"})
		}
	}})
	id := f.start()
	c := f.attach(id)
	long := c.run("sleep 1h")
	c.until(func(e kernel.Entry) bool { return state(e) == "busy" })
	f.waitState(id, "busy")
	for _, kind := range []string{"kernel_info_request", "create_subshell_request", "debug_request"} {
		m := request(t, kernel.Control, c.session, kind, struct{}{})
		require.NoError(t, c.Send(m))
		c.until(ended(m))
		s, err := f.Get(id)
		require.NoError(t, err)
		require.Equal(t, "busy", s.ExecutionState, "after the idle of a %s", kind)
	}
	require.NoError(t, f.Interrupt(t.Context(), id))
	c.until(ended(long))
	f.waitState(id, "idle")
}

func TestEveryExecutionEndsWhenItsKernelDies_P6(t *testing.T) {
	f := newFixture(t, kernel.Config{}, kerneltest.Options{})
	id := f.start()
	c := f.attach(id)
	first := c.run("print before\nsleep 20ms\ndie 7") // what is still in its buffers dies with a process
	second := c.run("print never")
	all := append(c.until(ended(first)), c.until(ended(second))...)
	all = append(all, c.until(func(e kernel.Entry) bool { return state(e) == "restarting" })...)
	require.Contains(t, describe(all), "stream", "what it printed before is there")
	death := content(t, all, "error")
	require.Equal(t, "DeadKernelError", death["ename"])
	require.Contains(t, death["evalue"], "exit code 7")
	require.Equal(t, "aborted", content(t, all, "execute_reply")["status"], "what it had not begun is aborted")

	m := c.run("echo again") // the same client goes on with the next process
	c.until(ended(m))
	f.waitState(id, "idle")
	require.Len(t, f.prov.Kernels(), 2)
}

func TestRestartEndsWhatRunsAndKeepsClients_P6(t *testing.T) {
	f := newFixture(t, kernel.Config{ShutdownWait: 50 * time.Millisecond}, kerneltest.Options{})
	id := f.start()
	c := f.attach(id)
	m := c.run("hang")
	c.until(func(e kernel.Entry) bool { return state(e) == "busy" })
	require.NoError(t, f.Restart(t.Context(), id))
	all := c.until(ended(m))
	require.Contains(t, content(t, all, "error")["evalue"], "restarted")
	all = append(all, c.until(ended(c.run("echo anew")))...)
	for _, e := range all {
		require.NotEqual(t, "restarting", state(e), "a page takes that for a death, and tells its user so")
	}
	require.Len(t, f.List(), 1)
}

func TestKernelThatAlwaysDiesIsGivenUpWithAReason_P12(t *testing.T) {
	f := newFixture(t, kernel.Config{RestartLimit: 2}, kerneltest.Options{Startup: kerneltest.StartupDead})
	id := f.start()
	c := f.attach(id)
	m := c.run("print never")
	all := c.until(ended(m))
	require.Equal(t, "error", content(t, all, "execute_reply")["status"], "whoever waits first is told why")
	c.until(func(e kernel.Entry) bool { return state(e) == "dead" })
	s := f.waitState(id, "dead")
	require.Contains(t, s.Reason, "exit code 1")
	require.Len(t, f.prov.Kernels(), 3, "started, and twice again")
	m = c.run("print still never")
	require.Contains(t, content(t, c.until(ended(m)), "execute_reply")["evalue"], "dead")
	require.NoError(t, f.Restart(t.Context(), id), "a dead kernel can be restarted by hand")
}

func TestKernelThatNeverAnswersIsEndedWithAReason_P12(t *testing.T) {
	for name, o := range map[string]kerneltest.Options{
		"never opens its sockets": {Startup: kerneltest.StartupNever},
		"never answers":           {NoWelcome: true, Script: func(r *kerneltest.Request) { r.NoReply(); r.NoIdle() }},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, kernel.Config{StartTimeout: 100 * time.Millisecond, RestartLimit: -1}, o)
			s := f.waitState(f.start(), "dead")
			require.Contains(t, s.Reason, "within 100ms")
		})
	}
}

func TestHostileKernelHarmsNobodyElse_P10_P13_S9(t *testing.T) {
	f := newFixture(t, kernel.Config{}, kerneltest.Options{})
	good := f.attach(f.start())
	for _, attack := range []string{"badsig", "replay", "hugeframe iopub", "garbage shell", "hugeframe shell"} {
		t.Run(attack, func(t *testing.T) {
			id := f.start()
			bad := f.attach(id)
			bad.until(ended(bad.run("echo warm")))
			m := bad.run(attack)
			good.until(ended(good.run("echo unharmed")))
			bad.until(ended(m)) // by the kernel, or in its place
			bad.until(ended(bad.run("echo usable again")))
			require.NoError(t, f.Shutdown(t.Context(), id))
		})
	}
}

func TestShutdownLeavesNothing_P11(t *testing.T) {
	dir, err := os.MkdirTemp("", "r")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	f := newFixture(t, kernel.Config{RuntimeDir: dir, ShutdownWait: 50 * time.Millisecond}, kerneltest.Options{})
	for _, last := range []string{"echo polite", "sleep 1h", "hang"} {
		id := f.start()
		c := f.attach(id)
		c.run(last)
		c.until(func(e kernel.Entry) bool { return state(e) == "busy" })
		require.NoError(t, f.Shutdown(t.Context(), id))
		c.until(func(e kernel.Entry) bool { return state(e) == "dead" })
		_, err := c.Next(t.Context(), make([]kernel.Entry, 1))
		require.Equal(t, fault.Gone, fault.KindOf(err))
		require.Equal(t, fault.Gone, fault.KindOf(c.Send(code(t, c.session, "echo"))))
		_, err = f.Get(id)
		require.Equal(t, fault.NotFound, fault.KindOf(err))
		require.Equal(t, fault.NotFound, fault.KindOf(f.Shutdown(t.Context(), id)))
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left, "connection files are gone; goroutines are goleak's business")
}

func TestStartRefusesWhatItCannotDo(t *testing.T) {
	f := newFixtureFunc(t, kernel.Config{MaxKernels: 1}, func(l kernel.Launch) (kerneltest.Options, error) {
		if l.Env["FAIL"] != "" {
			return kerneltest.Options{}, fault.New(fault.Unstartable, "no such command")
		}
		return kerneltest.Options{}, nil
	})
	for name, test := range map[string]struct {
		o    kernel.StartOptions
		kind fault.Kind
	}{
		"unknown kernelspec": {kernel.StartOptions{Spec: "nope"}, fault.Unstartable},
		"cannot be launched": {kernel.StartOptions{Env: map[string]string{"FAIL": "1"}}, fault.Unstartable},
		"id with a slash":    {kernel.StartOptions{ID: "../x"}, fault.Invalid},
		"id too long":        {kernel.StartOptions{ID: strings.Repeat("a", 65)}, fault.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := f.Start(t.Context(), test.o)
			require.Equal(t, test.kind, fault.KindOf(err), err)
			require.Empty(t, f.List())
		})
	}
	_, err := f.Start(t.Context(), kernel.StartOptions{ID: "mine"})
	require.NoError(t, err)
	_, err = f.Start(t.Context(), kernel.StartOptions{ID: "mine"})
	require.Equal(t, fault.Conflict, fault.KindOf(err))
	_, err = f.Start(t.Context(), kernel.StartOptions{})
	require.Equal(t, fault.Busy, fault.KindOf(err))
}

func TestPendingKernelIsStillborn(t *testing.T) {
	f := newFixture(t, kernel.Config{PendingKernels: true}, kerneltest.Options{})
	s, err := f.Start(t.Context(), kernel.StartOptions{Spec: "nope"})
	require.NoError(t, err)
	require.Equal(t, "dead", s.ExecutionState)
	require.Contains(t, s.Reason, "nope")
	_, err = f.Attach(s.ID, kernel.AttachOptions{})
	require.Equal(t, fault.Gone, fault.KindOf(err))
}

func TestReadyWaitsForTheKernelOrItsEnd(t *testing.T) {
	f := newFixture(t, kernel.Config{RestartLimit: -1}, kerneltest.Options{})
	id := f.start()
	require.NoError(t, f.Ready(t.Context(), id))
	c := f.attach(id)
	c.until(ended(c.run("die 1")))
	require.NoError(t, f.Ready(t.Context(), id), "a dead kernel keeps nobody waiting")
	require.Equal(t, fault.NotFound, fault.KindOf(f.Ready(t.Context(), "nope")))

	never := newFixture(t, kernel.Config{}, kerneltest.Options{Startup: kerneltest.StartupNever})
	id = never.start()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.Equal(t, fault.Timeout, fault.KindOf(never.Ready(ctx, id)))
}

func TestSecondClientOfASessionTakesOverAndReadsOn_P4(t *testing.T) {
	f := newFixture(t, kernel.Config{}, kerneltest.Options{})
	id := f.start()
	first := f.attachAs(id, "page", nil)
	first.until(ended(first.run("echo one")))
	m := code(t, "page", "print two")
	require.NoError(t, first.Send(m))
	second := f.attachAs(id, "page", nil)
	_, err := first.Next(t.Context(), make([]kernel.Entry, 1))
	require.ErrorIs(t, err, kernel.ErrTakenOver)
	require.ErrorIs(t, first.Send(m), kernel.ErrTakenOver)
	second.until(ended(m))
	first.Detach() // late, and without effect on its successor
	s, err := f.Get(id)
	require.NoError(t, err)
	require.Equal(t, 1, s.Connections)
}

func TestDetachedClientReadsOnWhereItStopped_P4(t *testing.T) {
	f := newFixture(t, kernel.Config{}, kerneltest.Options{})
	id := f.start()
	c := f.attachAs(id, "page", nil)
	c.until(ended(c.run("echo one")))
	m := c.run("order 6\nsleep 20ms\nprint end")
	c.Detach()
	other := f.attach(id)
	_ = other
	require.Eventually(t, func() bool { s, _ := f.Get(id); return s.ExecutionState == "idle" }, patience, time.Millisecond)
	back := f.attachAs(id, "page", nil)
	all := back.until(ended(m))
	require.NotContains(t, describe(all), "gap")
	require.Contains(t, describe(all), "display_data")
	p := back.Position()
	stranger := f.attachAs(id, "other page", &kernel.Position{Epoch: p.Epoch})
	require.Equal(t, "status:busy", strings.Fields(describe(stranger.until(func(e kernel.Entry) bool { return state(e) == "idle" })))[0])
}

func TestInputFindsItsWayBack(t *testing.T) {
	f := newFixture(t, kernel.Config{}, kerneltest.Options{})
	id := f.start()
	a, b := f.attach(id), f.attach(id)
	m := a.run("input name?")
	a.until(func(e kernel.Entry) bool { return e.Message != nil && e.Message.Header.MsgType == "input_request" })
	require.NoError(t, a.Send(request(t, kernel.Stdin, a.session, "input_reply", map[string]string{"value": "Ada"})))
	all := a.until(ended(m))
	require.Contains(t, fmt.Sprint(content(t, all, "stream")["text"]), "Ada")
	require.NotContains(t, describe(b.until(func(e kernel.Entry) bool { return state(e) == "idle" })), "input_request")
}

func TestClientCannotSpeakForTheKernel_P13(t *testing.T) {
	f := newFixture(t, kernel.Config{}, kerneltest.Options{})
	c := f.attach(f.start())
	err := c.Send(request(t, kernel.IOPub, c.session, "stream", map[string]string{"name": "stdout", "text": "forged"}))
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}

func TestExecuteYieldsOneExecutionAndEnds_P6(t *testing.T) {
	f := newFixture(t, kernel.Config{RestartLimit: -1}, kerneltest.Options{})
	id := f.start()
	collect := func(text string) (all []kernel.Entry, err error) {
		for e, failed := range f.Execute(t.Context(), id, kernel.ExecuteRequest{Code: text}) {
			if err = failed; err == nil {
				all = append(all, e)
			}
		}
		return all, err
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			all, err := collect(fmt.Sprintf("echo %d", i))
			if err != nil || !strings.Contains(describe(all), "execute_result") {
				t.Errorf("execution %d: %s, %v", i, describe(all), err)
			}
		})
	}
	wg.Wait()
	for _, text := range []string{"late-reply 5ms", "late-idle 5ms", "error ValueError no"} {
		all, err := collect(text)
		require.NoError(t, err)
		require.Contains(t, describe(all), "execute_reply")
		require.Contains(t, describe(all), "status:idle")
	}
	all, err := collect("die 3")
	require.NoError(t, err)
	require.Contains(t, content(t, all, "error")["evalue"], "exit code 3")
	s, err := f.Get(id)
	require.NoError(t, err)
	require.Zero(t, s.Connections)
	_, err = collectFrom(f.Execute(t.Context(), "nope", kernel.ExecuteRequest{}))
	require.Equal(t, fault.NotFound, fault.KindOf(err))
}

func collectFrom(seq func(func(kernel.Entry, error) bool)) (all []kernel.Entry, err error) {
	for e, failed := range seq {
		all, err = append(all, e), failed
	}
	return all, err
}

func TestSlowClientIsToldWhatItMissed_P4_P10(t *testing.T) {
	f := newFixture(t, kernel.Config{Journal: kernel.JournalLimits{MaxBytes: 256 << 10, KeepBytes: 64 << 10}}, kerneltest.Options{})
	id := f.start()
	slow, quick := f.attach(id), f.attach(id)
	m := slow.run("flood 5000 200")
	quick.until(func(e kernel.Entry) bool { return state(e) == "idle" })
	all := slow.until(ended(m))
	require.NotNil(t, all[0].Gap)
	streams := strings.Count(describe(all), "stream")
	require.Equal(t, 1, strings.Count(describe(all), "gap"))
	dropped := all[0].Gap.Dropped
	require.Greater(t, dropped, uint64(1000))
	require.InDelta(t, 5000+3, uint64(streams)+dropped, 4, "streams, and the execute_input and statuses around them")
}

func TestCloseEndsAllInTime_P15(t *testing.T) {
	f := newFixture(t, kernel.Config{ShutdownWait: time.Hour}, kerneltest.Options{})
	for range 5 {
		c := f.attach(f.start())
		c.run("hang")
		c.until(func(e kernel.Entry) bool { return state(e) == "busy" })
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.Error(t, f.Close(ctx), "it says that it had to kill")
	require.Empty(t, f.List())
	_, err := f.Start(t.Context(), kernel.StartOptions{})
	require.Equal(t, fault.Busy, fault.KindOf(err))
}
