package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	zmq "github.com/go-zeromq/zmq4"

	"github.com/nbserv/nbserv/kernel"
)

// directKernel is a kernel that the bench started itself, for one direct client.
type directKernel struct {
	connection *kernel.Connection
	cmd        *exec.Cmd
}

// startKernel starts a kernel, on the same kind of sockets that nbserv chooses for it.
func (b *bench) startKernel(spec string) (*directKernel, error) {
	transport, argv := kernel.TCP, []string{b.synth, "-f"}
	switch spec {
	case "python3":
		transport, argv = kernel.IPC, []string{b.python, "-m", "ipykernel_launcher", "-f"}
	case "ir":
		transport, argv = kernel.IPC, []string{"R", "--slave", "-e", "IRkernel::main()", "--args"}
	}
	c, err := kernel.NewConnection(filepath.Join(b.dir, "k"), "bench", spec, transport)
	if err != nil {
		return nil, err
	}
	k := &directKernel{connection: c, cmd: exec.Command(argv[0], append(argv[1:], c.File)...)}
	k.cmd.Env = b.environ()
	k.cmd.Dir = filepath.Join(b.dir, "root")
	c.Release()
	if err := k.cmd.Start(); err != nil {
		_ = c.Close()
		return nil, err
	}
	return k, nil
}

func (k *directKernel) stop() {
	_ = k.cmd.Process.Kill() // it may have ended
	_ = k.cmd.Wait()
	_ = k.connection.Close()
}

// follower hands messages, from the goroutines of several sockets, to the execution under way.
type follower struct {
	welcome chan struct{} // closed when the kernel's iopub messages reach us

	mu      sync.Mutex
	current *execution // guarded by mu
	ended   chan error // guarded by mu
}

// begin makes e the execution under way; its end comes on the channel.
func (f *follower) begin(e *execution) <-chan error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.current, f.ended = e, make(chan error, 1)
	return f.ended
}

func (f *follower) take(m *kernel.Message) {
	if m.Header.MsgType == "iopub_welcome" { // JEP 65, once for a kernel's only subscriber
		close(f.welcome)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.current == nil {
		return
	}
	done, err := f.current.take(message{
		msgType: []byte(m.Header.MsgType), parent: []byte(m.Parent.MsgID),
		metadata: m.Parts[kernel.PartMetadata], content: m.Parts[kernel.PartContent],
	})
	if done || err != nil {
		f.current = nil
		f.ended <- err
	}
}

// await waits for an execution's end.
func await(e *execution, ended <-chan error) error {
	select {
	case err := <-ended:
		return err
	case <-time.After(runTimeout):
		return fmt.Errorf("no end of %q within %v", e.code, runTimeout)
	}
}

// request is the message of an execution for a kernel's shell socket.
func request(e *execution) (*kernel.Message, error) {
	return kernel.NewMessage(kernel.Shell, e.parts("bench-direct"), nil)
}

// directClient starts a kernel and a client of it, with package kernel's transport (direct) or with the ZeroMQ
// library as it is (zmq4), and returns once the kernel's output reaches it. Closing it ends the kernel.
func (b *bench) directClient(ctx context.Context, spec string, how contestant) (client, error) {
	k, err := b.startKernel(spec)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	f := &follower{welcome: make(chan struct{})}
	var c client
	if how == zmq4 {
		c, err = dialPlain(k, f)
	} else {
		c, err = dialOurs(ctx, k, f)
	}
	if err != nil {
		k.stop()
		return nil, fmt.Errorf("%s client: %w", how, err)
	}
	if spec == "ir" {
		return c, nudge(ctx, c.(*ours))
	}
	select {
	case <-f.welcome:
		return c, nil
	case <-ctx.Done():
		c.close()
		return nil, fmt.Errorf("%s client: the kernel sent no iopub_welcome", how)
	}
}

// nudgeEvery is how long an answer of a kernel that runs may take.
const nudgeEvery = 500 * time.Millisecond

// nudge waits for a kernel that sends no iopub_welcome: until one of its idle statuses has come.
func nudge(ctx context.Context, c *ours) error {
	for {
		e := newExecution("invisible(1)", "", 0)
		m, err := request(e)
		if err != nil {
			return err
		}
		ended := c.begin(e)
		if err := c.conn.Send(m); err != nil {
			return err
		}
		select {
		case err := <-ended:
			return err
		case <-time.After(nudgeEvery):
		case <-ctx.Done():
			c.close()
			return fmt.Errorf("%s client: the kernel did not answer", direct)
		}
	}
}

// ours is a client with package kernel's transport.
type ours struct {
	*directKernel
	*follower
	conn *kernel.Conn
}

func dialOurs(ctx context.Context, k *directKernel, f *follower) (client, error) {
	conn, err := kernel.Dial(ctx, k.connection.Info.Endpoints(), kernel.ConnOptions{Deliver: f.take})
	if err != nil {
		return nil, err
	}
	return &ours{k, f, conn}, nil
}

func (c *ours) run(e *execution) error {
	m, err := request(e)
	if err != nil {
		return err
	}
	ended := c.begin(e)
	if err := c.conn.Send(m); err != nil {
		return err
	}
	return await(e, ended)
}

func (c *ours) close() {
	_ = c.conn.Close()
	c.stop()
}

// plain is a client with the ZeroMQ library as it is. It checks signatures, as any client has to.
type plain struct {
	*directKernel
	*follower
	codec        kernel.Codec
	shell, iopub zmq.Socket
}

func dialPlain(k *directKernel, f *follower) (client, error) {
	info := k.connection.Info
	p := &plain{
		directKernel: k, follower: f, codec: kernel.NewCodec([]byte(info.Key)),
		shell: zmq.NewDealer(context.Background()), iopub: zmq.NewSub(context.Background()),
	}
	err := errors.Join(p.shell.Dial(info.Endpoint(kernel.Shell)), p.iopub.Dial(info.Endpoint(kernel.IOPub)))
	if err == nil {
		err = p.iopub.SetOption(zmq.OptionSubscribe, "")
	}
	if err != nil {
		p.closeSockets()
		return nil, err
	}
	// Closing the sockets ends both; a test would have to wait for them, a program's end need not.
	go p.read(kernel.Shell, p.shell)
	go p.read(kernel.IOPub, p.iopub)
	return p, nil
}

func (p *plain) read(ch kernel.Channel, s zmq.Socket) {
	for {
		msg, err := s.Recv()
		if err != nil {
			return
		}
		if m, err := p.codec.Decode(ch, msg.Frames); err == nil {
			p.take(m)
		}
	}
}

func (p *plain) run(e *execution) error {
	m, err := request(e)
	if err != nil {
		return err
	}
	ended := p.begin(e)
	if err := p.shell.SendMulti(zmq.NewMsgFrom(p.codec.Encode(m)...)); err != nil {
		return err
	}
	return await(e, ended)
}

func (p *plain) closeSockets() {
	_ = p.shell.Close()
	_ = p.iopub.Close()
}

func (p *plain) close() {
	p.closeSockets()
	p.stop()
}
