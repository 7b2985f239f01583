package kerneltest_test

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/kernel/kerneltest"
)

// rawDial connects without speaking ZMTP.
func rawDial(t *testing.T, k *kerneltest.Kernel, socket string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", strings.TrimPrefix(k.Endpoint(socket), "ipc://"))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(deadline)))
	return conn
}

// rawSub speaks ZMTP 3.1 by hand as a SUB socket without subscriptions.
func rawSub(t *testing.T, k *kerneltest.Kernel) net.Conn {
	t.Helper()
	conn := rawDial(t, k, "iopub")
	write(t, conn, nullGreeting()+"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB")
	readUntil(t, conn, "\x05READY\x0bSocket-Type\x00\x00\x00\x04XPUB")
	return conn
}

// subscribe is rawSub subscribed to everything, the welcome read.
func subscribe(t *testing.T, k *kerneltest.Kernel) net.Conn {
	t.Helper()
	conn := rawSub(t, k)
	write(t, conn, "\x04\x0a\x09SUBSCRIBE")
	readUntil(t, conn, "iopub_welcome", `{"subscription":""}`)
	return conn
}

func write(t *testing.T, conn net.Conn, s string) {
	t.Helper()
	_, err := io.WriteString(conn, s)
	require.NoError(t, err)
}

// readUntil reads until all texts have come, in this order, and gives what it read.
func readUntil(t *testing.T, conn net.Conn, texts ...string) []byte {
	t.Helper()
	var all []byte
	buf := make([]byte, 64<<10)
	from := 0
	for _, text := range texts {
		for {
			if i := bytes.Index(all[from:], []byte(text)); i >= 0 {
				from += i + len(text)
				break
			}
			from = max(from, len(all)-len(text))
			n, err := conn.Read(buf)
			require.NoError(t, err)
			all = append(all, buf[:n]...)
		}
	}
	return all
}

func TestConnectionsCanBeTakenImpolitely(t *testing.T) {
	k := kerneltest.Start(t, kerneltest.Options{Accept: map[string]kerneltest.Accept{
		"shell": kerneltest.AcceptSilent, "iopub": kerneltest.AcceptGarbage, "stdin": kerneltest.AcceptHalf,
		"control": kerneltest.AcceptClose, "hb": kerneltest.AcceptHuge,
	}})
	buf := make([]byte, 200)

	n, err := io.ReadAtLeast(rawDial(t, k, "iopub"), buf, 64)
	require.NoError(t, err)
	require.Equal(t, "garbage!", string(buf[:8]))
	require.Equal(t, 64, n)

	n, err = io.ReadAtLeast(rawDial(t, k, "stdin"), buf, 32)
	require.NoError(t, err)
	require.Equal(t, 32, n)

	_, err = rawDial(t, k, "control").Read(buf)
	require.ErrorIs(t, err, io.EOF)

	_, err = io.ReadAtLeast(rawDial(t, k, "hb"), buf, 64+9)
	require.NoError(t, err)
	require.Equal(t, "\x06\x40\x00\x00\x00\x00\x00\x00\x00", string(buf[64:73]))

	silent := rawDial(t, k, "shell")
	require.NoError(t, silent.SetDeadline(time.Now().Add(50*time.Millisecond)))
	_, err = silent.Read(buf)
	require.ErrorContains(t, err, "timeout")
}

func TestStrangersAreTurnedAway(t *testing.T) {
	k := kerneltest.Start(t, kerneltest.Options{})
	for name, hello := range map[string]string{
		"HTTP":           "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" + strings.Repeat(" ", 64),
		"CURVE":          "\xff\x00\x00\x00\x00\x00\x00\x00\x00\x7f\x03\x01CURVE" + strings.Repeat("\x00", 47),
		"ZMTP 2":         "\xff\x00\x00\x00\x00\x00\x00\x00\x00\x7f\x01\x01NULL" + strings.Repeat("\x00", 48),
		"wrong socket":   nullGreeting() + "\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB",
		"no READY":       nullGreeting() + "\x00\x05hello",
		"property short": nullGreeting() + "\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x99SUB",
		"huge READY":     nullGreeting() + "\x06\x40\x00\x00\x00\x00\x00\x00\x00READY",
	} {
		t.Run(name, func(t *testing.T) {
			conn := rawDial(t, k, "shell")
			write(t, conn, hello)
			_, err := io.Copy(io.Discard, conn)
			if err != nil { // it closed with our bytes unread
				require.ErrorContains(t, err, "connection reset")
			}
		})
	}
	// The kernel still serves others.
	require.Equal(t, "ok", field(answer(dial(t, k), "echo x"), "status"))
}

func nullGreeting() string {
	return "\xff\x00\x00\x00\x00\x00\x00\x00\x00\x7f\x03\x01NULL" + strings.Repeat("\x00", 48)
}

func TestSubscriptionsChooseByPrefix(t *testing.T) {
	k := kerneltest.Start(t, kerneltest.Options{})
	c := newClient(t, k)
	c.connect(k, kernel.Shell)
	sub := rawSub(t, k)
	write(t, sub, "\x04\x11\x09SUBSCRIBEkernel.") // 3.1's command
	seen := readUntil(t, sub, "\x01\x07kernel.", `{"subscription":"kernel."}`)
	require.NotContains(t, string(seen), "status")
	answer(c, "echo one")
	readUntil(t, sub, "one", idleStatus)

	write(t, sub, "\x00\x04\x01abc"+"\x04\x0e\x06CANCELkernel.") // 3.0's message, and 3.1's command
	readUntil(t, sub, `{"subscription":"abc"}`)
	write(t, sub, "\x04\x0a\x04PING\x00\x00ctx") // answered after the CANCEL took hold
	readUntil(t, sub, "\x04\x08\x04PONGctx")
	answer(c, "echo two")
	write(t, sub, "\x04\x0a\x04PING\x00\x00end")
	require.NotContains(t, string(readUntil(t, sub, "\x04\x08\x04PONGend")), "two")
}

// answer executes code and waits for the reply.
func answer(c *client, code string) *kernel.Message {
	c.t.Helper()
	c.execute(code)
	return c.next(kernel.Shell)
}

func TestHostileFramesReachSubscribers(t *testing.T) {
	for code, want := range map[string]string{
		"hugeframe iopub": "\x03\x40\x00\x00\x00\x00\x00\x00\x00and so on",
		"half iopub":      "\x01\x09<IDS|",
		"garbage iopub":   "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xffgarbage",
	} {
		t.Run(code, func(t *testing.T) {
			k := kerneltest.Start(t, kerneltest.Options{})
			sub := subscribe(t, k)
			c := newClient(t, k)
			c.connect(k, kernel.Shell)
			require.Equal(t, "ok", field(answer(c, code), "status"))
			readUntil(t, sub, want)
		})
	}
}

func TestBadSignatureIsFollowedByAGoodOne(t *testing.T) {
	c := dial(t, kerneltest.Start(t, kerneltest.Options{}))
	out := c.outputs(c.execute("badsig"))
	require.Equal(t, "genuine\n", field(out[2], "text"))
	require.Equal(t, fault.Forbidden, fault.KindOf(<-c.bad))
}

func TestReplayIsTheSameMessage(t *testing.T) {
	c := dial(t, kerneltest.Start(t, kerneltest.Options{}))
	out := c.outputs(c.execute("replay"))
	require.Equal(t, out[2], out[3])
}

func TestRepliesAndStatusesCanBeMissingOrLate(t *testing.T) {
	c := dial(t, kerneltest.Start(t, kerneltest.Options{}))

	c.outputs(c.execute("noreply"))
	require.Equal(t, "kernel_info_reply", func() string {
		c.send(kernel.Shell, "kernel_info_request", `{}`)
		return c.next(kernel.Shell).Header.MsgType
	}())
	require.Len(t, c.outputs("req-2"), 2)

	answer(c, "noidle")
	require.Equal(t, []string{"status", "execute_input"}, []string{
		c.next(kernel.IOPub).Header.MsgType, c.next(kernel.IOPub).Header.MsgType,
	})

	// Idle comes although its reply will only come with the interrupt.
	c.outputs(c.execute("late-reply 1h"))
	c.send(kernel.Control, "interrupt_request", `{}`)
	require.Equal(t, "error", field(c.next(kernel.Shell), "status"))
}

func TestHangIgnoresAllButHeartbeats(t *testing.T) {
	k := kerneltest.Start(t, kerneltest.Options{})
	c := dial(t, k)
	c.execute("print here\nhang")
	for c.next(kernel.IOPub).Header.MsgType != "stream" {
	}
	require.Eventually(t, k.Hung, deadline, time.Millisecond)
	c.beat()
	k.Interrupt()
	k.Terminate()
	c.send(kernel.Control, "shutdown_request", `{}`)
	c.beat()
	select {
	case <-k.Done():
		require.Fail(t, "a hung kernel ended")
	case m := <-c.inbox[kernel.Control]:
		require.Fail(t, "a hung kernel answered", "%s", m.Header.MsgType)
	case <-time.After(50 * time.Millisecond):
	}
	k.Close()
	require.Equal(t, -1, k.Exit().Code)
}

func TestDieCutsConnections(t *testing.T) {
	k := kerneltest.Start(t, kerneltest.Options{})
	sub := subscribe(t, k)
	c := newClient(t, k)
	c.connect(k, kernel.Shell)
	c.execute("die 3")
	_, err := io.Copy(io.Discard, sub)
	require.NoError(t, err)
	<-k.Done()
	require.Equal(t, kernel.Exit{Code: 3}, k.Exit())
}

func TestCutConnectionsCanBeMadeAgain(t *testing.T) {
	k := kerneltest.Start(t, kerneltest.Options{})
	sub := subscribe(t, k)
	c := newClient(t, k)
	c.connect(k, kernel.Shell)
	require.Equal(t, "ok", field(answer(c, "cut iopub"), "status"))
	_, err := io.Copy(io.Discard, sub)
	require.NoError(t, err)
	sub = subscribe(t, k) // a new subscription to everything, as the old one is gone: it is welcomed
	answer(c, "echo x")
	readUntil(t, sub, idleStatus)
}

const idleStatus = `{"execution_state":"idle"}`

// A libzmq PUB drops what a subscriber does not take; so that tests can show that our readers never make it.
func TestHighWaterMarkDrops(t *testing.T) {
	k := kerneltest.Start(t, kerneltest.Options{HWM: 100})
	sub := subscribe(t, k)
	c := newClient(t, k)
	c.connect(k, kernel.Shell)
	require.Equal(t, "ok", field(answer(c, "flood 2000 10000"), "status")) // although sub does not read
	require.Greater(t, k.Dropped(), 1000)
	readUntil(t, sub, `{"seq":0}`, `{"seq":50}`)
}

func TestBlockingWaitsForTheSubscriber(t *testing.T) {
	k := kerneltest.Start(t, kerneltest.Options{})
	sub := subscribe(t, k)
	c := newClient(t, k)
	c.connect(k, kernel.Shell)
	c.execute("flood 2000 10000")
	seen := readUntil(t, sub, `{"seq":1999}`)
	require.Equal(t, 2000, bytes.Count(seen, []byte(`{"seq":`)))
	require.Zero(t, k.Dropped())
}

func TestWithoutWelcome(t *testing.T) {
	k := kerneltest.Start(t, kerneltest.Options{NoWelcome: true})
	c := newClient(t, k)
	c.connect(k, kernel.Shell)
	c.connect(k, kernel.IOPub)
	// The subscription takes hold at some time: nudge until an idle is heard.
	require.Eventually(t, func() bool {
		c.send(kernel.Shell, "kernel_info_request", `{}`)
		c.next(kernel.Shell)
		select {
		case m := <-c.inbox[kernel.IOPub]:
			return m.Header.MsgType == "status"
		default:
			return false
		}
	}, deadline, time.Millisecond)
}
