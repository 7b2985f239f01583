package kernel

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func requireGone(t *testing.T, what string, pid int) {
	t.Helper()
	require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH, "%s (pid %d) is left", what, pid)
}

// The ways in which programs leave their parent. Each writes its PID to a file and stays.
const stay = `echo $$ > %s.tmp; mv %s.tmp %s; exec sleep 1000`

func staying(name string) string { return fmt.Sprintf(stay, name, name, name) }

func TestKillEndsTheWholeTree_P11_S10(t *testing.T) {
	script := `
		sh -c '` + staying("child") + `' &
		sh -c 'sh -c "` + strings.ReplaceAll(staying("grandchild"), "$", `\$`) + `" & wait' &
		setsid sh -c '` + staying("session") + `' &
		(setsid sh -c '` + staying("daemon") + `' &)
		(trap "" TERM HUP INT; sh -c '` + staying("stubborn") + `' &)
		env -i PATH="$PATH" setsid sh -c '` + staying("unmarked") + `' &
		trap "" TERM
		while :; do sleep 0.01; done`
	files := []string{"child", "grandchild", "session", "daemon", "stubborn", "unmarked"}

	for _, end := range []string{"killed", "terminated first", "dead before"} {
		t.Run(end, func(t *testing.T) {
			p, dir := launch(t, newLocal(t), script)
			pids := map[string]int{"kernel": p.Record().PID}
			for _, f := range files {
				pids[f] = waitPID(t, dir, f)
			}
			switch end {
			case "terminated first":
				require.NoError(t, p.Terminate())
			case "dead before":
				require.NoError(t, p.Terminate()) // sees "unmarked" while it has a parent
				require.NoError(t, syscall.Kill(p.Record().PID, syscall.SIGKILL))
				waitDone(t, p)
				require.NoError(t, syscall.Kill(pids["stubborn"], 0), "the test is not empty")
			}
			require.NoError(t, p.Kill())
			waitDone(t, p)
			for what, pid := range pids {
				requireGone(t, what, pid)
			}
		})
	}
}

func TestOrphansInTheSessionAreFoundAfterDeath_P11(t *testing.T) {
	// Neither mark nor parent nor group tell; its session did, as long as the kernel was there.
	p, dir := launch(t, newLocal(t), `env -i PATH="$PATH" sh -c '`+staying("left")+`' & while [ ! -e left ]; do sleep 0.01; done; exit 0`)
	pid := waitPID(t, dir, "left")
	require.Zero(t, waitDone(t, p).Code)
	require.NoError(t, syscall.Kill(pid, 0), "the test is not empty")
	require.NoError(t, p.Kill())
	requireGone(t, "the orphan", pid)
}

func TestKillSparesOtherKernels_P10(t *testing.T) {
	l := newLocal(t)
	script := `(setsid sh -c '` + staying("daemon") + `' &); echo > ready; while :; do sleep 0.01; done`
	a, dirA := launch(t, l, script)
	b, dirB := launch(t, l, script) // the same KernelID: the incarnation after a restart
	pidA, pidB := waitPID(t, dirA, "daemon"), waitPID(t, dirB, "daemon")
	require.NoError(t, a.Kill())
	waitDone(t, a)
	requireGone(t, "the daemon", pidA)
	require.NoError(t, syscall.Kill(b.Record().PID, 0))
	require.NoError(t, syscall.Kill(pidB, 0))
}

func TestKillEndsAForkingTree_S10(t *testing.T) {
	p, dir := launch(t, newLocal(t), `
		f() { echo > ready; while :; do setsid sh -c 'sleep 1000' & sleep 0.02; done; }
		f & f & f & wait`)
	waitFile(t, dir, "ready")
	require.NoError(t, p.Kill())
	waitDone(t, p)
	require.Empty(t, p.(*localProcess).members())
}

func TestCyclesLeaveNothing_P11(t *testing.T) {
	t.Run("session", func(t *testing.T) { cyclesLeaveNothing(t, newLocal(t)) })
	t.Run("cgroup", func(t *testing.T) {
		l := newGrouped(t, t.TempDir())
		cyclesLeaveNothing(t, l)
		require.Empty(t, l.groups.IDs())
	})
}

func cyclesLeaveNothing(t *testing.T, l *Local) {
	t.Helper()
	base := shortDir(t)
	descriptors := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return len(names)
	}
	cycle := func() {
		c, err := NewConnection(base, "id", "sh", TCP)
		require.NoError(t, err)
		p, err := l.Launch(t.Context(), Launch{KernelID: "id", Spec: shell(`sleep 1000 & setsid sleep 1000 & wait`), Cwd: base, Release: c.Release})
		require.NoError(t, err)
		require.NoError(t, p.Kill())
		waitDone(t, p)
		require.NoError(t, c.Close())
	}
	cycle()
	before, zombies := descriptors(), ownZombies()
	for range 50 {
		cycle()
	}
	require.LessOrEqual(t, descriptors(), before)
	// Who has just been ended may still be waited for.
	require.Eventually(t, func() bool {
		return !slices.ContainsFunc(ownZombies(), func(pid int) bool { return !slices.Contains(zombies, pid) })
	}, patience, time.Millisecond)
	left, err := os.ReadDir(base)
	require.NoError(t, err)
	require.Empty(t, left)
}

// ownZombies are dead children of this process.
func ownZombies() (pids []int) {
	for _, q := range readProcs() {
		if q.dead && q.ppid == os.Getpid() {
			pids = append(pids, q.pid)
		}
	}
	return pids
}

func TestOrphanZombiesAreReaped_P11(t *testing.T) {
	p, dir := launch(t, newLocal(t), `(setsid sh -c 'echo $$ > orphan; while [ ! -e go ]; do sleep 0.01; done' &); sleep 1000`)
	pid := waitPID(t, dir, "orphan")
	mine := exec.Command("/bin/true") // somebody's child, who will wait for it
	require.NoError(t, mine.Start())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go"), nil, 0o600))
	for _, p := range []int{pid, mine.Process.Pid} {
		w, err := watchPID(p)
		require.NoError(t, err)
		require.True(t, w.await())
		w.close()
	}

	dead := reapOrphans(nil)
	require.Contains(t, dead, pid, "not at once: it could be somebody's")
	require.NoError(t, mine.Wait())
	require.NotContains(t, reapOrphans(dead), pid)
	requireGone(t, "the orphan", pid)
	require.NoError(t, p.Kill())
}

// P3, P11: the server's death neither ends a kernel nor makes it stumble over its own output.
func TestKernelOutlivesTheServer(t *testing.T) {
	if dir := os.Getenv("NBSERV_TEST_CHILD"); dir != "" {
		p, err := newLocal(t).Launch(t.Context(), Launch{Cwd: dir, Spec: shell(`
			while :; do echo out; echo err >&2; echo tick >> ticks; sleep 0.01; done`)})
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "pid"), []byte(strconv.Itoa(p.Record().PID)+"\n"), 0o600))
		waitFile(t, dir, "ticks")
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	dir := t.TempDir()
	runSelf(t, `"$@" || exit 0`, "NBSERV_TEST_CHILD="+dir)
	pid := waitPID(t, dir, "pid")
	defer syscall.Kill(-pid, syscall.SIGKILL)
	count := func() int {
		f, err := os.Open(filepath.Join(dir, "ticks"))
		require.NoError(t, err)
		defer f.Close()
		n := 0
		for s := bufio.NewScanner(f); s.Scan(); {
			n++
		}
		return n
	}
	start := count()
	require.Eventually(t, func() bool { return count() > start+20 }, patience, waitTick)
}

func TestParseProc(t *testing.T) {
	line := "42 (a) R 1 (x) S 7 41 40 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2"
	p, ok := parseProc(42, []byte(line))
	require.True(t, ok)
	require.Equal(t, proc{pid: 42, ppid: 7, pgid: 41, sid: 40, start: 987654}, p)
	p, ok = parseProc(42, []byte(strings.Replace(line, " S 7", " Z 7", 1)))
	require.True(t, ok)
	require.True(t, p.dead)
	for _, bad := range []string{"", "42 (a", "42 (a) S", strings.Replace(line, "987654", "x", 1)} {
		_, ok := parseProc(42, []byte(bad))
		require.False(t, ok, bad)
	}
	self, ok := readProc(os.Getpid())
	require.True(t, ok)
	require.Equal(t, os.Getppid(), self.ppid)
}

// The look whether kernels can be confined leaves no child to this process, which takes orphans in.
func TestCheckSandboxLeavesNobody_P11(t *testing.T) {
	newLocal(t)
	children := func() (pids []int) {
		for _, p := range readProcs() {
			if p.ppid == os.Getpid() {
				pids = append(pids, p.pid)
			}
		}
		return pids
	}
	before := children()
	if err := CheckSandbox(t.Context(), os.Getenv("PATH")); err != nil {
		t.Skip(err)
	}
	require.Subset(t, before, children())
}
