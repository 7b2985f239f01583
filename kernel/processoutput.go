package kernel

import (
	"os"
	"strings"
	"syscall"
	"time"
)

const (
	outputKept  = 64 << 10 // bytes of a kernel's stdout and stderr that are kept
	outputChunk = 4 << 10  // bytes read at once: every kernel holds such a buffer, and few write at all
	outputDrain = 1 << 20  // bytes read at most after the kernel's end: more than a pipe can hold
)

// output keeps the end of what a kernel writes to its stdout and stderr. It is read all the time, so that no
// kernel ever waits for us.
type output struct {
	child *os.File // the kernel's end, until it is started; nil for one that was there before
	r     *os.File
	tail  tail          // owned by pump, then by finish
	done  chan struct{} // closed when pump has ended
}

func newOutput() (*output, error) {
	child, r, err := outputPipe()
	if err != nil {
		return nil, err
	}
	return &output{child: child, r: r, done: make(chan struct{})}, nil
}

// abandon is for a kernel that did not start.
func (o *output) abandon() {
	_ = o.child.Close()
	_ = o.r.Close()
}

// inode names the pipe; 0 where that cannot be told.
func (o *output) inode() uint64 {
	info, err := o.r.Stat()
	if err != nil {
		return 0
	}
	st, _ := info.Sys().(*syscall.Stat_t)
	return st.Ino
}

// start begins to read; the kernel has its end by now.
func (o *output) start() {
	if o.child != nil {
		_ = o.child.Close()
	}
	go o.pump() // ended by finish
}

func (o *output) pump() {
	defer close(o.done)
	buf := make([]byte, outputChunk)
	for {
		n, err := o.r.Read(buf)
		o.tail.write(buf[:n])
		if err != nil {
			return
		}
	}
}

// finish ends reading, after the kernel's end or when it is left, and gives the last text. Children of the kernel may still hold the
// pipe, so what is in it is read, and no end of file waited for.
func (o *output) finish() string {
	_ = o.r.SetReadDeadline(time.Unix(1, 0))
	<-o.done
	_ = o.r.SetReadDeadline(time.Time{})
	if raw, err := o.r.SyscallConn(); err == nil {
		_ = raw.Read(o.drain)
	}
	_ = o.r.Close()
	return o.tail.text()
}

// drain reads what is there without waiting.
func (o *output) drain(fd uintptr) bool {
	buf := make([]byte, outputChunk)
	for left := outputDrain; left > 0; {
		n, err := syscall.Read(int(fd), buf)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			break
		}
		o.tail.write(buf[:n])
		left -= n
	}
	return true
}

// tail keeps the last outputKept bytes written to it, in at most twice as much memory.
type tail struct {
	buf []byte
	cut bool // bytes before buf are gone
}

func (t *tail) write(p []byte) {
	t.buf = append(t.buf, p...)
	if len(t.buf) > 2*outputKept-outputChunk {
		t.trim()
	}
}

func (t *tail) trim() {
	if over := len(t.buf) - outputKept; over > 0 {
		t.buf = t.buf[:copy(t.buf, t.buf[over:])]
		t.cut = true
	}
}

// text is what is kept, from the beginning of a line on when it was cut.
func (t *tail) text() string {
	t.trim()
	s := strings.ToValidUTF8(string(t.buf), "\uFFFD")
	if _, rest, ok := strings.Cut(s, "\n"); ok && t.cut {
		return rest
	}
	return s
}
