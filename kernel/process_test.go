package kernel

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
)

func TestProcessThatExitsAtOnce(t *testing.T) {
	p, _ := launch(t, newLocal(t), `echo out; echo "oops: no module" >&2; exit 3`)
	e := waitDone(t, p)
	require.Equal(t, 3, e.Code)
	require.Zero(t, e.Signal)
	require.False(t, e.OutOfMemory)
	require.Equal(t, "out\noops: no module\n", e.Stderr)
	require.Equal(t, 3, e.State.ExitCode())
	require.Equal(t, fault.Gone, fault.KindOf(p.Interrupt()))
	require.NoError(t, p.Terminate())
	require.NoError(t, p.Kill())
}

func TestProcessOutputIsBounded_P9(t *testing.T) {
	p, _ := launch(t, newLocal(t), `i=0; while [ $i -lt 40000 ]; do i=$((i+1)); echo "line $i of the output"; done; echo the end`)
	e := waitDone(t, p)
	require.LessOrEqual(t, len(e.Stderr), outputKept)
	require.Greater(t, len(e.Stderr), outputKept-100)
	require.True(t, strings.HasPrefix(e.Stderr, "line "), e.Stderr[:50])
	require.True(t, strings.HasSuffix(e.Stderr, "line 40000 of the output\nthe end\n"))
}

func TestTail(t *testing.T) {
	var tl tail
	tl.write([]byte("short\xff\n"))
	require.Equal(t, "short\uFFFD\n", tl.text())
	chunk := []byte(strings.Repeat("x", outputChunk-1) + "\n")
	for range 1000 {
		tl.write(chunk)
		require.LessOrEqual(t, len(tl.buf), 2*outputKept)
	}
	require.LessOrEqual(t, cap(tl.buf), 4*outputKept)
	require.Equal(t, strings.Repeat(string(chunk), outputKept/outputChunk-1), tl.text())
}

func TestInterruptReachesTheGroup(t *testing.T) {
	p, dir := launch(t, newLocal(t), `
		trap 'echo yes > kernel' INT
		sh -c 'trap "echo yes > child; exit" INT; echo > ready; while :; do sleep 0.01; done'
		while [ ! -e stop ]; do sleep 0.01; done`)
	waitFile(t, dir, "ready")
	require.NoError(t, p.Interrupt())
	require.Equal(t, "yes", waitFile(t, dir, "child"))
	require.Equal(t, "yes", waitFile(t, dir, "kernel"))
	select {
	case <-p.Done():
		t.Fatal("a kernel that handles the interrupt goes on")
	default:
	}
	rec := p.Record()
	require.Equal(t, rec.PID, rec.PGID)
	sid, _, errno := syscall.Syscall(syscall.SYS_GETSID, uintptr(rec.PID), 0, 0)
	require.Zero(t, errno)
	require.EqualValues(t, rec.PID, sid, "a session of its own")
}

func TestTerminateAndKill(t *testing.T) {
	l := newLocal(t)
	p, dir := launch(t, l, `trap 'echo bye > bye; exit 0' TERM; echo > ready; while :; do sleep 0.01; done`)
	waitFile(t, dir, "ready")
	require.NoError(t, p.Terminate())
	require.Zero(t, waitDone(t, p).Code)
	require.Equal(t, "bye", waitFile(t, dir, "bye"))

	p, dir = launch(t, l, `trap 'echo yes > ignored' TERM; echo > ready; while :; do sleep 0.01; done`)
	waitFile(t, dir, "ready")
	require.NoError(t, p.Terminate())
	waitFile(t, dir, "ignored")
	require.NoError(t, p.Kill())
	e := waitDone(t, p)
	require.Equal(t, syscall.SIGKILL, e.Signal)
	require.Equal(t, -1, e.Code)
}

func TestStoppedKernelTakesSignals_P10(t *testing.T) {
	l := newLocal(t)
	p, dir := launch(t, l, `trap 'exit 5' TERM; echo > ready; while :; do sleep 0.01; done`)
	waitFile(t, dir, "ready")
	require.NoError(t, syscall.Kill(-p.Record().PGID, syscall.SIGSTOP))
	require.NoError(t, p.Terminate())
	if waited := waitDone(t, p); waited.Signal == 0 {
		require.Equal(t, 5, waited.Code)
	}
	p, dir = launch(t, l, `echo > ready; while :; do sleep 0.01; done`)
	waitFile(t, dir, "ready")
	require.NoError(t, syscall.Kill(-p.Record().PGID, syscall.SIGSTOP))
	require.NoError(t, p.Kill())
	require.Equal(t, syscall.SIGKILL, waitDone(t, p).Signal)
}

func TestOutOfMemoryIsToldFromOtherDeaths_P12(t *testing.T) {
	counter := filepath.Join(t.TempDir(), "memory.events")
	count := func(n string) {
		require.NoError(t, os.WriteFile(counter, []byte("low 0\noom 1\noom_kill "+n+"\noom_group_kill 0\n"), 0o600))
	}
	l := newLocal(t)
	l.oomFiles = []string{"/nonexistent", counter}
	die := func(signal func(Process)) Exit {
		count("7")
		p, dir := launch(t, l, `echo > ready; exec sleep 1000`)
		waitFile(t, dir, "ready")
		signal(p)
		return waitDone(t, p)
	}
	kill := func(sig syscall.Signal) func(Process) {
		return func(p Process) { require.NoError(t, syscall.Kill(p.Record().PID, sig)) }
	}
	require.True(t, die(func(p Process) { count("8"); kill(syscall.SIGKILL)(p) }).OutOfMemory)
	require.False(t, die(kill(syscall.SIGKILL)).OutOfMemory, "somebody's kill -9")
	require.False(t, die(func(p Process) { count("8"); kill(syscall.SIGTERM)(p) }).OutOfMemory)
	require.False(t, die(func(p Process) { count("8"); require.NoError(t, p.Kill()) }).OutOfMemory, "our own kill")

	_, ok := readOOM("/nonexistent")
	require.False(t, ok)
	require.NoError(t, os.WriteFile(counter, []byte("oom_kill x\n"), 0o600))
	_, ok = readOOM(counter)
	require.False(t, ok)
	require.False(t, newOOMCounter(nil).rose())
}

func TestProcessIsSafeForConcurrentUse(t *testing.T) {
	l := newLocal(t)
	var wg sync.WaitGroup
	for range 4 {
		p, _ := launch(t, l, `sleep 1000 & wait`)
		for range 3 {
			wg.Go(func() { _ = p.Interrupt() })
			wg.Go(func() { _ = p.Terminate() })
			wg.Go(func() { _ = p.Kill() })
		}
		wg.Go(func() { <-p.Done(); _ = p.Exit() })
	}
	wg.Wait()
}
