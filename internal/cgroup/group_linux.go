package cgroup

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/containerd/cgroups/v3/cgroup2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Group is the cgroup of one process tree: a folder in each hierarchy that its Tree uses.
type Group struct {
	// immutable
	v2  string   // its folder in the unified hierarchy, or ""
	v1  []string // its folders elsewhere
	has map[string]string
	// has is the folder of each controller it has: memory, pids, cpu
	limits Limits // in force
}

// cpuPeriod is the system's default time over which a CPU quota is measured, in microseconds.
const cpuPeriod = 100_000

// New makes the group id, empty and limited as far as controllers allow: Limits tells. A group that is there already
// is taken as it is, and limited anew.
func (t *Tree) New(id string, l Limits) (*Group, error) {
	if id == "" || strings.ContainsAny(id, "/\x00") || id[0] == '.' {
		return nil, fs.ErrInvalid
	}
	var paths []string
	if t.v2 != "" {
		if _, err := cgroup2.NewManager(t.v2, "/"+t.name+"/"+id, t.unified(l)); err != nil {
			return nil, err
		}
		paths = append(paths, filepath.Join(t.v2, t.name, id))
	}
	if len(t.v1) > 0 {
		_, err := cgroup1.New(t.legacyPath(id), t.legacy(l), cgroup1.WithHierarchy(t.hierarchy))
		for _, c := range t.v1 {
			paths = append(paths, c.path(t.name, id))
		}
		if err != nil {
			return nil, errors.Join(err, removeAll(paths))
		}
	}
	g := Load(paths)
	if g == nil {
		return nil, errors.Join(fs.ErrNotExist, removeAll(paths))
	}
	return g, nil
}

// unified is what a v2 group is made with. Every controller that there is stands in it, so that it counts.
func (t *Tree) unified(l Limits) *cgroup2.Resources {
	r := &cgroup2.Resources{}
	for _, c := range t.on {
		switch c {
		case "memory":
			r.Memory = &cgroup2.Memory{}
			if l.MemoryBytes > 0 {
				r.Memory.Max = &l.MemoryBytes
				if exists(filepath.Join(t.v2, t.name, "memory.swap.max")) {
					r.Memory.Swap = new(int64) // a kernel that swaps crawls for hours where it could fail
				}
			}
		case "pids":
			r.Pids = &cgroup2.Pids{}
			if l.Processes > 0 {
				r.Pids.Max = int64(l.Processes)
			}
		case "cpu":
			r.CPU = &cgroup2.CPU{}
			if l.CPUs > 0 {
				quota, period := cpuQuota(l), uint64(cpuPeriod)
				r.CPU.Max = cgroup2.NewCPUMax(&quota, &period)
			}
		}
	}
	return r
}

func cpuQuota(l Limits) int64 { return int64(math.Round(l.CPUs * cpuPeriod)) }

// legacy is the same for v1.
func (t *Tree) legacy(l Limits) *specs.LinuxResources {
	r := &specs.LinuxResources{}
	if l.MemoryBytes > 0 {
		r.Memory = &specs.LinuxMemory{Limit: &l.MemoryBytes}
		for _, c := range t.v1 {
			if c.name == cgroup1.Memory && exists(c.path("memory.memsw.limit_in_bytes")) {
				r.Memory.Swap = &l.MemoryBytes // memory and swap together
			}
		}
	}
	if l.Processes > 0 {
		n := int64(l.Processes)
		r.Pids = &specs.LinuxPids{Limit: &n}
	}
	if l.CPUs > 0 {
		quota, period := cpuQuota(l), uint64(cpuPeriod)
		r.CPU = &specs.LinuxCPU{Quota: &quota, Period: &period}
	}
	return r
}

func (t *Tree) hierarchy() ([]cgroup1.Subsystem, error) {
	var all []cgroup1.Subsystem
	for _, c := range t.v1 {
		switch c.name {
		case cgroup1.Memory:
			all = append(all, cgroup1.NewMemory(c.root))
		case cgroup1.Pids:
			all = append(all, cgroup1.NewPids(c.root))
		case cgroup1.Cpu:
			all = append(all, cgroup1.NewCpu(c.root))
		}
	}
	return all, nil
}

func (t *Tree) legacyPath(id string) cgroup1.Path {
	return func(name cgroup1.Name) (string, error) {
		for _, c := range t.v1 {
			if c.name == name {
				return filepath.Join(c.own, t.name, id), nil
			}
		}
		return "", cgroup1.ErrControllerNotActive
	}
}

// Find is the group id as an earlier process left it; nil if there is none.
func (t *Tree) Find(id string) *Group {
	var paths []string
	for _, dir := range t.folders() {
		paths = append(paths, filepath.Join(dir, id))
	}
	return Load(paths)
}

// Load takes over a group that an earlier process made, by what its Paths were then; nil if it is gone.
func Load(paths []string) *Group {
	g := &Group{has: map[string]string{}}
	for _, dir := range paths {
		switch {
		case !exists(filepath.Join(dir, "cgroup.procs")):
			continue
		case exists(filepath.Join(dir, "cgroup.controllers")):
			g.v2 = dir
		case !slices.Contains(g.v1, dir):
			g.v1 = append(g.v1, dir)
		}
		for c, file := range map[string]string{"memory": "memory.stat", "pids": "pids.max", "cpu": "cpu.max"} {
			if exists(filepath.Join(dir, file)) || c == "cpu" && exists(filepath.Join(dir, "cpu.cfs_quota_us")) {
				g.has[c] = dir
			}
		}
	}
	if len(g.Paths()) == 0 {
		return nil
	}
	g.limits = g.readLimits()
	return g
}

// Paths are the group's folders, for Load.
func (g *Group) Paths() []string {
	if g.v2 == "" {
		return slices.Clone(g.v1)
	}
	return append([]string{g.v2}, g.v1...)
}

// Limits are those in force: of what New was asked for, what this machine has a controller for.
func (g *Group) Limits() Limits { return g.limits }

func (g *Group) readLimits() Limits {
	var l Limits
	if n, ok := g.number("memory", "memory.max", "memory.limit_in_bytes"); ok && n < 1<<60 { // v1 says no limit so
		l.MemoryBytes = n
	}
	if n, ok := g.number("pids", "pids.max", "pids.max"); ok {
		l.Processes = int(n)
	}
	quota, period := int64(0), int64(cpuPeriod)
	if dir := g.has["cpu"]; dir != "" && dir == g.v2 {
		f := strings.Fields(read(dir, "cpu.max")) // "max 100000" or "50000 100000"
		if len(f) == 2 {
			quota, _ = strconv.ParseInt(f[0], 10, 64)
			period, _ = strconv.ParseInt(f[1], 10, 64)
		}
	} else if dir != "" {
		quota, _ = strconv.ParseInt(read(dir, "cpu.cfs_quota_us"), 10, 64)
		period, _ = strconv.ParseInt(read(dir, "cpu.cfs_period_us"), 10, 64)
	}
	if quota > 0 && period > 0 {
		l.CPUs = float64(quota) / float64(period)
	}
	return l
}

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

// Close removes the group, with those that its processes made below it. It fails while a process is in it.
func (g *Group) Close() error { return removeAll(g.Paths()) }

// removeAll removes folders and those in them, which is how a cgroup is removed: its files go with it.
func removeAll(paths []string) error {
	var errs []error
	for _, dir := range paths {
		var below []string
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				below = append(below, path)
			}
			return nil
		})
		slices.Reverse(below) // children first
		for _, path := range below {
			if err := unix.Rmdir(path); err != nil && err != unix.ENOENT {
				errs = append(errs, &os.PathError{Op: "rmdir", Path: path, Err: err})
			}
		}
	}
	return errors.Join(errs...)
}
