package kernel

import (
	"context"
	"fmt"
	"path/filepath"
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
