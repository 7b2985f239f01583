package lsp

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
)

const (
	// lastWords is how long what was printed right before the end may take to come through.
	lastWords = 100 * time.Millisecond
	// endWait is what a language server gets to end by itself.
	endWait = time.Second
	// keptLog is how much of its own words goes to the log when it ends, in bytes.
	keptLog = 8 << 10
)

// process is a language server that runs. Its methods are safe for concurrent use, but for next.
type process struct {
	name     string
	patience time.Duration // how long it may take no input
	cmd      *exec.Cmd
	in       *os.File // its standard input
	out      *os.File // its standard output
	read     *reader
	words    *tail
	ended    chan struct{} // closed when it has ended; then cmd.ProcessState is set

	ending sync.Once
	died   bool       // it had ended before anybody asked for it; to be read after end
	write  sync.Mutex // one message at a time
	group  sync.Mutex
	gone   bool // guarded by group
}

// start runs argv in dir, as the leader of a process group of its own. Fault: Unstartable.
func start(name string, argv, environ []string, dir string, patience time.Duration) (*process, error) {
	stdin, in, err := os.Pipe()
	if err != nil {
		return nil, fault.Wrap(fault.Unstartable, err, "the language server %q cannot be started", name)
	}
	defer stdin.Close()
	out, stdout, err := os.Pipe()
	if err != nil {
		_ = in.Close()
		return nil, fault.Wrap(fault.Unstartable, err, "the language server %q cannot be started", name)
	}
	defer stdout.Close()
	p := &process{name: name, in: in, out: out, read: newReader(out), patience: patience, words: &tail{}, ended: make(chan struct{})}
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Env, p.cmd.Dir = environ, dir
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = stdin, stdout, p.words
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.WaitDelay = lastWords // what it started may hold its stderr open
	if err := p.cmd.Start(); err != nil {
		_, _ = in.Close(), out.Close()
		return nil, fault.Wrap(fault.Unstartable, err, "the language server %q cannot be started", name)
	}
	go p.wait()
	return p, nil
}

// wait sees the process end, and what it has started with it.
func (p *process) wait() {
	if waitForExit(p.cmd.Process.Pid) {
		p.signal(syscall.SIGKILL) // what it has left behind
		p.forget()
	}
	_ = p.cmd.Wait() // its state says how it ended
	p.forget()
	_ = p.in.Close()
	_ = p.out.SetReadDeadline(time.Now().Add(lastWords))
	close(p.ended)
}

// signal signals the process group, while its number is its own.
func (p *process) signal(sig syscall.Signal) {
	p.group.Lock()
	defer p.group.Unlock()
	if !p.gone {
		_ = syscall.Kill(-p.cmd.Process.Pid, sig)
	}
}

// forget notes that the group's number may soon be another's.
func (p *process) forget() {
	p.group.Lock()
	defer p.group.Unlock()
	p.gone = true
}

// end ends the process and returns when it has ended. One that has nothing left to read ends by itself; so does it
// when this server is killed.
func (p *process) end() {
	p.ending.Do(func() {
		select {
		case <-p.ended:
			p.died = true
		default:
		}
		_ = p.in.Close()
		p.signal(syscall.SIGTERM)
		timer := time.NewTimer(endWait)
		defer timer.Stop()
		select {
		case <-p.ended:
		case <-timer.C:
			p.signal(syscall.SIGKILL)
			<-p.ended
		}
		_ = p.out.Close()
	})
}

// next waits for a message from the process. After an error there are no more.
func (p *process) next() ([]byte, error) { return p.read.next() }

// send gives the process a message. It fails with Busy when the process takes no input.
func (p *process) send(message []byte) error {
	p.write.Lock()
	defer p.write.Unlock()
	_ = p.in.SetWriteDeadline(time.Now().Add(p.patience))
	_, err := p.in.Write(frame(message))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fault.New(fault.Busy, "the language server %s takes no input", p.name)
	case err != nil:
		return p.why(err)
	}
	return nil
}

// why explains the end of the conversation, whose first sign was err. Faults: Unstartable; Gone when its client has told
// the process to end.
func (p *process) why(err error) error {
	var pipe *os.PathError
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.As(err, &pipe) {
		return fault.Wrap(fault.Unstartable, err, "the language server %s cannot be understood: %s", p.name, err)
	}
	timer := time.NewTimer(endWait)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		return fault.Wrap(fault.Unstartable, err, "the language server %s has closed its pipe", p.name)
	}
	kind := fault.Unstartable
	if p.cmd.ProcessState.Success() {
		kind = fault.Gone
	}
	return fault.Wrap(kind, err, "the language server %s ended: %s", p.name, p.cmd.ProcessState)
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte // guarded by mu
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p[max(0, len(p)-keptLog):]...)
	if over := len(t.buf) - keptLog; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ToValidUTF8(string(t.buf), "\uFFFD")
}
