package kernel_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/kernel/kerneltest"
)

// recording is a fixture whose kernels are recorded.
func recording(t *testing.T, o kerneltest.Options) *fixture {
	return newFixture(t, kernel.Config{StateDir: t.TempDir()}, o)
}

func (f *fixture) recordOf(id string) string {
	return filepath.Join(f.cfg.StateDir, "kernels", id, "record.json")
}

// An idle kernel goes on under the next Manager: same process, same id, and its answers reach new clients.
func TestAnIdleKernelIsTakenOver_P3(t *testing.T) {
	for _, spec := range []string{"synth", "synth-tcp"} {
		t.Run(spec, func(t *testing.T) {
			f := recording(t, kerneltest.Options{})
			s, err := f.Start(t.Context(), kernel.StartOptions{ID: "mine", Spec: spec, Env: map[string]string{"A": "b"}})
			require.NoError(t, err)
			c := f.attach(s.ID)
			c.until(ended(c.run("echo warm")))
			second := f.start()
			f.waitState(second, "idle")

			f.next()
			require.Equal(t, []string{s.ID, second}, ids(f.List()), "in the order of their starts")
			c = f.attach(s.ID)
			all := c.until(ended(c.run("env A")))
			require.Equal(t, "b\n", content(t, all, "stream")["text"])
			require.EqualValues(t, 2, content(t, all, "execute_reply")["execution_count"], "the same process")
			f.waitState(s.ID, "idle")
			require.Len(t, f.prov.Kernels(), 2)

			// Everything that can be done to a kernel can be done to this one.
			sleep := c.run("sleep 10m")
			c.until(func(e kernel.Entry) bool { return e.Message != nil && e.Message.Header.MsgType == "execute_input" })
			require.NoError(t, f.Interrupt(t.Context(), s.ID))
			require.Equal(t, "KeyboardInterrupt", content(t, c.until(ended(sleep)), "error")["ename"])
			require.NoError(t, f.Restart(t.Context(), s.ID))
			require.EqualValues(t, 1, content(t, c.until(ended(c.run("echo anew"))), "execute_reply")["execution_count"])
			f.next()
			require.NoError(t, f.Shutdown(t.Context(), s.ID))
			require.NoFileExists(t, filepath.Dir(f.recordOf(s.ID)))
			require.FileExists(t, f.recordOf(second))
		})
	}
}

func ids(list []kernel.Status) (ids []string) {
	for _, s := range list {
		ids = append(ids, s.ID)
	}
	return ids
}

// A busy kernel is taken over without waiting for it, can be interrupted at once, and what it says reaches the next
// Manager's clients.
func TestABusyKernelIsTakenOver_P3_P5(t *testing.T) {
	f := recording(t, kerneltest.Options{NoWelcome: true})
	id := f.start()
	c := f.attach(id)
	first := c.run("sleep 10m")
	c.until(func(e kernel.Entry) bool { return e.Message != nil && e.Message.Header.MsgType == "execute_input" })

	f.next()
	require.Equal(t, "busy", f.Manager.List()[0].ExecutionState)
	c = f.attachAs(id, c.session, nil)
	queued := c.run("echo queued")
	require.NoError(t, f.Interrupt(t.Context(), id))
	one, two := ended(first), ended(queued)
	oneEnded, twoEnded := false, false
	c.until(func(e kernel.Entry) bool {
		oneEnded, twoEnded = oneEnded || one(e), twoEnded || two(e)
		return oneEnded && twoEnded
	})
	f.waitState(id, "idle")
}

// An input() that waited when its server died is answered by the page that comes back.
func TestInputPendingOverATakeover_P3(t *testing.T) {
	f := recording(t, kerneltest.Options{})
	id := f.start()
	c := f.attach(id)
	for _, question := range []string{"before", "after"} { // the next question finds its way, too
		asks := c.run("input " + question)
		c.until(func(e kernel.Entry) bool { return e.Message != nil && e.Message.Header.MsgType == "input_request" })
		if question == "before" {
			f.next()
			c = f.attachAs(id, c.session, nil)
		}
		require.NoError(t, c.Send(request(t, kernel.Stdin, c.session, "input_reply", map[string]string{"value": "Ada"})))
		require.Equal(t, "Ada\n", content(t, c.until(ended(asks)), "stream")["text"])
	}
}

// A page that comes back reads on where it was: it is told once that something may be missing, and gets what the kernel
// said under the next server before the page was back.
func TestPlacesOutliveTheServer_P3_P4(t *testing.T) {
	f := recording(t, kerneltest.Options{})
	id := f.start()
	here, gone := f.attach(id), f.attach(id)
	here.until(ended(here.run("print one")))
	gone.until(said("one\n"))
	gone.Detach()
	here.until(ended(here.run("print two")))

	f.next()
	other := f.attach(id)
	other.until(ended(other.run("print three")))
	again := f.attachAs(id, here.session, nil)
	all := again.until(said("three\n"))
	require.Equal(t, "gap", strings.Fields(describe(all))[0], describe(all))
	require.Equal(t, 1, strings.Count(describe(all), "gap"))
	require.NotContains(t, texts(all), "two\n", "it had that")
	all = f.attachAs(id, gone.session, nil).until(said("three\n"))
	require.Equal(t, []string{"two\n", "three\n"}, texts(all))
	require.Equal(t, 1, strings.Count(describe(all), "gap"))
}

// said matches a line on stdout.
func said(text string) func(kernel.Entry) bool {
	return func(e kernel.Entry) bool { return slices.Contains(texts([]kernel.Entry{e}), text) }
}

// texts are what streams said.
func texts(list []kernel.Entry) (all []string) {
	for _, e := range list {
		if e.Message == nil || e.Message.Header.MsgType != "stream" {
			continue
		}
		var c struct{ Text string }
		if json.Unmarshal(e.Message.Parts[kernel.PartContent], &c) == nil {
			all = append(all, c.Text)
		}
	}
	return all
}

// What ran when its server ended ends, whatever became of it: finished while nobody listened, or dead.
func TestWhatWasOpenEnds_P6_P12(t *testing.T) {
	t.Run("finished", func(t *testing.T) {
		working, finish := make(chan struct{}, 1), make(chan struct{})
		f := recording(t, kerneltest.Options{Script: func(r *kerneltest.Request) {
			if r.Code() == "slow" {
				working <- struct{}{}
				<-finish
			}
			r.Default()
		}})
		id := f.start()
		c := f.attach(id)
		m := c.run("slow")
		<-working
		require.NoError(t, f.Leave(t.Context()))
		close(finish)
		require.Eventually(t, func() bool { return f.prov.Kernels()[0].Idle() }, patience, time.Millisecond)
		f.manage()
		c = f.attachAs(id, c.session, nil)
		reply := content(t, c.until(ended(m)), "execute_reply")
		require.Equal(t, "ReplyLost", reply["ename"])
		require.Contains(t, reply["evalue"], "the server ended")
		f.waitState(id, "idle")
		c.until(ended(c.run("echo again")))
	})
	t.Run("dead", func(t *testing.T) {
		f := recording(t, kerneltest.Options{})
		id := f.start()
		c := f.attach(id)
		c.until(ended(c.run("echo before")))
		running := c.run("sleep 10m")
		c.until(func(e kernel.Entry) bool { return e.Message != nil && e.Message.Header.MsgType == "execute_input" })
		queued := c.run("echo queued")
		require.NoError(t, f.Leave(t.Context()))
		f.prov.Kernels()[0].Close()
		for range 2 { // what has ended does not end again
			f.manage()
			s, err := f.Get(id)
			require.NoError(t, err)
			require.True(t, s.Lost)
			watch, err := f.Attach(id, kernel.AttachOptions{Observe: true, Since: &kernel.Position{}})
			require.NoError(t, err)
			all := (&frontend{Client: watch, t: t}).until(func(e kernel.Entry) bool { return state(e) == "dead" })
			replies, idles := endings(all)
			for _, m := range []*kernel.Message{running, queued} {
				require.Equal(t, 1, replies[m.Header.MsgID])
				require.Equal(t, 1, idles[m.Header.MsgID])
			}
			require.Contains(t, content(t, all, "error")["evalue"], "while nobody watched")
			require.NoError(t, f.Leave(t.Context()))
		}
		f.manage()
	})
}

// A kernel that died while nobody was there is known, dead, with the reason, until somebody wants it no more.
func TestALostKernelIsKnown_P12(t *testing.T) {
	f := recording(t, kerneltest.Options{})
	id := f.start()
	f.waitState(id, "idle")
	require.NoError(t, f.Leave(t.Context()))
	f.prov.Kernels()[0].Close()
	f.manage()
	for range 2 { // the reason outlives another server
		s, err := f.Get(id)
		require.NoError(t, err)
		require.True(t, s.Lost)
		require.Equal(t, "dead", s.ExecutionState)
		require.Contains(t, s.Reason, "while nobody watched")
		f.next()
	}
	c := f.attach(id)
	require.Equal(t, "error", content(t, c.until(ended(c.run("echo x"))), "execute_reply")["status"])
	require.NoError(t, f.Restart(t.Context(), id))
	c.until(ended(c.run("echo x")))
	s, err := f.Get(id)
	require.NoError(t, err)
	require.False(t, s.Lost)
	require.Empty(t, s.Reason)
	f.prov.Kernels()[1].Close()
	f.waitState(id, "idle") // started again
	require.NoError(t, f.Shutdown(t.Context(), id))
	f.next()
	require.Empty(t, f.List())
}

// The record of a kernel that was given up says why.
func TestADeadKernelsReasonIsRecorded_P12(t *testing.T) {
	f := newFixture(t, kernel.Config{StateDir: t.TempDir(), RestartLimit: -1}, kerneltest.Options{})
	id := f.start()
	c := f.attach(id)
	c.until(ended(c.run("die 3")))
	f.waitState(id, "dead")
	f.next()
	s, err := f.Get(id)
	require.NoError(t, err)
	require.Contains(t, s.Reason, "exit code 3")
	require.True(t, s.Lost)
}

// A record that cannot be used is set aside with a note, its kernel is ended and nobody else's.
func TestADamagedRecordIsSetAside_P16_P11(t *testing.T) {
	f := recording(t, kerneltest.Options{})
	good := f.start()
	other := newFixture(t, kernel.Config{StateDir: t.TempDir()}, kerneltest.Options{})
	other.prov = f.prov
	other.manage()
	stranger := other.start()
	damages := map[string]func(raw string) string{
		"torn":         func(raw string) string { return raw[:len(raw)/2] },
		"empty":        func(string) string { return "" },
		"another's":    func(raw string) string { return strings.ReplaceAll(raw, "another-s", "someone-s") },
		"newer":        func(raw string) string { return strings.Replace(raw, `"Version": 1`, `"Version": 2`, 1) },
		"foreign path": func(raw string) string { return strings.Replace(raw, `"File": "`, `"File": "/`, 1) },
	}
	for name, damage := range damages {
		id := strings.NewReplacer("'", "-", " ", "-").Replace(name)
		_, err := f.Start(t.Context(), kernel.StartOptions{ID: id})
		require.NoError(t, err)
		raw, err := os.ReadFile(f.recordOf(id))
		require.NoError(t, err)
		require.NoError(t, f.Leave(t.Context()))
		require.NoError(t, os.WriteFile(f.recordOf(id), []byte(damage(string(raw))), 0o600))
		f.manage()
		_, err = f.Get(id)
		require.Equal(t, fault.NotFound, fault.KindOf(err), name)
		aside, err := filepath.Glob(filepath.Dir(f.recordOf(id)) + ".damaged-*/note.txt")
		require.NoError(t, err)
		require.Len(t, aside, 1, name)
		kernels := f.prov.Kernels()
		<-kernels[len(kernels)-1].Done()
		f.waitState(good, "idle")
		other.waitState(stranger, "idle")
	}
	f.next()
	require.Equal(t, []string{good}, ids(f.List()))
}

// Of a start that was cut off between its record and its process, nothing is left.
func TestAStartThatWasCutOff_P11(t *testing.T) {
	f := recording(t, kerneltest.Options{})
	id := f.start()
	f.waitState(id, "idle")
	require.NoError(t, f.Leave(t.Context()))
	// As if the server had died before it knew the process: it is found by its mark.
	var record map[string]any
	raw, err := os.ReadFile(f.recordOf(id))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &record))
	record["Process"] = map[string]any{"Mark": record["Process"].(map[string]any)["Mark"]}
	raw, err = json.Marshal(record)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(f.recordOf(id), raw, 0o600))
	// And one that never got a record.
	empty := filepath.Join(f.cfg.StateDir, "kernels", "never")
	require.NoError(t, os.Mkdir(empty, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(empty, ".record.json-1"), nil, 0o600))
	f.manage()
	require.NoFileExists(t, empty)
	c := f.attach(id)
	c.until(ended(c.run("echo the same")))
	require.Len(t, f.prov.Kernels(), 1)
}

func TestNothingIsKnownBeforeRecover(t *testing.T) {
	f := recording(t, kerneltest.Options{})
	id := f.start()
	require.NoError(t, f.Leave(t.Context()))
	_, err := f.Get(id)
	require.NoError(t, err)
	require.Equal(t, fault.Busy, fault.KindOf(f.Shutdown(t.Context(), id)), "it is the next server's now")
	_, err = f.Start(t.Context(), kernel.StartOptions{})
	require.Equal(t, fault.Busy, fault.KindOf(err))

	m := kernel.NewManager(f.cfg, f.specs, f.prov, nil)
	_, err = m.Get(id)
	require.Equal(t, fault.Busy, fault.KindOf(err), "never NotFound")
	_, err = m.Start(t.Context(), kernel.StartOptions{})
	require.Equal(t, fault.Busy, fault.KindOf(err))
	require.NoError(t, m.Recover(t.Context()))
	_, err = m.Get(id)
	require.NoError(t, err)
	_, err = m.Get("other")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	require.NoError(t, m.Close(t.Context()))
	f.manage()
	require.Empty(t, f.List(), "a kernel that was ended is forgotten")
}

// Kernels that ended long ago and that nobody asks for are forgotten, the oldest first.
func TestLostKernelsAreBounded_P9(t *testing.T) {
	f := recording(t, kerneltest.Options{})
	f.waitState(f.start(), "idle")
	id := f.List()[0].ID
	require.NoError(t, f.Leave(t.Context()))
	f.prov.Kernels()[0].Close()
	raw, err := os.ReadFile(f.recordOf(id))
	require.NoError(t, err)
	for i := range 501 {
		other := fmt.Sprintf("lost-%03d", i)
		text := strings.ReplaceAll(string(raw), id, other)
		text = strings.Replace(text, `"Order": 1,`, fmt.Sprintf(`"Order": %d,`, i+2), 1)
		require.NoError(t, os.Mkdir(filepath.Dir(f.recordOf(other)), 0o700))
		require.NoError(t, os.WriteFile(f.recordOf(other), []byte(text), 0o600))
	}
	f.manage()
	all := ids(f.List())
	require.Len(t, all, 500)
	require.Equal(t, "lost-001", all[0])
	require.NoFileExists(t, f.recordOf(id))
	s, err := f.Start(t.Context(), kernel.StartOptions{})
	require.NoError(t, err)
	require.Equal(t, s.ID, f.List()[500].ID, "starts are numbered on")
}
