package kernel_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/kernel/kerneltest"
)

// unsettled tells the Manager that has c's kernel now of what was sent to the one before.
func (c *frontend) unsettled(m *kernel.Message) {
	c.t.Helper()
	told, ok := c.Client.(interface{ Unsettled(*kernel.Message) })
	require.True(c.t, ok)
	told.Unsettled(m)
}

// count counts the replies to m.
func replies(all []kernel.Entry, m *kernel.Message) (n int) {
	for _, e := range all {
		if e.Message != nil && e.Message.Channel == kernel.Shell && e.Message.Parent.MsgID == m.Header.MsgID {
			n++
		}
	}
	return n
}

// What was sent to a kernel host that died before it took it has an end: no kernel will ever answer it.
func TestWhatNoKernelGotEnds_P6(t *testing.T) {
	for name, wait := range map[string]bool{"at once": false, "later": true} {
		t.Run(name, func(t *testing.T) {
			f := recording(t, kerneltest.Options{})
			id := f.start()
			before := f.attach(id)
			before.until(ended(before.run("echo warm")))
			f.next()
			if wait { // what the kernel may still have owed was settled
				f.waitState(id, "idle")
			}
			c := f.attachAs(id, before.session, nil)
			lost := code(t, c.session, "echo never")
			c.unsettled(lost)
			all := c.until(ended(lost))
			require.Equal(t, "error", content(t, all, "execute_reply")["status"])
			require.Equal(t, 1, replies(all, lost))
			require.Equal(t, "works\n", content(t, c.until(ended(c.run("print works"))), "stream")["text"])
		})
	}
}

// What the kernel got, and works on or has ended, has its own answer and no other.
func TestWhatAKernelGotIsAnsweredOnce_P6(t *testing.T) {
	f := recording(t, kerneltest.Options{})
	id := f.start()
	before := f.attach(id)
	over := before.run("print over")
	before.until(ended(over))
	working := before.run("print begun\nsleep 500ms\nprint on")
	before.until(func(e kernel.Entry) bool { return e.Message != nil && e.Message.Header.MsgType == "stream" })
	f.next()
	c := f.attachAs(id, before.session, nil)
	c.unsettled(over)
	c.unsettled(working)
	all := c.until(ended(working))
	last := c.run("print last")
	all = append(all, c.until(ended(last))...)
	require.Zero(t, replies(all, over))
	require.Equal(t, 1, replies(all, working))
	require.Equal(t, "ok", content(t, all, "execute_reply")["status"])
}

// A request that is open at a kernel whose process has ended has its end from that.
func TestWhatADeadKernelGotEnds_P6(t *testing.T) {
	f := recording(t, kerneltest.Options{})
	id := f.start()
	before := f.attach(id)
	before.until(ended(before.run("echo warm")))
	require.NoError(t, f.Leave(t.Context()))
	for _, k := range f.prov.Kernels() {
		k.Close()
	}
	f.manage()
	c := f.attachAs(id, before.session, nil)
	lost := code(t, c.session, "echo never")
	c.unsettled(lost)
	all := c.until(ended(lost))
	require.Equal(t, "error", content(t, all, "execute_reply")["status"])
}
