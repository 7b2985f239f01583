package kernel

import (
	"encoding/json"
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
	"golang.org/x/sys/unix"

	"github.com/nbserv/nbserv/internal/fault"
)

// orphan launches a shell script in another process, which is killed then, and gives the record that it left.
func orphan(t *testing.T, dir, script string) Record {
	t.Helper()
	if os.Getenv("NBSERV_TEST_CHILD") == dir {
		p, err := newLocal(t).Launch(t.Context(), Launch{KernelID: "id", Spec: shell(script), Cwd: dir})
		require.NoError(t, err)
		raw, err := json.Marshal(p.Record())
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "record"), append(raw, '\n'), 0o600))
		waitFile(t, dir, "ready")
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	newLocal(t) // from now on what loses its parent becomes our child, and can be waited for
	runSelf(t, `"$@" || exit 0`, "NBSERV_TEST_CHILD="+dir)
	var r Record
	require.NoError(t, json.Unmarshal([]byte(waitFile(t, dir, "record")), &r))
	t.Cleanup(func() { _ = syscall.Kill(-r.PID, syscall.SIGKILL) })
	return r
}

// childDir is the folder that orphan's other process works in; here it is a new one.
func childDir(t *testing.T) string {
	if dir := os.Getenv("NBSERV_TEST_CHILD"); dir != "" {
		return dir
	}
	return t.TempDir()
}

func adopt(t *testing.T, l *Local, r Record) Process {
	t.Helper()
	p, err := l.Adopt(t.Context(), r)
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Kill() })
	return p
}

// A kernel that wrote more than its pipe holds while nobody read goes on when it is adopted, and nothing of what was
// in the pipe is lost. It put another file in the place of its stdout, as ipykernel does.
func TestAdoptedKernelIsReadOn_P3(t *testing.T) {
	dir := childDir(t)
	r := orphan(t, dir, `
		exec 3>&1 >other 2>&1
		echo > ready
		while [ ! -e go ]; do sleep 0.01; done
		i=0; while [ $i -lt 4000 ]; do i=$((i+1)); echo "line $i of what it says" >&3; echo $i > said; done
		echo the end >&3; echo > through; exec sleep 1000`)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go"), nil, 0o600))
	pipeFull := func() bool { // but for the ends of its pages
		f, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/3", r.PID), os.O_RDONLY|syscall.O_NONBLOCK, 0)
		require.NoError(t, err)
		defer f.Close()
		n, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCINQ)
		require.NoError(t, err)
		return n > 60_000
	}
	require.Eventually(t, pipeFull, patience, waitTick)
	require.NoFileExists(t, filepath.Join(dir, "through"), "it waits for a reader")

	p := adopt(t, newLocal(t), r)
	waitFile(t, dir, "through")
	require.NoError(t, p.Kill())
	e := waitDone(t, p)
	require.True(t, strings.HasSuffix(e.Stderr, "line 4000 of what it says\nthe end\n"), e.Stderr[max(0, len(e.Stderr)-100):])
	require.Greater(t, len(e.Stderr), outputKept-100, "as much of it as is ever kept")
}

// An adopted kernel takes signals, and ends with all that belongs to it, whoever started it.
func TestAdoptedKernelIsEnded_P3_P11(t *testing.T) {
	dir := childDir(t)
	r := orphan(t, dir, `
		trap 'echo yes > interrupted' INT
		(setsid sh -c '`+staying("daemon")+`' &)
		env -i PATH="$PATH" sh -c '`+staying("unmarked")+`' &
		while [ ! -e daemon ] || [ ! -e unmarked ]; do sleep 0.01; done
		echo > ready; while :; do sleep 0.01; done`)
	p := adopt(t, newLocal(t), r)
	require.Equal(t, r, p.Record())
	require.NoError(t, p.Interrupt())
	require.Equal(t, "yes", waitFile(t, dir, "interrupted"))
	pids := map[string]int{"kernel": r.PID, "daemon": waitPID(t, dir, "daemon"), "unmarked": waitPID(t, dir, "unmarked")}
	require.NoError(t, syscall.Kill(r.PID, syscall.SIGKILL))
	require.Equal(t, syscall.SIGKILL, waitDone(t, p).Signal)
	require.Equal(t, fault.Gone, fault.KindOf(p.Interrupt()))
	require.NoError(t, syscall.Kill(pids["unmarked"], 0), "the test is not empty")
	require.NoError(t, p.Kill())
	for what, pid := range pids {
		requireGone(t, what, pid)
	}
}

// Of a kernel that ended while nobody watched, what it left is ended.
func TestLeftoversOfALostKernel_P11(t *testing.T) {
	dir := childDir(t)
	r := orphan(t, dir, `(setsid sh -c '`+staying("daemon")+`' &); while [ ! -e daemon ]; do sleep 0.01; done; echo > ready; exec sleep 1000`)
	daemon := waitPID(t, dir, "daemon")
	require.NoError(t, syscall.Kill(r.PID, syscall.SIGKILL))
	require.Eventually(t, func() bool { p, ok := readProc(r.PID); return !ok || p.dead }, patience, waitTick)
	_, err := newLocal(t).Adopt(t.Context(), r)
	require.Equal(t, fault.Gone, fault.KindOf(err))
	require.Equal(t, endedUnwatched, fault.Message(err))
	requireGone(t, "the daemon", daemon)
}

// A number that is another's now is never touched.
func TestAdoptRefusesOthers(t *testing.T) {
	l := newLocal(t)
	p, dir := launch(t, l, `echo > ready; exec sleep 1000`)
	waitFile(t, dir, "ready")
	for name, c := range map[string]struct {
		change func(*Record)
		why    string
	}{
		"another's number":      {func(r *Record) { r.StartTime++ }, endedUnwatched},
		"another run":           {func(r *Record) { r.Boot = "before" }, endedWithBoot},
		"another mark":          {func(r *Record) { r.Mark = "other" }, endedUnwatched},
		"no number, other mark": {func(r *Record) { r.PID, r.Mark = 0, "other" }, endedUnwatched},
		"nobody's number":       {func(r *Record) { r.PID, r.Mark = 1<<22+1, "other" }, endedUnwatched},
		"no start time":         {func(r *Record) { r.StartTime, r.Mark = 0, "other" }, endedUnwatched},
	} {
		r := p.Record()
		c.change(&r)
		_, err := l.Adopt(t.Context(), r)
		require.Equal(t, fault.Gone, fault.KindOf(err), name)
		require.Equal(t, c.why, fault.Message(err), name)
	}
	_, err := l.Adopt(t.Context(), Record{})
	require.Equal(t, fault.Internal, fault.KindOf(err), "nobody in particular")
	select {
	case <-p.Done():
		t.Fatal("the process was touched")
	default:
	}

	// It is found by its mark alone, too; and given up it lives on.
	p.Release()
	r := p.Record()
	again := adopt(t, l, Record{Mark: r.Mark, Output: r.Output})
	require.Equal(t, r.PID, again.Record().PID)
	require.Equal(t, r.StartTime, again.Record().StartTime)
	again.Release()
	require.NoError(t, syscall.Kill(r.PID, 0))
	last := adopt(t, l, r)
	require.NoError(t, last.Terminate())
	require.Equal(t, syscall.SIGTERM, waitDone(t, last).Signal)
}

func TestStraysAreEnded_P11(t *testing.T) {
	l := newLocal(t)
	prefix := randomHex(8) + "-"
	start := func(mark string) Process {
		p, err := l.Launch(t.Context(), Launch{Mark: mark, Spec: shell(`exec sleep 1000`)})
		require.NoError(t, err)
		t.Cleanup(func() { _ = p.Kill() })
		return p
	}
	stray, kept, other := start(prefix+"a"), start(prefix+"b"), start(randomHex(8)+"-a")
	// Until it runs its program, a process has the environment of who started it.
	require.Eventually(t, func() bool { return markOf(stray.Record().PID) == prefix+"a" }, patience, waitTick)
	require.Empty(t, l.EndStrays("", nil), "not everybody's")
	require.Equal(t, []string{prefix + "a"}, l.EndStrays(prefix, map[string]bool{prefix + "b": true}))
	waitDone(t, stray)
	for _, p := range []Process{kept, other} {
		require.NoError(t, syscall.Kill(p.Record().PID, 0))
	}
}

// How a process ended that is not our child: its zombie tells, and after that its pidfd.
func TestExitStatusOfAnothersChild_P12(t *testing.T) {
	for _, c := range []struct {
		name, parent string
		reaped       bool
	}{
		{"a zombie", `%s & echo $! > pid.tmp; mv pid.tmp pid; exec sleep 1000`, false},
		{"waited for", `%s & echo $! > pid.tmp; mv pid.tmp pid; wait; exec sleep 1000`, true},
	} {
		for script, want := range map[string]Exit{
			`sh -c 'while [ ! -e go ]; do sleep 0.01; done; exit 7'`:        {Code: 7},
			`sh -c 'while [ ! -e go ]; do sleep 0.01; done; exit 0'`:        {Code: 0},
			`sh -c 'while [ ! -e go ]; do sleep 0.01; done; kill -SEGV $$'`: {Code: -1, Signal: syscall.SIGSEGV},
		} {
			t.Run(c.name+" "+strings.TrimSuffix(script[len(script)-12:], "'"), func(t *testing.T) {
				if c.reaped && !atLeastLinux(t, 6, 15) {
					t.Skip("before Linux 6.15 nobody but its parent learns it")
				}
				dir := t.TempDir()
				parent := exec.Command("/bin/sh", "-c", fmt.Sprintf(c.parent, script))
				parent.Dir = dir
				require.NoError(t, parent.Start())
				defer func() { _ = parent.Process.Kill(); _ = parent.Wait() }()
				pid := waitPID(t, dir, "pid")
				w, err := watchPID(pid)
				require.NoError(t, err)
				defer w.close()
				require.False(t, w.over())
				require.NoError(t, os.WriteFile(filepath.Join(dir, "go"), nil, 0o600))
				require.True(t, w.await())
				if c.reaped {
					require.Eventually(t, func() bool { _, ok := readProc(pid); return !ok }, patience, waitTick)
				}
				require.True(t, w.over())
				ws, ok := w.status()
				require.True(t, ok)
				e := newExit(ws)
				e.CoreDumped = false
				require.Equal(t, want, e)
				require.ErrorIs(t, w.signalGroup(0), syscall.ESRCH)
			})
		}
	}
	require.Contains(t, Exit{Code: -1, Unknown: true}.String(), "not known")
}

func atLeastLinux(t *testing.T, major, minor int) bool {
	t.Helper()
	var u unix.Utsname
	require.NoError(t, unix.Uname(&u))
	words := strings.SplitN(unix.ByteSliceToString(u.Release[:]), ".", 3)
	require.Len(t, words, 3)
	a, err := strconv.Atoi(words[0])
	require.NoError(t, err)
	b, err := strconv.Atoi(words[1])
	require.NoError(t, err)
	return a > major || a == major && b >= minor
}

// Without a pidfd (old systems, no descriptors left) a process is looked for now and then.
func TestWatchWithoutPidfd(t *testing.T) {
	for _, release := range []bool{false, true} {
		cmd := exec.Command("/bin/sleep", "1000")
		require.NoError(t, cmd.Start())
		w := &processWatch{pid: cmd.Process.Pid, start: startTime(cmd.Process.Pid), stop: make(chan struct{})}
		ended := make(chan bool, 1)
		go func() { ended <- w.await() }()
		if release {
			w.release()
		} else {
			require.NoError(t, cmd.Process.Kill())
		}
		select {
		case got := <-ended:
			require.Equal(t, !release, got)
		case <-time.After(patience):
			t.Fatal("await does not return")
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		w.close()
	}
}
