package faults

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// growth is how much memory server and host may have more after many sessions came and went: what Go's collector leaves
// to itself.
const growth = 16 << 20

// holdings are what a plant's server and kernel host hold.
type holdings struct {
	processes   int // of kernels, and dead ones
	descriptors int
	goroutines  int
	memory      int      // bytes
	files       []string // of the state folder, the notebooks and the temporary folder
}

// holdings counts. host is the process of the kernel host.
func (p *plant) holdings(host int) (h holdings) {
	p.t.Helper()
	server := p.cmd.Process.Pid
	for _, pid := range []int{server, host} {
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		require.NoError(p.t, err)
		h.descriptors += len(entries)
		h.processes += children(pid, host)
	}
	h.goroutines = p.metric("go_goroutines") + p.metric("nbserv_kernel_host_go_goroutines")
	h.memory = p.memory()
	err := filepath.WalkDir(filepath.Dir(p.state), func(path string, _ fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil // it went just now
		}
		h.files = append(h.files, path)
		return err
	})
	require.NoError(p.t, err)
	return h
}

// children counts the processes whose parent pid is, the dead among them, but not other.
func children(pid, other int) (n int) {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			continue // it went just now
		}
		fields := bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:])
		if string(fields[1]) == strconv.Itoa(pid) && file != fmt.Sprintf("/proc/%d/stat", other) {
			n++
		}
	}
	return n
}

// memory is what server and kernel host have, in bytes.
func (p *plant) memory() int {
	p.t.Helper()
	return p.metric("process_resident_memory_bytes") + p.metric("nbserv_kernel_host_process_resident_memory_bytes")
}

// metric is what the server tells about name.
func (p *plant) metric(name string) int {
	p.t.Helper()
	req, err := http.NewRequest("GET", "http://"+p.addr+"/metrics", nil)
	require.NoError(p.t, err)
	req.Header.Set("Authorization", "token "+token)
	res, err := client.Do(req)
	require.NoError(p.t, err)
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			n, err := strconv.ParseFloat(value, 64)
			require.NoError(p.t, err)
			return int(n)
		}
	}
	require.Fail(p.t, "no such metric", name)
	return 0
}

// TestCreateAndDeleteLeaveNothing_P11 makes, uses and deletes sessions: processes, descriptors, goroutines, memory and
// files of the server and its kernel host are what they were.
func TestCreateAndDeleteLeaveNothing_P11(t *testing.T) {
	p := build(t, "--kernel-host=spawn")
	round := func(n int) {
		for i := range n {
			var m model
			p.must("POST", "api/sessions", session(fmt.Sprintf("s%d.ipynb", i%7)), &m)
			if i%5 == 0 {
				g := newPage(p, m.Kernel.ID)
				o, err := g.run(t.Context(), "flood 50 100")
				g.close()
				require.NoError(t, err)
				require.NoError(t, o.whole(50))
			}
			p.must("DELETE", "api/sessions/"+m.ID, nil, nil)
		}
	}
	round(20) // caches and pools
	host := p.newHost(0)
	require.NotZero(t, host)
	client.CloseIdleConnections()
	var before, after holdings
	require.Eventually(t, func() bool { before = p.holdings(host); return before.processes == 0 }, patience, tick)
	n := times(80, 1000)
	round(n)
	client.CloseIdleConnections()
	back := func() bool {
		after = p.holdings(host)
		return after.processes == 0 && after.descriptors <= before.descriptors+2 && after.goroutines <= before.goroutines+4 &&
			len(after.files) == len(before.files)
	}
	require.Eventually(t, back, patience, tick, "before: %+v\nafter: %+v", &before, &after)
	t.Logf("%d sessions: %d -> %d processes, %d -> %d descriptors, %d -> %d goroutines, %.1f -> %.1f MiB", n, before.processes, after.processes,
		before.descriptors, after.descriptors, before.goroutines, after.goroutines, float64(before.memory)/(1<<20), float64(after.memory)/(1<<20))
	require.Less(t, after.memory-before.memory, growth)
	require.ElementsMatch(t, before.files, after.files)
}
