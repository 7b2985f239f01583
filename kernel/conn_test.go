package kernel_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/kernel/kerneltest"
)

// patience bounds every wait in these tests: only a failing test waits so long.
const patience = 60 * time.Second

// peer is a Conn to a scripted kernel with what it received.
type peer struct {
	*kernel.Conn
	t        *testing.T
	session  string
	got      chan *kernel.Message
	rejected chan error
}

func endpoints(k *kerneltest.Kernel) kernel.Endpoints {
	ep := kernel.Endpoints{Heartbeat: k.Endpoint("hb"), Key: []byte(k.Key())}
	for ch := range ep.Channels {
		ep.Channels[ch] = k.Endpoint(kernel.Channel(ch).String())
	}
	return ep
}

func dial(t *testing.T, k *kerneltest.Kernel) *peer {
	t.Helper()
	p := &peer{t: t, session: uuid.NewString(), got: make(chan *kernel.Message, 1<<16), rejected: make(chan error, 1<<10)}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := kernel.Dial(ctx, endpoints(k), kernel.ConnOptions{
		Deliver: func(m *kernel.Message) { p.got <- m },
		Reject:  func(_ kernel.Channel, err error) { p.rejected <- err },
	})
	require.NoError(t, err)
	p.Conn = conn
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return p
}

// request makes a message of a frontend.
func request(t testing.TB, ch kernel.Channel, session, kind string, content any) *kernel.Message {
	t.Helper()
	header, err := json.Marshal(map[string]string{"msg_id": uuid.NewString(), "msg_type": kind, "session": session, "version": "5.4"})
	require.NoError(t, err)
	body, err := json.Marshal(content)
	require.NoError(t, err)
	m, err := kernel.NewMessage(ch, [4]json.RawMessage{header, json.RawMessage("{}"), json.RawMessage("{}"), body}, nil)
	require.NoError(t, err)
	return m
}

func code(t testing.TB, session, text string) *kernel.Message {
	return request(t, kernel.Shell, session, "execute_request", map[string]any{"code": text, "silent": false, "allow_stdin": true})
}

// execute sends code and waits for its reply.
func (p *peer) execute(text string) *kernel.Message {
	p.t.Helper()
	m := code(p.t, p.session, text)
	require.NoError(p.t, p.Send(m))
	return m
}

// until receives messages up to the first that match says is the last one.
func (p *peer) until(match func(*kernel.Message) bool) []*kernel.Message {
	p.t.Helper()
	var all []*kernel.Message
	timeout := time.After(patience)
	for {
		select {
		case m := <-p.got:
			all = append(all, m)
			if match(m) {
				return all
			}
		case <-timeout:
			require.FailNow(p.t, "the message did not come", "received %d others", len(all))
		}
	}
}

func replyTo(m *kernel.Message) func(*kernel.Message) bool {
	return func(got *kernel.Message) bool {
		return got.Channel == kernel.Shell && got.Parent.MsgID == m.Header.MsgID
	}
}

func TestConnTalksOverBothTransports(t *testing.T) {
	for _, transport := range []string{"ipc", "tcp"} {
		t.Run(transport, func(t *testing.T) {
			k := kerneltest.Start(t, kerneltest.Options{Transport: transport})
			p := dial(t, k)
			p.until(func(m *kernel.Message) bool { return m.Header.MsgType == "iopub_welcome" })
			m := p.execute("echo hello")
			p.until(replyTo(m))
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			require.NoError(t, p.Beat(ctx))
		})
	}
}

func TestConnDeliversAFloodWholeAndInOrder_P4(t *testing.T) {
	p := dial(t, kerneltest.Start(t, kerneltest.Options{}))
	p.until(func(m *kernel.Message) bool { return m.Header.MsgType == "iopub_welcome" })
	const n = 20000
	p.execute(fmt.Sprintf("flood %d 100", n))
	next := 0
	p.until(func(got *kernel.Message) bool {
		if got.Header.MsgType != "stream" {
			return false
		}
		var meta struct{ Seq int }
		require.NoError(t, json.Unmarshal(got.Parts[kernel.PartMetadata], &meta))
		require.Equal(t, next, meta.Seq)
		next++
		return next == n
	})
}

func TestConnDropsWhatIsForgedOrReplayed_S9(t *testing.T) {
	for _, attack := range []string{"badsig", "replay"} {
		t.Run(attack, func(t *testing.T) {
			p := dial(t, kerneltest.Start(t, kerneltest.Options{}))
			p.until(func(m *kernel.Message) bool { return m.Header.MsgType == "iopub_welcome" })
			m := p.execute(attack)
			p.until(replyTo(m))
			select {
			case err := <-p.rejected:
				require.Equal(t, fault.Forbidden, fault.KindOf(err))
			case <-time.After(patience):
				require.FailNow(t, "nothing was refused")
			}
			p.until(replyTo(p.execute("echo still here")))
		})
	}
}

// A frame that claims 2^62 bytes must not reach zmq4, which would allocate it: the connection ends, others do not.
func TestConnEndsAtAHugeFrame_S9(t *testing.T) {
	for _, attack := range []string{"hugeframe iopub", "hugeframe shell", "garbage iopub"} {
		t.Run(attack, func(t *testing.T) {
			victim := dial(t, kerneltest.Start(t, kerneltest.Options{}))
			other := dial(t, kerneltest.Start(t, kerneltest.Options{}))
			victim.execute(attack)
			select {
			case <-victim.Done():
				require.ErrorContains(t, victim.Err(), "framing")
			case <-time.After(patience):
				require.FailNow(t, "the connection did not end")
			}
			require.Equal(t, fault.Gone, fault.KindOf(victim.Send(code(t, victim.session, "echo"))))
			other.until(replyTo(other.execute("echo unharmed")))
		})
	}
}

func TestConnHandshakeObeysItsContext_S9(t *testing.T) {
	for _, accept := range []kerneltest.Accept{
		kerneltest.AcceptSilent, kerneltest.AcceptHalf, kerneltest.AcceptGarbage, kerneltest.AcceptClose, kerneltest.AcceptHuge,
	} {
		t.Run(string(accept), func(t *testing.T) {
			k := kerneltest.Start(t, kerneltest.Options{Accept: map[string]kerneltest.Accept{"control": accept}})
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			_, err := kernel.Dial(ctx, endpoints(k), kernel.ConnOptions{Deliver: func(*kernel.Message) {}})
			require.ErrorContains(t, err, "control")
		})
	}
}

func TestConnWaitsForSocketsThatAreNotThereYet(t *testing.T) {
	dir := t.TempDir()
	ep := kernel.Endpoints{Heartbeat: "ipc://" + filepath.Join(dir, "hb")}
	for ch := range ep.Channels {
		ep.Channels[ch] = "ipc://" + filepath.Join(dir, fmt.Sprint(ch))
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("never came"))
	defer cancel()
	_, err := kernel.Dial(ctx, ep, kernel.ConnOptions{Deliver: func(*kernel.Message) {}})
	require.ErrorContains(t, err, "never came")
}

func TestConnQueueIsBoundedAndControlPassesAHungShell(t *testing.T) {
	k := kerneltest.Start(t, kerneltest.Options{})
	p := dial(t, k)
	p.execute("sleep 1h")
	big := code(t, p.session, "print "+strings.Repeat("x", 400_000))
	var err error
	for range 3000 {
		if err = p.Send(big); err != nil {
			break
		}
	}
	require.Equal(t, fault.Busy, fault.KindOf(err), "a queue that grows without end is refused")
	m := request(t, kernel.Control, p.session, "interrupt_request", struct{}{})
	require.NoError(t, p.Send(m))
	p.until(func(got *kernel.Message) bool { return got.Channel == kernel.Control })
}

func TestConnCannotSendOnIOPub(t *testing.T) {
	p := dial(t, kerneltest.Start(t, kerneltest.Options{}))
	require.Equal(t, fault.Invalid, fault.KindOf(p.Send(request(t, kernel.IOPub, "s", "status", struct{}{}))))
}

func TestConnDrainsWhatADeadKernelSent(t *testing.T) {
	p := dial(t, kerneltest.Start(t, kerneltest.Options{}))
	p.until(func(m *kernel.Message) bool { return m.Header.MsgType == "iopub_welcome" })
	p.execute("print last words\ndie 3")
	select {
	case <-p.Drained():
	case <-time.After(patience):
		require.FailNow(t, "the readers did not end with the kernel")
	}
	require.Error(t, p.Err())
}

func TestConnBeatFailsWhenNobodyAnswers(t *testing.T) {
	k := kerneltest.Start(t, kerneltest.Options{})
	p := dial(t, k)
	p.execute("hang-all")
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		return p.Beat(ctx) != nil
	}, patience, 10*time.Millisecond)
}

func TestConnCloseIsIdempotent_P11(t *testing.T) {
	p := dial(t, kerneltest.Start(t, kerneltest.Options{}))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { _ = p.Close() })
	}
	wg.Wait()
	require.NoError(t, p.Err())
}

// A READY command that claims more than it holds must not end the server: zmq4 would index past its end.
func TestConnSurvivesAMalformedReady_S9(t *testing.T) {
	for name, property := range map[string]string{
		"name cut short":    "\x20Socket",
		"no value":          "\x0bSocket-Type",
		"length cut short":  "\x0bSocket-Type\x00\x00",
		"value cut short":   "\x0bSocket-Type\x00\x00\x00\x20ROUTER",
		"value of 2^32 - 1": "\x0bSocket-Type\xff\xff\xff\xffROUTER",
	} {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer ln.Close()
			var peer sync.WaitGroup
			defer peer.Wait()
			peer.Go(func() {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				ready := "\x05READY" + property
				hello := append([]byte{0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3, 1}, "NULL"...)
				hello = append(hello, make([]byte, 64-len(hello))...)
				_, _ = c.Write(append(append(hello, 4, byte(len(ready))), ready...))
				_, _ = io.Copy(io.Discard, c)
			})
			var ep kernel.Endpoints
			for ch := range ep.Channels {
				ep.Channels[ch] = "tcp://" + ln.Addr().String()
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			_, err = kernel.Dial(ctx, ep, kernel.ConnOptions{Deliver: func(*kernel.Message) {}})
			require.Error(t, err)
			require.NoError(t, ctx.Err(), "at once")
		})
	}
}
