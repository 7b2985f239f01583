package kernel

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// limitData bounds the private memory that each process of the tree can write to: for a process that asks for more,
// allocating fails. It is set from outside and inherited by what is forked afterwards, so that those forked before
// are looked for: a wrapper may have been quick.
//
// RLIMIT_AS would count program files, reserved addresses and shared libraries, too, of which an idle Python has
// four times what it uses.
func limitData(pid int, bytes int64) error {
	done := map[int]bool{}
	for {
		next := 0
		for _, q := range descendants(pid) {
			if !done[q] {
				next = q
				break
			}
		}
		if next == 0 {
			return nil
		}
		limit := unix.Rlimit{Cur: uint64(bytes), Max: uint64(bytes)}
		if err := unix.Prlimit(next, unix.RLIMIT_DATA, &limit, nil); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
		done[next] = true
	}
}

// descendants are pid and the processes that come from it.
func descendants(pid int) []int {
	in := map[int]bool{pid: true}
	all := []int{pid}
	procs := readProcs()
	for more := true; more; {
		more = false
		for _, q := range procs {
			if in[q.ppid] && !in[q.pid] {
				in[q.pid], more = true, true
				all = append(all, q.pid)
			}
		}
	}
	return all
}

// processUsage is what the kernel's own process uses: what counts towards its limit if it has one, else what is in
// memory.
func processUsage(r Record) (Usage, bool) {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(r.PID) + "/statm")
	f := strings.Fields(string(raw)) // size resident shared text lib data dt, in pages
	if err != nil || len(f) < 6 || r.Wrapped {
		return Usage{}, false
	}
	pages := f[1]
	if r.Enforced.MemoryBy == byRlimit {
		pages = f[5]
	}
	n, err := strconv.ParseInt(pages, 10, 64)
	return Usage{MemoryBytes: n * int64(os.Getpagesize()), CPU: cpuTime(r.PID)}, err == nil
}

// clockTick is the unit of processor time in /proc, which Linux has as 1/100 s on all its machines.
const clockTick = 10 * time.Millisecond

// cpuTime is the processor time that a process has used, with the children it has waited for.
func cpuTime(pid int) time.Duration {
	raw, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	f := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	var ticks int64
	for _, i := range []int{11, 12, 13, 14} { // utime, stime, cutime, cstime; state is the first here
		if i < len(f) {
			n, _ := strconv.ParseInt(f[i], 10, 64)
			ticks += n
		}
	}
	return time.Duration(ticks) * clockTick
}

// residentBytes is the memory that a process has.
func residentBytes(pid int) int64 {
	raw, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	f := strings.Fields(string(raw))
	if len(f) < 2 {
		return 0
	}
	n, _ := strconv.ParseInt(f[1], 10, 64)
	return n * int64(os.Getpagesize())
}
