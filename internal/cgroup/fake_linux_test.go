package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// fake is a machine's cgroups as plain files, which its write makes behave like the system's.
type fake struct {
	t    *testing.T
	root string
	sys  system
}

func newFake(t *testing.T) *fake {
	f := &fake{t: t, root: t.TempDir()}
	f.sys = system{
		self: filepath.Join(f.root, "proc"), systemd: filepath.Join(f.root, "systemd"),
		delegated: func(string) bool { return false },
		ours:      func(pid int) bool { return pid == os.Getpid() },
		write:     f.write,
	}
	return f
}

func (f *fake) file(path, text string) {
	path = filepath.Join(f.root, path)
	require.NoError(f.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(f.t, os.WriteFile(path, []byte(text), 0o644))
}

func (f *fake) read(path string) string {
	raw, err := os.ReadFile(filepath.Join(f.root, path))
	require.NoError(f.t, err)
	return string(raw)
}

// cgroup2 makes a v2 cgroup with these controllers to give, and processes.
func (f *fake) cgroup2(path, controllers string, pids ...int) {
	f.file(path+"/cgroup.controllers", controllers+"\n")
	f.file(path+"/cgroup.subtree_control", "\n")
	f.file(path+"/cgroup.type", "domain\n")
	f.file(path+"/cgroup.procs", strings.Trim(strings.ReplaceAll(fmt.Sprint(pids), " ", "\n"), "[]"))
}

func (f *fake) mounts(lines ...string) {
	for i, l := range lines {
		lines[i] = fmt.Sprintf("%d 1 0:%d "+l, 30+i, 30+i)
	}
	f.file("proc/mountinfo", strings.ReplaceAll(strings.Join(lines, "\n"), "ROOT", f.root))
}

// write is what the system does on a write: moves processes, and gives children controllers where no process is.
func (f *fake) write(file, text string) error {
	dir, name := filepath.Split(file)
	switch name {
	case "cgroup.procs":
		all, err := filepath.Glob(filepath.Join(f.root, "cg", "*", "cgroup.procs"))
		require.NoError(f.t, err)
		for _, other := range all {
			pids := slices.DeleteFunc(strings.Fields(read("", other)), func(p string) bool { return p == text })
			require.NoError(f.t, os.WriteFile(other, []byte(strings.Join(pids, "\n")), 0o644))
		}
		return os.WriteFile(file, []byte(text+"\n"), 0o644)
	case "cgroup.subtree_control":
		if read(dir, "cgroup.procs") != "" && exists(filepath.Join(dir, "cgroup.type")) {
			return os.ErrPermission // EBUSY
		}
		return os.WriteFile(file, []byte(read(dir, name)+" "+strings.TrimPrefix(text, "+")), 0o644)
	}
	return os.ErrInvalid
}

// A delegated cgroup: the server moves into a leaf, its controllers are given to groups, and their limits written.
func TestUnifiedDelegated(t *testing.T) {
	f := newFake(t)
	f.mounts("/ ROOT/cg rw - cgroup2 cgroup2 rw")
	f.file("proc/cgroup", "0::/nbserv.service\n")
	f.file("systemd/x", "")
	f.cgroup2("cg/nbserv.service", "cpuset cpu io memory pids", os.Getpid())
	f.cgroup2("cg/nbserv.service/nbserv-1", "cpu memory pids")
	f.cgroup2("cg/nbserv.service/nbserv-1/k1", "cpu memory pids")
	f.file("cg/nbserv.service/nbserv-1/memory.swap.max", "max\n")

	_, err := open("nbserv-1", f.sys)
	require.ErrorIs(t, err, ErrNone)
	require.ErrorContains(t, err, "Delegate=yes")
	f.sys.delegated = func(string) bool { return true }
	tree, err := open("nbserv-1", f.sys)
	require.NoError(t, err)
	require.Equal(t, "v2 cpu,memory,pids", tree.String())
	require.Equal(t, fmt.Sprintln(os.Getpid()), f.read("cg/nbserv.service/"+leaf+"/cgroup.procs"))
	require.Empty(t, f.read("cg/nbserv.service/cgroup.procs"))

	g, err := tree.New("k1", Limits{MemoryBytes: 200 << 20, CPUs: 1.5, Processes: 64})
	require.NoError(t, err)
	for file, want := range map[string]string{
		"memory.max": "209715200", "memory.swap.max": "0", "cpu.max": "150000 100000", "pids.max": "64",
	} {
		require.Equal(t, want, f.read("cg/nbserv.service/nbserv-1/k1/"+file), file)
	}
	require.Contains(t, f.read("cg/nbserv.service/nbserv-1/cgroup.subtree_control"), "+cpu +memory +pids")
	require.Equal(t, []string{filepath.Join(f.root, "cg/nbserv.service/nbserv-1/k1")}, g.Paths())

	for file, text := range map[string]string{
		"memory.stat": "anon 100\ninactive_file 4096\n", "memory.current": "104857600\n", "pids.current": "7\n",
		"memory.events": "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n", "cpu.stat": "usage_usec 1500000\nuser_usec 1\n",
	} {
		f.file("cg/nbserv.service/nbserv-1/k1/"+file, text)
	}
	g = tree.Find("k1")
	require.Equal(t, Limits{MemoryBytes: 200 << 20, CPUs: 1.5, Processes: 64}, g.Limits())
	u, ok := g.Usage()
	require.True(t, ok)
	require.Equal(t, Usage{MemoryBytes: 104857600 - 4096, CPU: 1500e6, Processes: 7}, u)
	used, kills, ok := g.Memory()
	require.True(t, ok)
	require.EqualValues(t, 104857600, used, "half of its limit: the cache does not matter")
	require.EqualValues(t, 2, kills)
	f.file("cg/nbserv.service/nbserv-1/k1/memory.current", "200000000\n")
	used, _, _ = g.Memory()
	require.EqualValues(t, 200000000-4096, used)
	require.True(t, strings.HasSuffix(g.OOMFile(), "k1/memory.events"))
	require.True(t, g.LimitReached())
	require.Equal(t, []string{"k1"}, tree.IDs())
}

// A host of kernels finds the place that its server has made, from within the leaf.
func TestUnifiedFromTheLeaf(t *testing.T) {
	f := newFake(t)
	f.mounts("/ ROOT/cg rw - cgroup2 cgroup2 rw")
	f.file("proc/cgroup", "0::/unit/"+leaf+"\n")
	f.cgroup2("cg/unit", "memory pids")
	f.file("cg/unit/cgroup.subtree_control", "memory pids\n")
	f.cgroup2("cg/unit/"+leaf, "memory pids", os.Getpid(), 4711)
	tree, err := open("nbserv-1", f.sys)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(f.root, "cg/unit"), tree.v2)
	require.Equal(t, []string{"memory", "pids"}, tree.on)
}

// Who shares its cgroup with others leaves them where they are, and has groups without limits.
func TestUnifiedShared(t *testing.T) {
	f := newFake(t)
	f.mounts("/ ROOT/cg rw - cgroup2 cgroup2 rw")
	f.file("proc/cgroup", "0::/session\n")
	f.cgroup2("cg/session", "memory pids", os.Getpid(), 4711)
	tree, err := open("nbserv-1", f.sys)
	require.NoError(t, err)
	require.Equal(t, "v2 ("+errShared.Error()+")", tree.String())
	require.NoDirExists(t, filepath.Join(f.root, "cg/session", leaf))
}

// v1, as a container sees it: its cgroup is what is mounted, and cpu has a companion.
func TestLegacy(t *testing.T) {
	f := newFake(t)
	f.mounts("/box/1 ROOT/cg/memory rw shared:9 - cgroup cgroup rw,memory",
		"/box/1 ROOT/cg/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
		"/other ROOT/cg/pids rw - cgroup cgroup rw,pids")
	f.file("proc/cgroup", "4:memory:/box/1/app\n3:cpu,cpuacct:/box/1\n2:pids:/box/1\n1:name=systemd:/box/1\n")
	f.file("cg/memory/app/nbserv-1/k1/cgroup.procs", "")
	f.file("cg/cpu,cpuacct/nbserv-1/k1/cgroup.procs", "")
	f.file("cg/memory/app/memory.memsw.limit_in_bytes", "9223372036854771712")
	require.NoError(t, os.Symlink("cpu,cpuacct", filepath.Join(f.root, "cg/cpu")))

	tree, err := open("nbserv-1", f.sys)
	require.NoError(t, err)
	require.Equal(t, "v1 memory,cpu", tree.String()) // pids is not to be seen from here
	_, err = tree.New("k1", Limits{MemoryBytes: 1 << 30, CPUs: 2, Processes: 9})
	require.NoError(t, err)
	for file, want := range map[string]string{
		"memory/app/nbserv-1/k1/memory.limit_in_bytes": "1073741824", "memory/app/nbserv-1/k1/memory.memsw.limit_in_bytes": "1073741824",
		"cpu/nbserv-1/k1/cpu.cfs_quota_us": "200000", "cpu/nbserv-1/k1/cpu.cfs_period_us": "100000",
	} {
		require.Equal(t, want, f.read("cg/"+file), file)
	}
	f.file("cg/memory/app/nbserv-1/k1/memory.stat", "inactive_file 1\ntotal_inactive_file 1000\n")
	f.file("cg/memory/app/nbserv-1/k1/memory.usage_in_bytes", "5000\n")
	f.file("cg/memory/app/nbserv-1/k1/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n")
	g := tree.Find("k1")
	require.Equal(t, Limits{MemoryBytes: 1 << 30, CPUs: 2}, g.Limits())
	u, ok := g.Usage()
	require.True(t, ok)
	require.Equal(t, Usage{MemoryBytes: 4000}, u)
	_, kills, ok := g.Memory()
	require.True(t, ok)
	require.EqualValues(t, 4, kills)
	require.False(t, g.LimitReached())
}

func TestNoCgroups(t *testing.T) {
	f := newFake(t)
	f.mounts("/ /proc rw - proc proc rw")
	f.file("proc/cgroup", "0::/\n")
	_, err := open("x", f.sys)
	require.ErrorIs(t, err, ErrNone)
	_, err = (&Tree{}).New("../up", Limits{})
	require.Error(t, err)
}

func FuzzParseMounts(f *testing.F) {
	f.Add("31 1 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n")
	f.Add("36 35 0:31 /docker/x /sys/fs/cg\\040roup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n")
	f.Add("a b - cgroup\n - - -\n\\777")
	f.Fuzz(func(t *testing.T, text string) {
		mounts, err := parseMounts(strings.NewReader(text))
		for _, m := range mounts {
			require.True(t, err != nil || m.point != "" && m.root != "")
		}
	})
}
