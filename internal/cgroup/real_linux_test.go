package cgroup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// realTree is a tree on this machine's cgroups.
func realTree(t testing.TB) *Tree {
	t.Helper()
	tree, err := Open(fmt.Sprintf("nbserv-test-%d-%s", os.Getpid(), strings.ReplaceAll(t.Name(), "/", "-")))
	if errors.Is(err, ErrNone) {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() {
		for _, id := range tree.IDs() {
			if g := tree.Find(id); g != nil {
				require.NoError(t, g.Kill(time.Minute))
				require.NoError(t, g.Close())
			}
		}
		tree.Close()
		for _, dir := range tree.folders() {
			require.NoDirExists(t, dir)
		}
	})
	return tree
}

// variants runs a test on the machine's tree, and on its v2 and its v1 alone.
func variants(t *testing.T, test func(*testing.T, *Tree)) {
	t.Run("all", func(t *testing.T) { test(t, realTree(t)) })
	t.Run("v2", func(t *testing.T) {
		tree := realTree(t)
		if tree.v1 = nil; tree.v2 == "" {
			t.Skip("no v2 for us")
		}
		test(t, tree)
	})
	t.Run("v1", func(t *testing.T) {
		tree := realTree(t)
		if tree.v2 = ""; len(tree.v1) == 0 {
			t.Skip("no v1 for us")
		}
		test(t, tree)
	})
}

// start starts a command in a group. Its stdin is read to the end when start returns: until then the thread that
// starts it counts among the group's.
func start(t *testing.T, g *Group, argv ...string) (*exec.Cmd, *strings.Builder) {
	t.Helper()
	var out strings.Builder
	cmd := exec.Command(argv[0], argv[1:]...)
	in, end, err := os.Pipe()
	require.NoError(t, err)
	defer end.Close()
	defer in.Close()
	cmd.Stdin, cmd.Stdout = in, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	require.NoError(t, g.Start(cmd))
	return cmd, &out
}

// A process is in its group, in every hierarchy, when it reads its first line of script; the thread that started
// it is back.
func TestStartsInside(t *testing.T) { variants(t, startsInside) }

func startsInside(t *testing.T, tree *Tree) {
	before, err := os.ReadFile("/proc/thread-self/cgroup")
	require.NoError(t, err)
	g, err := tree.New("k1", Limits{})
	require.NoError(t, err)
	cmd, out := start(t, g, "cat", "/proc/self/cgroup")
	require.NoError(t, cmd.Wait())
	require.Equal(t, len(g.Paths()), strings.Count(out.String(), "/"+tree.name+"/k1\n"), "%s in %v", out, g.Paths())

	tasks, err := filepath.Glob("/proc/self/task/*/cgroup")
	require.NoError(t, err)
	for _, task := range tasks {
		now, err := os.ReadFile(task)
		require.True(t, err != nil || string(now) == string(before), "a thread of ours is in %s", now)
	}
	require.NoError(t, g.Close())
	require.Empty(t, tree.IDs())
}

// Nothing of a group escapes its end: not by forking as fast as it can, in sessions of their own.
func TestKillEndsWhatForks_P11(t *testing.T) { variants(t, killEndsWhatForks) }

func killEndsWhatForks(t *testing.T, tree *Tree) {
	g, err := tree.New("bomb", Limits{Processes: 100})
	require.NoError(t, err)
	cmd, _ := start(t, g, "sh", "-c", "while :; do setsid sh -c 'while :; do setsid sleep 100 & done' & done 2>/dev/null")
	require.Eventually(t, func() bool { return len(g.PIDs()) > 20 }, time.Minute, time.Millisecond)
	require.ErrorContains(t, g.Close(), "busy")
	require.NoError(t, g.Kill(time.Minute))
	require.Empty(t, g.PIDs())
	require.Error(t, cmd.Wait())
	require.NoError(t, g.Close())
}

// The system ends what takes more memory than its group may have, and counts that.
func TestMemoryLimit(t *testing.T) {
	tree := realTree(t)
	g, err := tree.New("hungry", Limits{MemoryBytes: 64 << 20})
	require.NoError(t, err)
	if g.Limits().MemoryBytes == 0 {
		t.Skip("no memory controller for us")
	}
	cmd, _ := start(t, g, "tail", "/dev/zero") // keeps the last line, which has no end
	require.Error(t, cmd.Wait())
	require.Equal(t, syscall.SIGKILL, cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
	_, kills, ok := g.Memory()
	require.True(t, ok)
	require.EqualValues(t, 1, kills)
	require.True(t, g.LimitReached())
}

func TestProcessLimit(t *testing.T) {
	tree := realTree(t)
	g, err := tree.New("crowd", Limits{Processes: 10})
	require.NoError(t, err)
	if g.Limits().Processes == 0 {
		t.Skip("no pids controller for us")
	}
	cmd, _ := start(t, g, "sh", "-c", "read x; for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 100 >/dev/null & done")
	require.Error(t, cmd.Wait())        // it cannot fork
	require.Eventually(t, func() bool { // the shell may count for a moment after it was waited for
		u, _ := g.Usage()
		return len(g.PIDs()) == 9 && u.Processes == 9
	}, 30*time.Second, time.Millisecond)
}

// What was made can be found again, by its paths or its id, with the limits it has.
func TestFindsAgain(t *testing.T) {
	tree := realTree(t)
	g, err := tree.New("k1", Limits{MemoryBytes: 96 << 20, CPUs: 0.5, Processes: 77})
	require.NoError(t, err)
	start(t, g, "sleep", "100")
	require.Equal(t, []string{"k1"}, tree.IDs())
	for _, again := range []*Group{Load(g.Paths()), tree.Find("k1")} {
		require.Equal(t, g, again)
		require.Len(t, again.PIDs(), 1)
	}
	_, err = tree.New("k1", Limits{})
	require.ErrorIs(t, err, ErrBusy)
	require.NoError(t, g.Kill(time.Minute)) // which lets nobody fork any more
	again, err := tree.New("k1", Limits{Processes: 78})
	require.NoError(t, err)
	require.Equal(t, 78, again.Limits().Processes)
	require.Zero(t, again.Limits().MemoryBytes)
	require.Nil(t, tree.Find("k2"))
	require.Nil(t, Load([]string{"/nowhere"}))
}

// What a kernel's cgroup costs at its start and end.
func BenchmarkNewAndClose(b *testing.B) {
	tree := realTree(b)
	for b.Loop() {
		g, err := tree.New("k", Limits{MemoryBytes: 1 << 30, CPUs: 1, Processes: 100})
		require.NoError(b, err)
		require.NoError(b, g.Close())
	}
}

// What a look at a kernel's memory costs.
func BenchmarkMemory(b *testing.B) {
	g, err := realTree(b).New("k", Limits{MemoryBytes: 1 << 30})
	require.NoError(b, err)
	for b.Loop() {
		if _, _, ok := g.Memory(); !ok {
			b.Skip("no memory controller for us")
		}
	}
}

// A group with a limit gets no more than its share of a processor, however much there is; one without is in no group
// that shares them out.
func TestCPULimit(t *testing.T) { variants(t, cpuLimit) }

func cpuLimit(t *testing.T, tree *Tree) {
	free, err := tree.New("free", Limits{})
	require.NoError(t, err)
	require.Zero(t, free.Limits().CPUs)
	for _, dir := range free.v1 {
		require.NotContains(t, strings.Split(filepath.Base(strings.TrimSuffix(dir, filepath.Join(tree.name, "free"))), ","), "cpu")
	}
	require.NoError(t, free.Close())

	const share, work = 0.25, 500 * time.Millisecond
	g, err := tree.New("slow", Limits{CPUs: share})
	require.NoError(t, err)
	if g.Limits().CPUs == 0 {
		t.Skip("no cpu controller for us")
	}
	began := time.Now()
	cmd, _ := start(t, g, "sh", "-c", "while :; do :; done")
	require.Eventually(t, func() bool { return cpuTime(t, cmd.Process.Pid) >= work }, time.Minute, 10*time.Millisecond)
	took := time.Since(began)
	require.Greater(t, took.Seconds(), 0.7*work.Seconds()/share)
	require.NoError(t, g.Kill(time.Minute))
	_ = cmd.Wait()
	require.NoError(t, g.Close())
}

// cpuTime is what a process has had of the processors, as /proc tells it in hundredths of a second.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(t, err)
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')'):]))
	user, err := strconv.Atoi(fields[12])
	require.NoError(t, err)
	system, err := strconv.Atoi(fields[13])
	require.NoError(t, err)
	return time.Duration(user+system) * 10 * time.Millisecond
}
