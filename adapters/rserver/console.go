package rserver

import (
	"bytes"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/nbserv/nbserv/adapters"
	"github.com/nbserv/nbserv/internal/fault"
)

// maxConsole is how much of what an execution prints is kept: its beginning and its end.
const maxConsole = 1 << 20

// console is what the current or last execution of a session has printed. Safe for concurrent use.
type console struct {
	mu   sync.Mutex
	text *adapters.Text // guarded by mu
}

func (c *console) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text = adapters.NewText(maxConsole)
}

func (c *console) add(s string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.text != nil {
		_, _ = c.text.Write([]byte(s)) // never fails
	}
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.text == nil {
		return ""
	}
	return c.text.String()
}

// pipe is a named pipe to which R prints, so that its output is there while the code still runs: what goes through R's
// kernel comes when an expression has ended.
type pipe struct {
	// immutable
	path string
	mark []byte // R writes it last
	file *os.File
	done chan struct{} // closed when the mark has come, or the pipe was closed
}

// newPipe makes a pipe at path and reads it into c until its mark comes.
func newPipe(path string, c *console) (*pipe, error) {
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		return nil, fault.OS(err, "the console")
	}
	// For reading and writing: there is always a writer, so that the end of one is no end of the pipe.
	f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, errors.Join(fault.OS(err, "the console"), os.Remove(path))
	}
	p := &pipe{path: path, mark: []byte("\x1e" + uuid.NewString()), file: f, done: make(chan struct{})}
	go p.read(c) // ends with close
	return p, nil
}

func (p *pipe) read(c *console) {
	defer close(p.done)
	var held []byte // what may be the beginning of the mark
	buf := make([]byte, 32<<10)
	for {
		n, err := p.file.Read(buf)
		held = append(held, buf[:n]...)
		if i := bytes.Index(held, p.mark); i >= 0 {
			c.add(string(held[:i]))
			return
		}
		keep := partial(held, p.mark)
		if err != nil {
			keep = 0
		}
		c.add(string(held[:len(held)-keep]))
		held = append(held[:0], held[len(held)-keep:]...)
		if err != nil {
			return
		}
	}
}

// partial is the length of the longest end of b with which mark, or a character that is not whole, begins.
func partial(b, mark []byte) int {
	for n := min(len(b), len(mark)-1); n > 0; n-- {
		if bytes.HasPrefix(mark, b[len(b)-n:]) {
			return n
		}
	}
	return 0
}

// pipeWait is how long a pipe is read on after the execution has ended: what R wrote is in it already. The end of an R
// that died has no mark.
const (
	pipeWait     = 2 * time.Second
	deadPipeWait = 100 * time.Millisecond
)

// close reads what is left, for so long, and removes the pipe.
func (p *pipe) close(wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
	}
	_ = p.file.Close() // ends the read
	<-p.done
	_ = os.Remove(p.path)
}
