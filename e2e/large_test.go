package e2e

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLargeUploadThroughJupyterLab sends a file of NBSERV_E2E_UPLOAD_GB GiB through JupyterLab's file browser, which
// sends it in chunks, and takes a part of it back: all of it arrives, and the server's memory does not grow with it.
// TestDayInJupyterLab does it with 60 MB.
func TestLargeUploadThroughJupyterLab(t *testing.T) {
	gb, _ := strconv.Atoi(os.Getenv("NBSERV_E2E_UPLOAD_GB"))
	if gb <= 0 {
		t.Skip("NBSERV_E2E_UPLOAD_GB is not set")
	}
	node, env := requireLab(t)
	requireChromium(t)
	s := prepare(t)
	s.env = env
	s.run()
	file := filepath.Join(t.TempDir(), "large.bin")
	size := int64(gb) << 30
	makeSparse(t, file, size)

	script(t, node, "large.mjs", s.url, s.token, file)

	require.Equal(t, fileDigest(t, file), fileDigest(t, filepath.Join(s.root, "large.bin")))
	from := size/2 - size/2%(100<<20) + 1 // where something is
	header := s.bearer()
	header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, from+99_999))
	a, err := s.ask("GET", "files/large.bin", nil, header)
	require.NoError(t, err)
	require.Equal(t, 206, a.StatusCode)
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	want := make([]byte, 100_000)
	_, err = f.ReadAt(want, from)
	require.NoError(t, err)
	require.True(t, string(want) == string(a.body), "the range has other bytes")
	if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid)); err == nil {
		_, rest, _ := strings.Cut(string(status), "VmHWM:")
		kb, err := strconv.Atoi(strings.Fields(rest)[0])
		require.NoError(t, err)
		t.Logf("the server had %d MiB resident at most", kb>>10)
		require.Less(t, kb, 512<<10)
	}
	require.NotContains(t, s.log.String(), "level=ERROR")
}

// makeSparse writes a file with 1 MiB of chance at every 100 MiB, so that no chunk that is lost or displaced goes unseen
// where something is.
func makeSparse(t *testing.T, file string, size int64) {
	t.Helper()
	f, err := os.Create(file)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, f.Truncate(size))
	for at := int64(0); at < size; at += 100 << 20 {
		_, err := io.CopyN(io.NewOffsetWriter(f, at), rand.Reader, 1<<20)
		require.NoError(t, err)
	}
}

func fileDigest(t *testing.T, file string) string {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	require.NoError(t, err)
	return fmt.Sprintf("%x", h.Sum(nil))
}
