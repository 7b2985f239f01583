package terminals

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/nbserv/nbserv/internal/fault"
)

const (
	readChunk = 32 << 10
	// maxLead is how far a terminal prints ahead of a viewer that keeps up.
	maxLead = scrollBytes / 2
	// stallAfter is how long a viewer may take nothing before the terminal no longer waits for it.
	stallAfter = time.Second
	// lastWords is how long what the process printed right before its end may take to come through.
	lastWords = 100 * time.Millisecond
	// hangupWait is what a session gets between SIGHUP and SIGKILL.
	hangupWait = time.Second
	// maxSide bounds the rows and columns of a terminal; the system keeps them in 16 bits.
	maxSide = 10_000
)

// Terminal is one shell in a pseudo terminal.
type Terminal struct {
	// immutable
	name string
	cmd  *exec.Cmd
	pty  *os.File
	done chan struct{} // closed when the process has ended and all it printed is in scroll
	read chan struct{} // closed when the reader has ended

	mu      sync.Mutex // guards the rest
	active  time.Time
	scroll  scroll
	viewers map[*viewer]struct{}
	more    chan struct{} // closed, and replaced, when something was printed
	moved   chan struct{} // closed, and replaced, when a viewer took something
}

// viewer is one page that looks at a terminal. Its fields are guarded by the terminal's mu.
type viewer struct {
	at         uint64
	took       time.Time // when it last took something
	rows, cols int       // 0 until it said
}

// start runs cmd in a new pseudo terminal, as the leader of a session of its own.
func start(name string, cmd *exec.Cmd) (*Terminal, error) {
	file, err := openPTY(cmd)
	if err != nil {
		return nil, fault.Wrap(fault.Unstartable, err, "the shell %q cannot be started in a terminal", cmd.Args[0])
	}
	t := &Terminal{
		name: name, cmd: cmd, pty: file, done: make(chan struct{}), read: make(chan struct{}), active: time.Now(),
		viewers: make(map[*viewer]struct{}), more: make(chan struct{}), moved: make(chan struct{}),
	}
	go t.pump()
	go t.wait()
	return t, nil
}

// openPTY starts cmd in a pseudo terminal of 25 rows and 80 columns. The library leaves its file in blocking mode,
// where reads cannot be ended by a deadline; a duplicate of it is not.
func openPTY(cmd *exec.Cmd) (*os.File, error) {
	blocking, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 25, Cols: 80})
	if err != nil {
		return nil, err
	}
	defer blocking.Close()
	fd, err := unix.FcntlInt(blocking.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, err
	}
	return os.NewFile(uintptr(fd), "pty"), nil
}

// wait ends the terminal with its process: what that left running in the background does not keep it.
func (t *Terminal) wait() {
	_ = t.cmd.Wait() // how a shell ended is its user's business
	_ = t.pty.SetReadDeadline(time.Now().Add(lastWords))
	<-t.read
	_ = t.pty.Close()
	close(t.done)
}

// pump reads what is printed, and waits for viewers that keep up.
func (t *Terminal) pump() {
	defer close(t.read)
	buf := make([]byte, readChunk)
	held := 0 // bytes at the front of buf: the beginning of a character
	for {
		n, err := t.pty.Read(buf[held:])
		n += held
		held = partial(buf[:n])
		if err != nil {
			held = 0
		}
		t.print(buf[:n-held])
		copy(buf, buf[n-held:n])
		if err != nil { // EIO: nobody has the terminal open any more
			return
		}
		t.waitForViewers()
	}
}

// partial is the length of the incomplete character at the end of p.
func partial(p []byte) int {
	for i := 1; i < utf8.UTFMax && i <= len(p); i++ {
		if c := p[len(p)-i]; utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(p[len(p)-i:]) {
				return i
			}
			return 0
		}
	}
	return 0
}

func (t *Terminal) print(p []byte) {
	if len(p) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.scroll.write(p)
	t.active = time.Now()
	close(t.more)
	t.more = make(chan struct{})
}

// waitForViewers returns when no viewer that keeps up is more than maxLead behind.
func (t *Terminal) waitForViewers() {
	for {
		t.mu.Lock()
		wait := time.Duration(0)
		for v := range t.viewers {
			if t.scroll.end-v.at > maxLead {
				wait = max(wait, stallAfter-time.Since(v.took))
			}
		}
		moved := t.moved
		t.mu.Unlock()
		if wait <= 0 {
			return
		}
		timer := time.NewTimer(wait)
		select {
		case <-moved:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// join adds a viewer, which sees first what is kept of the past.
func (t *Terminal) join() *viewer {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := &viewer{took: time.Now()}
	v.at = t.scroll.end - uint64(min(len(t.scroll.buf), scrollBytes))
	t.viewers[v] = struct{}{}
	return v
}

func (t *Terminal) leave(v *viewer) {
	t.mu.Lock()
	delete(t.viewers, v)
	close(t.moved)
	t.moved = make(chan struct{})
	t.mu.Unlock()
	t.fit()
}

// next waits for what v has not seen and appends it to buf; lost says how much before it is gone. It returns
// errEnded when the terminal has ended and all was seen.
func (t *Terminal) next(ctx context.Context, v *viewer, buf []byte) (text []byte, lost uint64, err error) {
	for {
		t.mu.Lock()
		chunk, at, lost := t.scroll.from(v.at, readChunk)
		if len(chunk) > 0 {
			buf = append(buf, chunk...)
			v.at, v.took = at, time.Now()
			close(t.moved)
			t.moved = make(chan struct{})
			t.mu.Unlock()
			return buf, lost, nil
		}
		more := t.more
		v.took = time.Now()
		t.mu.Unlock()
		select {
		case <-more:
		case <-t.done:
			if t.seen(v) {
				return nil, 0, errEnded
			}
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

var errEnded = errors.New("the terminal has ended")

func (t *Terminal) seen(v *viewer) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return v.at == t.scroll.end
}

// write types text. It fails with Busy when the terminal takes no input within timeout.
func (t *Terminal) write(text string, timeout time.Duration) error {
	t.mu.Lock()
	t.active = time.Now()
	t.mu.Unlock()
	_ = t.pty.SetWriteDeadline(time.Now().Add(timeout))
	_, err := t.pty.WriteString(text)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fault.New(fault.Busy, "the program in the terminal takes no input")
	case err != nil:
		return fault.Wrap(fault.Gone, err, "the terminal has ended")
	}
	return nil
}

// resize notes the size of v's page, and fits the terminal to the smallest.
func (t *Terminal) resize(v *viewer, rows, cols int) {
	t.mu.Lock()
	v.rows, v.cols = rows, cols
	t.mu.Unlock()
	t.fit()
}

func (t *Terminal) fit() {
	t.mu.Lock()
	defer t.mu.Unlock()
	rows, cols := maxSide+1, maxSide+1
	for v := range t.viewers {
		if v.rows > 0 && v.cols > 0 {
			rows, cols = min(rows, v.rows), min(cols, v.cols)
		}
	}
	if rows > maxSide {
		return // nobody has said; it keeps the size it has
	}
	raw, err := t.pty.SyscallConn()
	if err != nil {
		return // it has ended
	}
	size := &unix.Winsize{Row: uint16(rows), Col: uint16(cols)}
	_ = raw.Control(func(fd uintptr) { _ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, size) })
}

// end ends the terminal: its whole session is told, and killed after hangupWait.
func (t *Terminal) end() {
	session := sessionOf(t.cmd.Process.Pid) // before any of it ends: then its number may be another's
	session.signal(unix.SIGHUP)
	session.signal(unix.SIGCONT) // a stopped process takes nothing but SIGKILL
	timer := time.NewTimer(hangupWait)
	defer timer.Stop()
	select {
	case <-t.done:
	case <-timer.C:
	}
	session.signal(unix.SIGKILL) // also what the shell leaves behind
	<-t.done
}

// lastActivity is when something was last printed or typed.
func (t *Terminal) lastActivity() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.active
}
