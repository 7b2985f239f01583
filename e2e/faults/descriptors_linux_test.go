package faults

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// descriptorsOf are those that a process has.
func descriptorsOf(t *testing.T, pid int) map[uint64]bool {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	require.NoError(t, err)
	all := map[uint64]bool{}
	for _, e := range entries {
		fd, err := strconv.ParseUint(e.Name(), 10, 64)
		require.NoError(t, err)
		all[fd] = true
	}
	return all
}

// spareDescriptors lets a running process have n descriptors more, and gives the limit that it had.
func spareDescriptors(t *testing.T, pid int, n int) (old unix.Rlimit) {
	t.Helper()
	limit, has := uint64(0), descriptorsOf(t, pid)
	for ; n > 0 || has[limit]; limit++ {
		if !has[limit] {
			n--
		}
	}
	require.NoError(t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &old))
	require.NoError(t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: old.Max}, nil))
	return old
}

// TestDescriptorsRunOut_P10_P11_S10 gives the server ever fewer descriptors, so that each that a request needs is once the
// one that is not to be had: it is refused, as what may be tried again, and leaves nothing. Then the world connects until
// none is left at all: who is connected works on, and with descriptors again so does everybody.
func TestDescriptorsRunOut_P10_P11_S10(t *testing.T) {
	p := build(t, "--kernel-host=inprocess")
	var own model
	p.must("POST", "api/sessions", session("own.ipynb"), &own)
	g := newPage(p, own.Kernel.ID)
	defer g.close()
	works := func() {
		o, err := g.run(t.Context(), "flood 100 100")
		require.NoError(t, err)
		require.Equal(t, "ok", o.status)
		require.NoError(t, o.whole(100))
	}
	works()
	server := p.cmd.Process.Pid
	before := len(descriptorsOf(t, server))
	refused := 0
	allowed := []int{200, 400, 404, 409, 503, 507}
	var unlimited unix.Rlimit
	for spare := times(24, 60); spare >= 0; spare-- {
		unlimited = spareDescriptors(t, server, spare)
		for _, r := range []struct {
			method, path string
			body         any
		}{
			{"GET", "api/contents", nil}, {"PUT", "api/contents/f.txt", content("x")}, {"GET", "api/contents/f.txt", nil},
			{"GET", "files/f.txt", nil}, {"POST", "api/contents/f.txt/checkpoints", nil}, {"GET", "api/kernelspecs", nil},
			{"POST", "api/sessions", session("new.ipynb")}, {"GET", "api/sessions", nil}, {"POST", "api/kernels/" + own.Kernel.ID + "/interrupt", nil},
		} {
			var m model
			status := p.ask(t.Context(), r.method, r.path, r.body, &m)
			require.NotEqual(t, 500, status, "%s %s with %d descriptors to spare", r.method, r.path, spare)
			if status >= 400 {
				require.Contains(t, allowed, status, "%s %s with %d descriptors to spare", r.method, r.path, spare)
				refused++
			}
			if r.path == "api/sessions" && m.ID != "" {
				require.Equal(t, 204, p.ask(t.Context(), "DELETE", "api/sessions/"+m.ID, nil, nil))
			}
		}
		require.NoError(t, unix.Prlimit(server, unix.RLIMIT_NOFILE, &unlimited, nil))
	}
	require.Positive(t, refused, "there were always enough")
	works()

	// Everybody connects, and is silent.
	spareDescriptors(t, server, 20)
	var silent []net.Conn
	for range 200 {
		conn, err := net.DialTimeout("tcp", p.addr, time.Second)
		if err != nil {
			break // the queue of the listener is full, too
		}
		silent = append(silent, conn)
	}
	require.Eventually(t, func() bool { return len(descriptorsOf(t, server)) >= before+20 }, patience, 10*time.Millisecond)
	works()
	for _, conn := range silent {
		_ = conn.Close()
	}
	require.NoError(t, unix.Prlimit(server, unix.RLIMIT_NOFILE, &unlimited, nil))
	require.Eventually(t, func() bool { return p.ask(t.Context(), "GET", "api/sessions", nil, nil) == 200 }, patience, 10*time.Millisecond)
	works()
	p.must("POST", "api/sessions", session("after.ipynb"), &own)
	p.must("DELETE", "api/sessions/"+own.ID, nil, nil)

	client.CloseIdleConnections()
	require.Eventually(t, func() bool { return len(descriptorsOf(t, server)) <= before+2 }, patience, 10*time.Millisecond, "descriptors are left")
	require.Eventually(t, func() bool {
		left, err := filepath.Glob(filepath.Join(p.state, "kernels", "*"))
		return err == nil && len(left) == 1
	}, patience, 10*time.Millisecond, "what was refused left something")
	raw, err := os.ReadFile(p.logs.Name())
	require.NoError(t, err)
	require.Less(t, bytes.Count(raw, []byte("\n")), 1000, "the log tells it now and then, not always: %.2000s", raw)
	t.Logf("%d requests were refused, %d lines in the log", refused, strings.Count(string(raw), "\n"))
}
