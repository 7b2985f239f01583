package cgroup

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// number reads the file of a controller, which has another name in v1; false when it holds no number.
func (g *Group) number(controller, v2, v1 string) (int64, bool) {
	dir := g.has[controller]
	if dir == "" {
		return 0, false
	}
	if dir != g.v2 {
		v2 = v1
	}
	n, err := strconv.ParseInt(read(dir, v2), 10, 64)
	return n, err == nil
}

// read gives a small file without its line's end; "" when it cannot be read.
func read(dir, file string) string {
	raw, _ := os.ReadFile(filepath.Join(dir, file))
	return strings.TrimSpace(string(raw))
}

// OOMFile is the file that counts the processes ended for want of memory in the group, in a line "oom_kill N"; ""
// when nothing counts them.
func (g *Group) OOMFile() string {
	switch dir := g.has["memory"]; dir {
	case "":
		return ""
	case g.v2:
		return filepath.Join(dir, "memory.events")
	default:
		return filepath.Join(dir, "memory.oom_control")
	}
}

// LimitReached tells whether the group has ever wanted more memory than its limit.
func (g *Group) LimitReached() bool {
	switch dir := g.has["memory"]; dir {
	case "":
		return false
	case g.v2:
		n, _ := field(read(dir, "memory.events"), "oom")
		return n > 0
	default:
		most, _ := strconv.ParseInt(read(dir, "memory.max_usage_in_bytes"), 10, 64) // failcnt stays 0 in Linux 6.18
		return g.limits.MemoryBytes > 0 && most >= g.limits.MemoryBytes/100*99
	}
}

// Usage is what the group uses now; false when its memory is not counted.
func (g *Group) Usage() (Usage, bool) {
	var u Usage
	n, ok := g.number("pids", "pids.current", "pids.current")
	if ok {
		u.Processes = int(n)
	}
	if g.v2 != "" { // it counts that without the cpu controller, too
		micros, _ := field(read(g.v2, "cpu.stat"), "usage_usec")
		u.CPU = time.Duration(micros) * time.Microsecond
	}
	if u.MemoryBytes, ok = g.memory(); ok {
		u.MemoryBytes = max(0, u.MemoryBytes-g.fileCache())
	}
	return u, ok
}

// Memory is what of its limit the group uses, as Usage tells it, and how many of its processes were ended for want of
// memory; false when it has no limit. It is for who asks often: far from the limit, file cache may be counted.
func (g *Group) Memory() (used int64, kills uint64, ok bool) {
	used, ok = g.memory()
	if !ok || g.limits.MemoryBytes == 0 {
		return 0, 0, false
	}
	if used > g.limits.MemoryBytes/10*7 { // to find the cache is most of the work
		used = max(0, used-g.fileCache())
	}
	n, _ := field(read("", g.OOMFile()), "oom_kill")
	return used, uint64(n), true
}

// memory counts the file cache, too.
func (g *Group) memory() (int64, bool) {
	return g.number("memory", "memory.current", "memory.usage_in_bytes")
}

// fileCache is what the system can drop at once.
func (g *Group) fileCache() int64 {
	name := "inactive_file"
	if g.has["memory"] != g.v2 {
		name = "total_inactive_file"
	}
	n, _ := field(read(g.has["memory"], "memory.stat"), name)
	return n
}

// field reads a line "name N" of text.
func field(text, name string) (int64, bool) {
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
