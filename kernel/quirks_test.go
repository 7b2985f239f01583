package kernel_test

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/kernel/kerneltest"
)

// silent leaves a request without any answer.
func silent(r *kerneltest.Request) {
	r.NoReply()
	r.NoIdle()
}

// rapaio 3.0 does not survive a message that comes right after it has bound its sockets.
func TestUnknownKernelHasTimeToSettle(t *testing.T) {
	var bound time.Time
	first := make(chan time.Duration, 1)
	f := newFixtureFunc(t, kernel.Config{}, func(kernel.Launch) (kerneltest.Options, error) {
		bound = time.Now()
		return kerneltest.Options{NoWelcome: true, Script: func(r *kerneltest.Request) {
			select {
			case first <- time.Since(bound):
			default:
			}
			r.Default()
		}}, nil
	})
	s, err := f.Start(t.Context(), kernel.StartOptions{Spec: "synth-tcp"})
	require.NoError(t, err)
	f.waitState(s.ID, "idle")
	require.GreaterOrEqual(t, <-first, 200*time.Millisecond)
}

// rapaio 3.0 binds its sockets before it knows any message.
func TestKernelThatForgetsItsFirstMessagesBecomesReady(t *testing.T) {
	var asked atomic.Int32
	f := newFixture(t, kernel.Config{}, kerneltest.Options{NoWelcome: true, Script: func(r *kerneltest.Request) {
		if asked.Add(1) <= 2 {
			silent(r)
			return
		}
		r.Default()
	}})
	id := f.start()
	c := f.attach(id)
	ran := c.until(ended(c.run("print after all")))
	require.Equal(t, "ok", content(t, ran, "execute_reply")["status"])
}

// libzmq drops what a subscriber does not take in time, idle included; rapaio 3.0 forgets what it was
// interrupted in. What comes next shows that the execution is over.
func TestExecutionWithoutAnEndIsEndedByTheNext_P5_P6(t *testing.T) {
	f := newFixture(t, kernel.Config{}, kerneltest.Options{Script: func(r *kerneltest.Request) {
		switch r.Code() {
		case "print neither":
			silent(r)
		case "print but no idle":
			r.NoIdle()
		}
		r.Default()
	}})
	id := f.start()
	c := f.attach(id)
	for _, lost := range []string{"print neither", "print but no idle"} {
		m := c.run(lost)
		next := c.run("print next")
		all := c.until(ended(next))
		all = slices.DeleteFunc(all, func(e kernel.Entry) bool {
			return e.Message == nil || e.Message.Parent.MsgID != m.Header.MsgID
		})
		require.Contains(t, describe(all), "status:idle", lost)
		reply := map[string]string{"print neither": "error", "print but no idle": "ok"}[lost]
		require.Equal(t, reply, content(t, all, "execute_reply")["status"], lost)
		f.waitState(id, "idle")
	}
}

// A kernel may end while it shakes hands; if it does not, the reason tells no path of the server (S12).
func TestKernelThatCutsUsOffIsEndedWithAReason_P12_S12(t *testing.T) {
	f := newFixture(t, kernel.Config{RestartLimit: -1}, kerneltest.Options{
		Accept: map[string]kerneltest.Accept{"shell": kerneltest.AcceptClose},
	})
	id := f.start()
	dead := f.waitState(id, "dead")
	require.Equal(t, "the kernel was ended: its connection broke again and again", dead.Reason)
}

func TestKernelThatDiesInTheHandshakeSaysWhy_P12(t *testing.T) {
	f := newFixture(t, kernel.Config{RestartLimit: -1}, kerneltest.Options{
		Accept: map[string]kerneltest.Accept{"iopub": kerneltest.AcceptClose},
	})
	id := f.start()
	require.Len(t, f.prov.Kernels(), 1)
	f.prov.Kernels()[0].Die(kernel.Exit{Code: 3, Stderr: "first\n\x1b[31mno such\x1b[0m module"})
	dead := f.waitState(id, "dead")
	require.Equal(t, "the kernel died: exit code 3: no such module", dead.Reason)
}
