package kernel

import (
	"context"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// newGrouped makes a Local whose kernels have cgroups; it skips where the machine has none for us.
func newGrouped(t *testing.T, stateDir string) *Local {
	t.Helper()
	l, err := NewLocal(LocalConfig{Environ: os.Environ(), StateDir: stateDir})
	require.NoError(t, err)
	if l.groups == nil {
		t.Skip("no cgroups for us on this machine")
	}
	t.Cleanup(l.Close)
	return l
}

func launchLimited(t *testing.T, l *Local, id string, limits Limits, script string) (Process, string) {
	t.Helper()
	dir := t.TempDir()
	p, err := l.Launch(context.Background(), Launch{KernelID: id, Spec: shell(script), Cwd: dir, Limits: limits})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, p.Kill())
		for _, dir := range p.Record().Cgroup {
			require.NoDirExists(t, dir)
		}
	})
	return p, dir
}

// What leaves session, group and environment behind is still in the cgroup, and ends with the kernel.
func TestKillEndsWhatHides_P11_S10(t *testing.T) {
	p, dir := launchLimited(t, newGrouped(t, t.TempDir()), "k", Limits{},
		`env -i setsid sh -c 'echo $$ > hidden; exec sleep 1000' & while [ ! -s hidden ]; do sleep 0.01; done; echo > ready; exec sleep 1000`)
	waitFile(t, dir, "ready")
	hidden := waitPID(t, dir, "hidden")
	require.NoError(t, syscall.Kill(p.Record().PID, syscall.SIGKILL))
	waitDone(t, p)
	require.NoError(t, p.Kill())
	requireGone(t, "the hidden process", hidden)
}

// A kernel that needs more memory than it may have is ended, and its death says so with the limit.
func TestOutOfMemoryNamesTheLimit_P12(t *testing.T) {
	l := newGrouped(t, t.TempDir())
	p, _ := launchLimited(t, l, "k", Limits{MemoryBytes: 64 << 20, CPUs: 1.5, Processes: 50}, `exec tail /dev/zero`)
	in := p.Record().Enforced
	if in.MemoryBy != byCgroup {
		t.Skip("no memory controller for us")
	}
	require.Equal(t, Limits{MemoryBytes: 64 << 20, CPUs: 1.5, Processes: 50}, in.Limits)
	require.Equal(t, "64 MiB of memory, 1.5 processors, 50 processes", in.String())
	exit := waitDone(t, p)
	require.True(t, exit.OutOfMemory)
	require.Equal(t, "out of memory: it needed more than its limit of 64 MiB and was killed by the system", exit.String())

	p, _ = launchLimited(t, l, "wrapped", Limits{MemoryBytes: 64 << 20}, `tail /dev/zero; exit $?`)
	exit = waitDone(t, p)
	require.Contains(t, exit.String(), "out of memory", "a shell says 137 of its command")

	p, _ = launchLimited(t, l, "killed", Limits{MemoryBytes: 64 << 20}, `kill -9 $$`)
	require.Equal(t, "SIGKILL (signal 9)", waitDone(t, p).String())
}

// Without a cgroup the memory of each process is bounded by what it may reserve; the rest is told not to be.
func TestMemoryLimitWithoutACgroup(t *testing.T) {
	p, dir := launchLimited(t, newLocal(t), "k", Limits{MemoryBytes: 64 << 20, CPUs: 1, Processes: 9},
		`echo > ready; tail /dev/zero 2> words; echo $? > code; sleep 1000`)
	require.Equal(t, Enforced{Limits: Limits{MemoryBytes: 64 << 20}, MemoryBy: byRlimit}, p.Record().Enforced)
	waitFile(t, dir, "ready")
	require.Equal(t, "1", waitFile(t, dir, "code"))
	require.Contains(t, waitFile(t, dir, "words"), "memory exhausted")
	u, ok := p.Usage()
	require.True(t, ok)
	require.Less(t, u.MemoryBytes, int64(64<<20))
	require.Positive(t, u.MemoryBytes)
}

// The next server of the same state folder finds the groups of those it adopts, and ends the others.
func TestLeftCgroupsAreEnded_P11(t *testing.T) {
	state := t.TempDir()
	before := newGrouped(t, state)
	kept, err := before.Launch(t.Context(), Launch{KernelID: "kept", Spec: shell(`exec sleep 1000`), Limits: Limits{Processes: 100}})
	require.NoError(t, err)
	_, dir := launchLimited(t, before, "lost", Limits{}, `env -i setsid sh -c 'echo $$ > pid; exec sleep 1000' & wait`)
	lost := waitPID(t, dir, "pid")
	empty, err := before.groups.New("empty", before.groups.Find("kept").Limits())
	require.NoError(t, err)

	kept.Release()

	after := newGrouped(t, state)
	adopted, err := after.Adopt(t.Context(), kept.Record())
	require.NoError(t, err)
	require.Equal(t, kept.Record().Enforced, adopted.Record().Enforced)
	after.EndStrays("nobody's", map[string]bool{kept.Record().Mark: true})
	q, ok := readProc(lost) // our child by adoption, which nobody has waited for
	require.True(t, !ok || q.dead, "the process of an unknown kernel is left")
	for _, dir := range empty.Paths() {
		require.NoDirExists(t, dir)
	}
	require.Equal(t, []string{"kept"}, after.groups.IDs())
	require.NoError(t, syscall.Kill(kept.Record().PID, 0))

	// A record from before its process was known finds the group by the process.
	again, err := newGrouped(t, state).Adopt(t.Context(), Record{Mark: kept.Record().Mark})
	require.NoError(t, err)
	require.Equal(t, kept.Record().Cgroup, again.Record().Cgroup)
	again.Release()
	require.NoError(t, adopted.Kill())
	for _, dir := range kept.Record().Cgroup {
		require.NoDirExists(t, dir)
	}
}

// Where a cgroup cannot be joined after all, the kernel starts outside of it.
func TestStartsOutsideOfACgroupThatRefuses(t *testing.T) {
	l := newGrouped(t, t.TempDir())
	g := l.newGroup(Launch{KernelID: "k"})
	require.NotNil(t, g)
	require.NoError(t, g.Close()) // it is gone when the process is to be started in it
	cmd, in, err := l.startIn(g, func() *exec.Cmd {
		return &exec.Cmd{Path: "/bin/true", SysProcAttr: &syscall.SysProcAttr{}}
	})
	require.NoError(t, err)
	require.Nil(t, in)
	require.NoError(t, cmd.Wait())
	g = l.newGroup(Launch{KernelID: "k"})
	_, _, err = l.startIn(g, func() *exec.Cmd { return &exec.Cmd{Path: "/nowhere", SysProcAttr: &syscall.SysProcAttr{}} })
	require.ErrorIs(t, err, syscall.ENOENT)
	require.Empty(t, l.groups.IDs())
}
