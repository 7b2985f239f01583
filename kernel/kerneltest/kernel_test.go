package kerneltest_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/kernel/kerneltest"
)

// everyTransport runs a test over ipc and tcp, signed and not.
func everyTransport(t *testing.T, test func(t *testing.T, o kerneltest.Options)) {
	for _, o := range []kerneltest.Options{
		{Transport: "ipc"}, {Transport: "tcp"}, {Transport: "ipc", Unsigned: true},
	} {
		name := o.Transport
		if o.Unsigned {
			name += " unsigned"
		}
		t.Run(name, func(t *testing.T) { test(t, o) })
	}
}

func TestExecuteIsBracketedAndAnswered(t *testing.T) {
	everyTransport(t, func(t *testing.T, o kerneltest.Options) {
		c := dial(t, kerneltest.Start(t, o))
		id := c.execute("echo hello")
		out := c.outputs(id)
		require.Equal(t, []string{"status", "execute_input", "stream", "execute_result", "status"}, types(out))
		require.Equal(t, "busy", state(out[0]))
		require.Equal(t, "hello\n", field(out[2], "text"))
		// Fields of the request's header that the kernel does not know come back as they were.
		require.Contains(t, string(out[0].Parts[kernel.PartParent]), `"subshell_id":"7","x":1.0`)

		reply := c.next(kernel.Shell)
		require.Equal(t, "execute_reply", reply.Header.MsgType)
		require.Equal(t, id, reply.Parent.MsgID)
		require.Equal(t, "ok", field(reply, "status"))
		require.JSONEq(t, `{"status":"ok","execution_count":1,"user_expressions":{},"payload":[]}`,
			string(reply.Parts[kernel.PartContent]))
		require.Empty(t, c.bad)
	})
}

func TestHeartbeatEchoes(t *testing.T) {
	everyTransport(t, func(t *testing.T, o kerneltest.Options) {
		c := dial(t, kerneltest.Start(t, o))
		c.beat()
		c.beat()
	})
}

func TestTrivialRequestsAreAnswered(t *testing.T) {
	c := dial(t, kerneltest.Start(t, kerneltest.Options{}))
	for _, name := range []string{"kernel_info", "comm_info", "complete", "inspect", "is_complete", "history"} {
		id := c.send(kernel.Shell, name+"_request", `{"code":"","cursor_pos":0}`)
		reply := c.next(kernel.Shell)
		require.Equal(t, name+"_reply", reply.Header.MsgType)
		require.Equal(t, id, reply.Parent.MsgID)
		require.Equal(t, []string{"status", "status"}, types(c.outputs(id)))
	}
}

func TestControlAnswersWhileShellIsBusy(t *testing.T) {
	c := dial(t, kerneltest.Start(t, kerneltest.Options{}))
	id := c.execute("print started\nsleep 1h")
	for c.next(kernel.IOPub).Header.MsgType != "stream" {
	}
	c.send(kernel.Control, "kernel_info_request", `{}`)
	require.Equal(t, "kernel_info_reply", c.next(kernel.Control).Header.MsgType)
	c.send(kernel.Control, "interrupt_request", `{}`)
	require.Equal(t, "interrupt_reply", c.next(kernel.Control).Header.MsgType)
	reply := c.next(kernel.Shell)
	require.Equal(t, id, reply.Parent.MsgID)
	require.Equal(t, "KeyboardInterrupt", field(reply, "ename"))
}

func TestInputComesBackOverStdin(t *testing.T) {
	everyTransport(t, func(t *testing.T, o kerneltest.Options) {
		c := dial(t, kerneltest.Start(t, o))
		id := c.execute("input Name?")
		ask := c.next(kernel.Stdin)
		require.Equal(t, "input_request", ask.Header.MsgType)
		require.Equal(t, "Name?", field(ask, "prompt"))
		require.Equal(t, id, ask.Parent.MsgID)
		c.send(kernel.Stdin, "input_reply", `{"value":"Ada"}`)
		require.Equal(t, "ok", field(c.next(kernel.Shell), "status"))
		require.Equal(t, "Ada\n", field(c.outputs(id)[2], "text"))
	})
}

func TestShutdownRepliesThenEnds(t *testing.T) {
	k := kerneltest.Start(t, kerneltest.Options{})
	c := dial(t, k)
	c.send(kernel.Control, "shutdown_request", `{"restart":true}`)
	reply := c.next(kernel.Control)
	require.JSONEq(t, `{"status":"ok","restart":true}`, string(reply.Parts[kernel.PartContent]))
	<-k.Done()
	require.Equal(t, kernel.Exit{}, k.Exit())
}

func TestErrorAbortsWhatIsQueued(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	k := kerneltest.Start(t, kerneltest.Options{Script: func(r *kerneltest.Request) {
		if r.Code() == "wait" {
			close(started)
			<-release
			r.Error("ValueError", "no")
			return
		}
		r.Default()
	}})
	c := dial(t, k)
	c.execute("wait")
	<-started
	c.execute("echo never")
	c.send(kernel.Shell, "kernel_info_request", `{}`)
	require.Eventually(t, func() bool { return k.Queued() == 2 }, deadline, time.Millisecond)
	close(release)
	require.Equal(t, "error", field(c.next(kernel.Shell), "status"))
	require.Equal(t, "aborted", field(c.next(kernel.Shell), "status"))
	require.Equal(t, "kernel_info_reply", c.next(kernel.Shell).Header.MsgType)
}

func TestFloodIsWholeAndInOrder(t *testing.T) {
	c := dial(t, kerneltest.Start(t, kerneltest.Options{}))
	const n = 5_000
	out := c.outputs(c.execute("flood 5000 100"))
	require.Len(t, out, n+3)
	for i, m := range out[2 : n+2] {
		var meta struct{ Seq int }
		require.NoError(t, json.Unmarshal(m.Parts[kernel.PartMetadata], &meta))
		require.Equal(t, i, meta.Seq)
	}
}

func TestLargeBuffersArriveWhole(t *testing.T) {
	everyTransport(t, func(t *testing.T, o kerneltest.Options) {
		c := dial(t, kerneltest.Start(t, o))
		out := c.outputs(c.execute("buffers 20 1000000"))
		require.Len(t, out, 23)
		for _, m := range out[2:22] {
			require.Len(t, m.Buffers, 1)
			require.Len(t, m.Buffers[0], 1_000_000)
			require.Equal(t, byte(999_999%256), m.Buffers[0][999_999])
		}
	})
}

func TestCommandsAreDocumented(t *testing.T) {
	c := dial(t, kerneltest.Start(t, kerneltest.Options{}))
	c.send(kernel.Shell, "complete_request", `{"code":"","cursor_pos":0}`)
	var reply struct{ Matches []string }
	require.NoError(t, json.Unmarshal(c.next(kernel.Shell).Parts[kernel.PartContent], &reply))
	var documented []string
	for line := range strings.Lines(strings.TrimSpace(kerneltest.Commands)) {
		documented = append(documented, strings.Fields(line)[0])
	}
	require.ElementsMatch(t, documented, reply.Matches)
}

func TestMalformedCommandsAreErrors(t *testing.T) {
	c := dial(t, kerneltest.Start(t, kerneltest.Options{}))
	for code, ename := range map[string]string{
		"nonsense": "NameError", "flood 3": "SyntaxError", "buffers a b": "SyntaxError", "sleep long": "SyntaxError",
		"die now": "SyntaxError", "cut heart": "SyntaxError", "half stdin": "SyntaxError", "error E text": "E",
		"order x": "SyntaxError", "flood -1 1": "SyntaxError",
	} {
		reply := answer(c, code)
		require.Equal(t, ename, field(reply, "ename"), code)
	}
}

func TestOutputsOfAllKindsKeepTheirOrder(t *testing.T) {
	c := dial(t, kerneltest.Start(t, kerneltest.Options{}))
	out := c.outputs(c.execute("order 4"))
	require.Equal(t, []string{"status", "execute_input", "stream", "stream", "display_data", "stream", "status"}, types(out))
	require.Equal(t, []string{"stdout", "stderr"}, []string{field(out[2], "name"), field(out[3], "name")})
}

// Without stdin the kernel fails instead of asking; silent executions neither count nor show their code.
func TestExecuteOptionsAreObeyed(t *testing.T) {
	c := dial(t, kerneltest.Start(t, kerneltest.Options{}))
	c.send(kernel.Shell, "execute_request", `{"code":"input ?","allow_stdin":false,"stop_on_error":false}`)
	require.Equal(t, "StdinNotImplementedError", field(c.next(kernel.Shell), "ename"))

	id := c.send(kernel.Shell, "execute_request", `{"code":"echo quiet","silent":true}`)
	c.outputs("req-1")
	require.Equal(t, []string{"status", "stream", "status"}, types(c.outputs(id)))
	require.Contains(t, string(c.next(kernel.Shell).Parts[kernel.PartContent]), `"execution_count":1`)
}

// The newest of several clients with one identity gets the input_request, as with ipykernel's ROUTER.
func TestNewestOfOneIdentityIsAsked(t *testing.T) {
	k := kerneltest.Start(t, kerneltest.Options{})
	dial(t, k)
	newest := newClient(t, k)
	newest.connect(k, kernel.Shell)
	newest.connect(k, kernel.Stdin)
	id := newest.execute("input ?")
	require.Equal(t, id, newest.next(kernel.Stdin).Parent.MsgID)
	newest.send(kernel.Stdin, "input_reply", `{"value":"x"}`)
	require.Equal(t, "ok", field(newest.next(kernel.Shell), "status"))
}

func TestInterruptEndsOnlyTheExecutionInWork(t *testing.T) {
	k := kerneltest.Start(t, kerneltest.Options{})
	c := dial(t, k)
	k.Interrupt() // of nothing
	require.Equal(t, "ok", field(answer(c, "echo x"), "status"))
	c.execute("input ?")
	c.next(kernel.Stdin)
	k.Interrupt()
	require.Equal(t, "KeyboardInterrupt", field(c.next(kernel.Shell), "ename"))
	require.Equal(t, "ok", field(answer(c, "echo y"), "status"))
}
