package kernel

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// oomFiles are where Linux counts processes it ended for want of memory: in our own cgroup, which kernels
// share, else on the whole machine. Empty elsewhere.
func oomFiles() []string {
	var files []string
	raw, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(raw)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok { // cgroup v2
			files = append(files, filepath.Join("/sys/fs/cgroup", path, "memory.events"))
		}
	}
	return append(files, "/proc/vmstat")
}

// oomCounter tells whether processes were ended for want of memory since it was made.
type oomCounter struct {
	file   string // "" when nothing counts
	before uint64
}

// newOOMCounter uses the first of files that counts.
func newOOMCounter(files []string) oomCounter {
	for _, f := range files {
		if n, ok := readOOM(f); ok {
			return oomCounter{file: f, before: n}
		}
	}
	return oomCounter{}
}

func (c oomCounter) rose() bool {
	n, ok := readOOM(c.file)
	return ok && n > c.before
}

// readOOM reads the line "oom_kill N".
func readOOM(file string) (n uint64, ok bool) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(raw)) {
		if v, found := strings.CutPrefix(line, "oom_kill "); found {
			n, err = strconv.ParseUint(strings.TrimSpace(v), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
