package kernel

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// smallDisk is a file system of its own, of size bytes.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	err := syscall.Mount("nbserv-test", dir, "tmpfs", 0, "size="+size)
	if errors.Is(err, syscall.EPERM) {
		t.Skip("mounting a file system takes root")
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	return dir
}

// On a full disk a journal is in memory, and bounded there; what is given up is told and counted, replies are kept, it
// is logged once, and goes on by itself when there is room.
func TestFullDiskIsTold_P4_P9(t *testing.T) {
	disk := smallDisk(t, "8m")
	ballast := filepath.Join(disk, "ballast")
	require.NoError(t, os.WriteFile(ballast, make([]byte, 7<<20), 0o600))
	var log bytes.Buffer
	b := NewBudget(1<<30, slog.New(slog.NewTextHandler(&log, nil)))
	j, err := OpenJournal(filepath.Join(disk, "k", "journal"), JournalLimits{}, b)
	require.NoError(t, err)
	j.memory = memoryBounds{free: 1 << 20, step: 1 << 20, most: 1 << 20, window: 1 << 20, kept: 1 << 20}
	here := j.open("page", nil)

	n := 0
	say := func(messages int) {
		for range messages {
			if n++; n%100 == 0 {
				j.Append("page", reply(n))
			} else {
				j.Append("", streamed(n, 4000))
			}
		}
	}
	say(100)
	require.Len(t, readAll(t, j, here, 16), 100)
	for b.count.failed.Load() == 0 || b.count.gaveUp.Load() == 0 {
		say(100)
		require.LessOrEqual(t, j.Bytes(), int64(3<<20+64<<10), "P9")
	}
	say(2000)
	require.LessOrEqual(t, j.Bytes(), int64(3<<20+64<<10), "P9")
	require.Positive(t, j.drawn)

	require.NoError(t, os.Remove(ballast))
	require.Eventually(t, func() bool { return !j.pending() }, 10*time.Second, 10*time.Millisecond, "it is tried again")
	say(100)
	j.Close() // so that all is read from the files
	for _, c := range []*cursor{here, j.open("page", &Position{})} {
		replies, outputs, missing := 0, 0, uint64(0)
		from := c.at
		for _, e := range readAll(t, j, c, 64) {
			switch {
			case e.Gap != nil:
				require.Contains(t, []string{reasonSlow, reasonBehind}, e.Gap.Reason)
				missing += e.Gap.Dropped
			case e.Message.Channel == Shell:
				replies++
			default:
				outputs++
			}
		}
		require.Equal(t, n-int(from), replies+outputs+int(missing))
		require.Equal(t, (n-int(from))/100, replies, "replies are kept")
		require.Positive(t, missing)
	}
	b.Wait()
	require.Equal(t, 1, strings.Count(log.String(), "cannot write a kernel's journal"), log.String())
	require.Equal(t, 1, strings.Count(log.String(), "written again"), log.String())
	require.Zero(t, b.drawn.Load())
}
