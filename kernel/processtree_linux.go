package kernel

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// adoptOrphans makes this process the parent of descendants that lose theirs, so that a double fork does not
// take a process out of our sight. It fails on no kernel that Go supports.
func adoptOrphans() {
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
}

// outputPipe makes the pipe for a kernel's output. The kernel's end can read as well: it stays a reader of its
// own pipe when this process dies, and no write of it ends in SIGPIPE.
func outputPipe() (child, r *os.File, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	raw, err := w.SyscallConn()
	if err != nil {
		return w, r, nil
	}
	_ = raw.Control(func(fd uintptr) {
		if both, err := syscall.Open("/proc/self/fd/"+strconv.Itoa(int(fd)), syscall.O_RDWR|syscall.O_CLOEXEC, 0); err == nil {
			child = os.NewFile(uintptr(both), "kernel output")
		}
	})
	if child == nil { // without /proc
		return w, r, nil
	}
	_ = w.Close()
	return child, r, nil
}

// reopenOutput finds the pipe that a kernel got as its stdout and stderr among the descriptors of the kernel,
// which may have put another in its place (ipykernel does), and reads on from it: it was blocked, perhaps, since
// its reader died. nil when nobody has it any more.
func reopenOutput(r Record) *output {
	if r.Output == 0 {
		return nil
	}
	dir := "/proc/" + strconv.Itoa(r.PID) + "/fd/"
	pipe := "pipe:[" + strconv.FormatUint(r.Output, 10) + "]"
	names, _ := os.ReadDir(dir)
	for _, n := range names {
		if to, err := os.Readlink(dir + n.Name()); err != nil || to != pipe {
			continue
		}
		f, err := os.OpenFile(dir+n.Name(), os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err == nil {
			return &output{r: f, done: make(chan struct{})}
		}
	}
	return nil
}

// bootID names this run of the machine.
func bootID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return string(bytes.TrimSpace(id))
}

// proc is a line of the process table. https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
type proc struct {
	pid, ppid, pgid, sid int
	start                uint64
	dead                 bool // a zombie
}

// readProc reads /proc/PID/stat; ok is false when there is no such process.
func readProc(pid int) (p proc, ok bool) {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return proc{}, false
	}
	return parseProc(pid, raw)
}

// parseProc reads the fields after the command's name, which may itself hold any bytes.
func parseProc(pid int, raw []byte) (p proc, ok bool) {
	end := bytes.LastIndexByte(raw, ')')
	f := bytes.Fields(raw[end+1:])
	if end < 0 || len(f) < 20 {
		return proc{}, false
	}
	var errs [4]error
	p = proc{pid: pid, dead: f[0][0] == 'Z' || f[0][0] == 'X'}
	p.ppid, errs[0] = strconv.Atoi(string(f[1]))
	p.pgid, errs[1] = strconv.Atoi(string(f[2]))
	p.sid, errs[2] = strconv.Atoi(string(f[3]))
	p.start, errs[3] = strconv.ParseUint(string(f[19]), 10, 64)
	return p, errors.Join(errs[:]...) == nil
}

// startTime is when a process started, in clock ticks since boot; 0 if there is none.
func startTime(pid int) uint64 {
	p, _ := readProc(pid)
	return p.start
}

// readProcs reads the whole process table.
func readProcs() []proc {
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	all := make([]proc, 0, len(names))
	for _, n := range names {
		pid, err := strconv.Atoi(n)
		if err != nil {
			continue
		}
		if p, ok := readProc(pid); ok {
			all = append(all, p)
		}
	}
	return all
}

// marked tells whether a process was started with our mark in its environment.
func marked(pid int, mark []byte) bool {
	env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	return err == nil && (bytes.HasPrefix(env, mark[1:]) || bytes.Contains(env, mark))
}

// markOf is the mark in the environment of a process; "" when it has none, or none that we may see.
func markOf(pid int) string {
	env, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	for line := range bytes.SplitSeq(env, []byte{0}) {
		if mark, ok := bytes.CutPrefix(line, []byte(markVar+"=")); ok {
			return string(mark)
		}
	}
	return ""
}

// findMarked finds the kernel's own process in a tree: the first of its session. 0 is none.
func findMarked(mark string) (pid int) {
	for _, q := range readProcs() {
		if q.pid == q.sid && !q.dead && markOf(q.pid) == mark {
			return q.pid
		}
	}
	return 0
}

// strays finds the marks of living processes that begin with prefix and are not in keep.
func strays(prefix string, keep map[string]bool) map[string]bool {
	found := map[string]bool{}
	for _, q := range readProcs() {
		if mark := markOf(q.pid); strings.HasPrefix(mark, prefix) && !keep[mark] {
			found[mark] = true
		}
	}
	return found
}

// tree finds the members of the process tree, zombies too, and remembers them: processes of the kernel's session
// or group, those in its cgroup or with its mark, those seen before, and the descendants of all these.
func (p *localProcess) tree() []proc {
	rest := slices.DeleteFunc(readProcs(), func(q proc) bool { return q.pid == os.Getpid() || q.pid == 1 })
	group := p.inGroup() // after the table: a number that has changed hands since then has another start time
	p.mu.Lock()
	// Asked after the table was read: if the process was not waited for by now, its number was its own then. That
	// of another's child is free once it has ended, but not given away as long as it names a session.
	held := !p.ended && (p.child != nil || p.holds(rest))
	seen := maps.Clone(p.seen)
	p.mu.Unlock()

	mark := []byte("\x00" + markVar + "=" + p.record.Mark)
	in := map[int]bool{}
	var found []proc
	take := func(belongs func(proc) bool) (more bool) {
		rest = slices.DeleteFunc(rest, func(q proc) bool {
			if !belongs(q) {
				return false
			}
			in[q.pid], more = true, true
			found = append(found, q)
			return true
		})
		return more
	}
	take(func(q proc) bool {
		ours := held && (q.sid == p.record.PID || q.pgid == p.record.PGID)
		return ours || group[q.pid] || seen[q.pid] == q.start || (!q.dead && q.start >= p.record.StartTime && marked(q.pid, mark))
	})
	for take(func(q proc) bool { return in[q.ppid] }) {
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	for _, q := range found {
		p.seen[q.pid] = q.start
	}
	return found
}

// holds tells whether no other process has the number of p in a table that was read while p was watched.
func (p *localProcess) holds(table []proc) bool {
	i := slices.IndexFunc(table, func(q proc) bool { return q.pid == p.record.PID })
	return i < 0 || table[i].start == p.record.StartTime
}

// remember notes who is in the tree now.
func (p *localProcess) remember() { p.tree() }

// members are the living processes of the tree. Each is held by a descriptor, so that no signal meets another
// process that got its number; the caller closes them. The dead that became our children are waited for, but
// for the kernel itself, which is watch's.
func (p *localProcess) members() []member {
	self := os.Getpid()
	var ms []member
	for _, q := range p.tree() {
		if !q.dead {
			if m, ok := hold(q); ok {
				ms = append(ms, m)
			}
		} else if q.ppid == self && q.pid != p.record.PID {
			_, _ = syscall.Wait4(q.pid, nil, syscall.WNOHANG, nil)
		}
	}
	return ms
}

// member is a living process.
type member struct {
	proc
	fd int // a pidfd; -1 where there is none to be had
}

// hold opens a pidfd; ok is false when the process is gone.
func hold(q proc) (m member, ok bool) {
	fd, err := unix.PidfdOpen(q.pid, 0)
	if errors.Is(err, syscall.ESRCH) {
		return member{}, false
	}
	m = member{proc: q, fd: -1}
	if err == nil {
		m.fd = fd
	}
	if startTime(q.pid) != q.start {
		m.close()
		return member{}, false
	}
	return m, true
}

func (m member) signal(sig syscall.Signal) {
	if m.fd >= 0 {
		_ = unix.PidfdSendSignal(m.fd, sig, nil, 0)
		return
	}
	_ = syscall.Kill(m.pid, sig)
}

func (m member) close() {
	if m.fd >= 0 {
		_ = unix.Close(m.fd)
	}
}

// awaitMembers returns when all have ended, or a little later where that cannot be watched.
func awaitMembers(ms []member, deadline time.Time) {
	for _, m := range ms {
		wait := time.Until(deadline)
		var fds []unix.PollFd
		if m.fd < 0 {
			wait = min(wait, 5*time.Millisecond)
		} else {
			fds = []unix.PollFd{{Fd: int32(m.fd), Events: unix.POLLIN}}
		}
		for wait > 0 {
			if _, err := unix.Poll(fds, int(wait.Milliseconds())+1); !errors.Is(err, syscall.EINTR) {
				break
			}
			wait = min(wait, time.Until(deadline))
		}
	}
}
