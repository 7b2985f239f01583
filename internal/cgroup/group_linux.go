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

	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/containerd/cgroups/v3/cgroup2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Group is the cgroup of one process tree: a folder in each hierarchy that its Tree uses.
type Group struct {
	// immutable
	v2     string            // its folder in the unified hierarchy, or ""
	v1     []string          // its folders elsewhere
	has    map[string]string // the folder of each controller that it has: memory, pids, cpu
	limits Limits            // in force
}

// cpuPeriod is the system's default time over which a CPU quota is measured, in microseconds.
const cpuPeriod = 100_000

// New makes the group id, empty and limited as far as controllers allow: Limits tells. One that an earlier process
// has left is replaced if nobody is in it, and ErrBusy otherwise.
func (t *Tree) New(id string, l Limits) (*Group, error) {
	if id == "" || strings.ContainsAny(id, "/\x00") || id[0] == '.' {
		return nil, fs.ErrInvalid
	}
	if left := t.Find(id); left != nil {
		if len(left.PIDs()) > 0 {
			return nil, ErrBusy
		}
		_ = left.Close()
	}
	var paths []string
	if t.v2 != "" {
		if err := os.MkdirAll(filepath.Join(t.v2, t.name), 0o755); err != nil { // before it is looked at
			return nil, err
		}
		if _, err := cgroup2.NewManager(t.v2, "/"+t.name+"/"+id, t.unified(l)); err != nil {
			return nil, err
		}
		paths = append(paths, filepath.Join(t.v2, t.name, id))
	}
	if v1 := t.legacyFor(l); len(v1) > 0 {
		_, err := cgroup1.New(t.legacyPath(id), t.legacy(l), cgroup1.WithHierarchy(hierarchy(v1)))
		for _, c := range v1 {
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

// legacyFor are the v1 controllers for a group with these limits. A group has a share of the processors as one process
// has outside of it, so that a kernel without a limit is better off without: on a busy machine its whole tree, and with
// it all kernels together, would get as much as one process.
func (t *Tree) legacyFor(l Limits) []legacy {
	return slices.DeleteFunc(slices.Clone(t.v1), func(c legacy) bool { return c.name == cgroup1.Cpu && l.CPUs <= 0 })
}

// unified is what a v2 group is made with. Controllers that count stand in it without a limit, too; cpu does not, see
// legacyFor.
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
			if l.CPUs > 0 {
				quota, period := cpuQuota(l), uint64(cpuPeriod)
				r.CPU = &cgroup2.CPU{Max: cgroup2.NewCPUMax(&quota, &period)}
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

func hierarchy(list []legacy) func() ([]cgroup1.Subsystem, error) {
	var all []cgroup1.Subsystem
	for _, c := range list {
		switch c.name {
		case cgroup1.Memory:
			all = append(all, cgroup1.NewMemory(c.root))
		case cgroup1.Pids:
			all = append(all, cgroup1.NewPids(c.root))
		case cgroup1.Cpu:
			all = append(all, cgroup1.NewCpu(c.root))
		}
	}
	return func() ([]cgroup1.Subsystem, error) { return all, nil }
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
		for _, f := range [][2]string{{"memory", "memory.stat"}, {"pids", "pids.max"}, {"cpu", "cpu.max"}, {"cpu", "cpu.cfs_quota_us"}} {
			if exists(filepath.Join(dir, f[1])) {
				g.has[f[0]] = dir
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
