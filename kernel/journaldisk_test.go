package kernel

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
)

// onDisk opens a journal in a folder of its own.
func onDisk(t testing.TB, l JournalLimits) *Journal {
	t.Helper()
	j, err := OpenJournal(filepath.Join(t.TempDir(), "k", "journal"), l, nil)
	require.NoError(t, err)
	t.Cleanup(func() {
		j.Close()
		j.disk.budget.Wait()
	})
	return j
}

// written waits until all is in the files.
func written(j *Journal) { j.disk.budget.Wait() }

func requireSameMessage(t *testing.T, want, got *Message) {
	t.Helper()
	require.NotNil(t, got)
	require.Equal(t, want.Channel, got.Channel)
	require.Equal(t, want.Header, got.Header)
	require.Equal(t, want.Parent, got.Parent)
	require.Equal(t, want.Parts, got.Parts)
	require.Equal(t, want.Buffers, got.Buffers)
}

func TestJournalOnDiskGivesBackWhatWasAppended_P4(t *testing.T) {
	j := onDisk(t, JournalLimits{})
	var all []*Message
	for i := range 3000 {
		m := streamed(i, i%700)
		if i%100 == 0 {
			m.Buffers = [][]byte{[]byte(fmt.Sprint("buffer ", i)), {}, make([]byte, i*50)}
		}
		all = append(all, m)
		j.Append("", m)
	}
	written(j)
	require.Zero(t, j.Bytes(), "nobody listens")
	c := j.open("a", &Position{})
	got := readAll(t, j, c, 100)
	require.Len(t, got, len(all))
	for i, e := range got {
		require.Equal(t, uint64(i+1), e.Seq)
		requireSameMessage(t, all[i], e.Message)
	}
}

func BenchmarkJournalOnDisk(b *testing.B) {
	for _, size := range []int{100, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			for _, disk := range []bool{false, true} {
				b.Run(map[bool]string{false: "memory", true: "disk"}[disk], func(b *testing.B) {
					j := NewJournal(JournalLimits{})
					if disk {
						j = onDisk(b, JournalLimits{})
					}
					c := j.open("a", nil)
					m := streamed(1, size)
					var wg sync.WaitGroup
					wg.Go(func() {
						buf := make([]Entry, 256)
						for {
							if n, _ := j.nextBatch(context.Background(), c, buf, nil); n == 0 {
								return
							}
						}
					})
					b.SetBytes(int64(size))
					b.ReportAllocs()
					for b.Loop() {
						j.Append("", m)
					}
					if disk {
						b.ReportMetric(float64(j.disk.reads), "diskreads")
						b.ReportMetric(float64(j.disk.budget.count.gaveUp.Load()), "gaveup")
					}
					j.End(fault.New(fault.Gone, "over"))
					wg.Wait()
				})
			}
		})
	}
}

// Readers at the tail never touch the disk; one that stays behind reads from it and catches up.
func TestOnlyWhoLagsReadsFromTheFiles_P10(t *testing.T) {
	j := onDisk(t, JournalLimits{})
	j.memory.window = 1 << 20
	fast, slow := j.open("a", nil), j.open("b", nil)
	for i := range 4000 {
		j.Append("", streamed(i, 1000))
		if i%50 == 0 {
			require.NotEmpty(t, readAll(t, j, fast, 64))
		}
	}
	readAll(t, j, fast, 64)
	written(j)
	require.Zero(t, j.disk.reads)
	require.Less(t, j.Bytes(), int64(1<<20+64<<10), "P9: the slow one costs no more than the window")
	got := readAll(t, j, slow, 64)
	require.Len(t, got, 4000)
	require.Positive(t, j.disk.reads)
	require.Zero(t, j.Position().Seq-slow.at)

	reads := j.disk.reads
	j.Append("", streamed(0, 0))
	require.Len(t, readAll(t, j, slow, 64), 1)
	require.Equal(t, reads, j.disk.reads, "it is at the tail again")
	require.Nil(t, slow.lag)
}

// The files of all journals are bounded together: the oldest of whoever has most go first.
func TestJournalsShareABudget_P9(t *testing.T) {
	b := NewBudget(2<<20, nil)
	dir := t.TempDir()
	var all []*Journal
	for i, messages := range []int{100, 1500, 700} {
		j, err := OpenJournal(filepath.Join(dir, fmt.Sprint(i), "journal"), JournalLimits{DiskBytes: 4 << 20}, b)
		require.NoError(t, err)
		for n := range messages {
			j.Append("", streamed(n, 1000))
		}
		all = append(all, j)
		b.Wait()
		require.LessOrEqual(t, b.Bytes(), int64(2<<20))
	}
	var held []int64
	for i, j := range all {
		held = append(held, j.DiskBytes())
		c := j.open("a", &Position{})
		got := readAll(t, j, c, 64)
		missing := uint64(0)
		for _, e := range got {
			if e.Gap != nil {
				missing += e.Gap.Dropped
			}
		}
		require.Equal(t, []uint64{100, 1500, 700}[i], j.Position().Seq)
		require.Equal(t, j.Position().Seq, got[len(got)-1].Seq, "the newest is kept")
		if i == 0 {
			require.Zero(t, missing, "it never had most")
		}
	}
	require.Equal(t, b.Bytes(), held[0]+held[1]+held[2])
	for _, j := range all {
		j.Discard()
	}
	for _, j := range all {
		j.mu.Lock()
		cursors := slices.Collect(maps.Keys(j.cursors))
		j.mu.Unlock()
		for _, c := range cursors {
			j.close(c)
		}
	}
	b.Wait()
	require.Zero(t, b.Bytes())
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// Readers of all speeds, at once with four writers, while files are dropped: each gets everything once and in order,
// or is told how much is missing.
func TestReadersAndWritersAtOnce_P4_P5(t *testing.T) {
	j := onDisk(t, JournalLimits{DiskBytes: 512 << 10})
	j.memory = memoryBounds{free: 64 << 10, step: 64 << 10, most: 256 << 10, window: 32 << 10, kept: 32 << 10}
	const each, writers = 1500, 4
	var all sync.WaitGroup
	for r := range 6 {
		c := j.open(fmt.Sprint(r), nil)
		all.Go(func() {
			buf := make([]Entry, 1+r*10)
			last, got, missing := uint64(0), uint64(0), uint64(0)
			for {
				n, err := j.nextBatch(context.Background(), c, buf, nil)
				if err != nil {
					if got+missing != each*writers {
						t.Errorf("reader %d got %d, and was told of %d", r, got, missing)
					}
					return
				}
				for _, e := range buf[:n] {
					switch {
					case e.Gap != nil:
						missing += e.Gap.Dropped
					case e.Seq <= last:
						t.Errorf("reader %d got %d after %d", r, e.Seq, last)
						return
					default:
						last = e.Seq
						got++
					}
				}
				for range r * r * 20 { // some are slow
					runtime.Gosched()
				}
			}
		})
	}
	var said sync.WaitGroup
	for w := range writers {
		said.Go(func() {
			for i := range each {
				j.Append("", streamed(w*each+i, 500))
			}
		})
	}
	said.Wait()
	j.End(fault.New(fault.Gone, "over"))
	all.Wait()
}
