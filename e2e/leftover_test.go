package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// cycles is how many sessions come and go; NBSERV_E2E_CYCLES is another number, for a soak.
const cycles = 200

// maxGrowth is how much memory the server may have more after all these: what Go's collector leaves to itself.
const maxGrowth = 16 << 20

// belongings is what a server and its kernel host hold.
type belongings struct {
	descriptors []string // what they point to
	goroutines  float64
	processes   int
	cgroups     []string
	memory      float64
	files       []string // below the temporary and the state folder
}

func (s *synth) belongings() (b belongings) {
	s.t.Helper()
	b.processes = len(s.processes())
	b.goroutines = s.metric("go_goroutines") + s.metric("nbserv_kernel_host_go_goroutines")
	b.memory = s.metric("process_resident_memory_bytes") + s.metric("nbserv_kernel_host_process_resident_memory_bytes")
	b.cgroups = s.cgroups()
	for _, pid := range []int{s.cmd.Process.Pid, s.host()} {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		entries, err := os.ReadDir(dir)
		require.NoError(s.t, err)
		for _, e := range entries {
			if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
				b.descriptors = append(b.descriptors, to)
			}
		}
	}
	for _, root := range []string{s.tmp, s.state, s.root} {
		require.NoError(s.t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if os.IsNotExist(err) {
				return nil
			}
			b.files = append(b.files, path)
			return err
		}))
	}
	return b
}

// Sessions come, are used, and go; some have grandchildren that ran away into sessions of their own. Nothing of
// them is left: no descriptor, no goroutine, no memory, no process, no cgroup, no file.
func TestNothingIsLeftBehind_P11(t *testing.T) {
	s := startSynth(t)
	s.wrapSpec("family", "setsid sleep 1000 & sleep 1000 & (setsid sh -c 'sleep 1000 & sleep 1000' &) ; exec_kernel")
	cycle := func(i int) {
		spec := "synth"
		if i%10 == 0 {
			spec = "family"
		}
		made := s.create(fmt.Sprintf("cycle%d.ipynb", i), spec)
		if i%4 == 0 {
			ws := s.dial(t, made.Kernel.ID)
			ws.execute("flood 20 100")
			if i%8 == 0 {
				require.Equal(t, 200, s.call("POST", "api/kernels/"+made.Kernel.ID+"/restart", nil, nil).StatusCode)
				ws.execute("echo x")
			}
			ws.Close()
		}
		require.Equal(t, 204, s.call("DELETE", "api/sessions/"+made.ID, nil, nil).StatusCode)
	}
	for i := range 20 { // caches, pools and the database's own files
		cycle(i)
	}
	client.CloseIdleConnections()
	before := s.belongings()
	n := cycles
	if more, err := strconv.Atoi(os.Getenv("NBSERV_E2E_CYCLES")); err == nil {
		n = more
	}
	for i := range n {
		cycle(i)
	}
	client.CloseIdleConnections()
	var after belongings
	s.eventually(func() bool {
		after = s.belongings()
		return after.processes == 0 && after.goroutines <= before.goroutines+2 && len(after.descriptors) <= len(before.descriptors)+1
	}, "before: %v", &before)
	t.Logf("%d cycles: memory %.1f -> %.1f MiB, goroutines %v -> %v, descriptors %d -> %d",
		n, before.memory/(1<<20), after.memory/(1<<20), before.goroutines, after.goroutines, len(before.descriptors), len(after.descriptors))
	require.Less(t, after.memory-before.memory, float64(maxGrowth))
	require.Empty(t, after.cgroups)
	require.ElementsMatch(t, before.files, after.files)
	for _, file := range after.files {
		require.NotContains(t, file, "kernel-", "a connection file")
		require.False(t, strings.HasPrefix(filepath.Base(file), ".nbserv-"), file)
	}
}
