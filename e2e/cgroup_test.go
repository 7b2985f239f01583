package e2e

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/stretchr/testify/require"
)

// cgroups are the cgroups of the server's kernels, in every hierarchy, in the order of their paths. Their folder has
// the name of the state folder's device and inode.
func (s *server) cgroups() (dirs []string) {
	s.t.Helper()
	info, err := os.Stat(s.state)
	require.NoError(s.t, err)
	st := info.Sys().(*syscall.Stat_t)
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %d", st.Dev, st.Ino))
	name := fmt.Sprintf("nbserv-%x", sum[:8])
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(path, "/"+name+"/") {
			dirs = append(dirs, path)
		}
		return nil
	})
	return dirs
}

// removeCgroups removes what a server that was killed has left, once the processes in it, which are being killed,
// are gone.
func (s *server) removeCgroups() {
	for range 100 {
		dirs := s.cgroups()
		slices.Reverse(dirs) // children first
		for _, dir := range dirs {
			_ = syscall.Rmdir(dir)
			_ = syscall.Rmdir(filepath.Dir(dir))
		}
		if len(dirs) == 0 {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
}
