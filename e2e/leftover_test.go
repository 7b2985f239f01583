package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// cycles is how many sessions come and go.
const cycles = 200

// belongings is what a server holds.
type belongings struct {
	descriptors []string // what they point to
	goroutines  float64
	processes   int
	files       []string // below the temporary and the state folder
}

func (s *synth) belongings() (b belongings) {
	s.t.Helper()
	b.processes = len(s.processes())
	b.goroutines = s.metric("go_goroutines")
	dir := fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid)
	entries, err := os.ReadDir(dir)
	require.NoError(s.t, err)
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			b.descriptors = append(b.descriptors, to)
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
// them is left: no descriptor, no goroutine, no process, no file.
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
	for i := range cycles {
		cycle(i)
	}
	client.CloseIdleConnections()
	var after belongings
	s.eventually(func() bool {
		after = s.belongings()
		return after.processes == 0 && after.goroutines <= before.goroutines+2 && len(after.descriptors) <= len(before.descriptors)+1
	}, "before: %v", &before)
	require.ElementsMatch(t, before.files, after.files)
	for _, file := range after.files {
		require.NotContains(t, file, "kernel-", "a connection file")
		require.False(t, strings.HasPrefix(filepath.Base(file), ".nbserv-"), file)
	}
}
