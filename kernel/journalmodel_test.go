package kernel

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// tiny bounds make everything happen that bounds can make happen.
var tinyMemory = memoryBounds{free: 6 << 10, step: 1 << 10, most: 4 << 10, window: 3 << 10, watch: 1 << 10, kept: 2 << 10}

// openTiny opens the journal in dir with bounds of a few messages.
func openTiny(t *testing.T, dir string) *Journal {
	t.Helper()
	j, err := OpenJournal(dir, JournalLimits{DiskBytes: 64 << 10}, nil)
	require.NoError(t, err)
	j.memory = tinyMemory
	return j
}

// said is an entry as the model remembers it.
type said struct {
	to string
	m  *Message
}

// modelReader is a reader, with all that it ever got.
type modelReader struct {
	to      string
	c       *cursor
	from    uint64 // where it began
	at      uint64 // the last number it got
	got     map[uint64]bool
	dropped uint64
	unknown bool // it was told that something is missing which nobody counted
}

// take reads all that is there.
func (r *modelReader) take(t *testing.T, j *Journal, log map[uint64]said, batch int) {
	for _, e := range readAll(t, j, r.c, batch) {
		if e.Gap != nil {
			require.NotEmpty(t, e.Gap.Reason)
			r.dropped += e.Gap.Dropped
			r.unknown = r.unknown || e.Gap.Dropped == 0
			continue
		}
		w, ok := log[e.Seq]
		require.True(t, ok, "number %d was never given", e.Seq)
		require.Greater(t, e.Seq, r.at, "order")
		require.False(t, r.got[e.Seq], "twice")
		require.True(t, w.to == "" || w.to == r.to, "another session's message")
		requireSameMessage(t, w.m, e.Message)
		r.at, r.got[e.Seq] = e.Seq, true
	}
}

// check compares what r got with what was said up to the number last.
func (r *modelReader) check(t *testing.T, log map[uint64]said) {
	public, others := uint64(0), uint64(0) // that it did not get
	for seq, w := range log {
		switch {
		case seq <= r.from || r.got[seq]:
		case w.to != "" && w.to != r.to:
			others++
		default:
			public++
		}
	}
	if r.unknown {
		return
	}
	require.GreaterOrEqual(t, r.dropped, public, "every missing message is told of")
	require.LessOrEqual(t, r.dropped, public+others, "and hardly any other")
}

// TestJournalOnDiskAgainstAModel appends, reads, lags, writes, drops and crashes at random. Whatever happens: order is
// kept, no number is given twice, what is missing is told, and what is read is what was said.
func TestJournalOnDiskAgainstAModel_P4_P5_P16(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 2))
			dir := filepath.Join(t.TempDir(), "0")
			j := openTiny(t, dir)
			log := map[uint64]said{}
			var readers []*modelReader
			newest := uint64(0)
			crashes := 0
			say := func(w said) {
				j.Append(w.to, w.m)
				seq := j.Position().Seq
				require.Greater(t, seq, newest, "a number is given once")
				newest, log[seq] = seq, w
			}
			for step := range 2500 {
				switch p := rnd.IntN(1000); {
				case p < 800:
					w := said{m: streamed(step, rnd.IntN(900))}
					if q := rnd.IntN(10); q == 0 {
						w = said{fmt.Sprint(rnd.IntN(3)), reply(step)}
					} else if q == 1 {
						w.m = status("kernel", "idle", nil)
					} else if q == 2 && rnd.IntN(30) == 0 {
						w.m = streamed(step, 80<<10) // larger than the journal may be
					}
					say(w)
				case p < 860:
					written(j)
				case p < 870 && len(readers) < 6:
					to := fmt.Sprint(rnd.IntN(3))
					readers = append(readers, &modelReader{
						to: to, c: j.open(to, nil), from: newest, got: map[uint64]bool{},
					})
				case p < 875 && len(readers) > 0: // it goes, and comes back
					r := readers[rnd.IntN(len(readers))]
					at := j.position(r.c, false)
					j.leave(r.c)
					c := j.open(r.to, &at)
					c.told, c.owed = r.c.told, r.c.owed // or it would be told again what it knows
					j.close(r.c)
					r.c = c
				case p < 995 && len(readers) > 0:
					readers[rnd.IntN(len(readers))].take(t, j, log, 1+rnd.IntN(40))
				case p >= 995 && crashes < 3: // the host ends: what was not written is lost
					crashes++
					written(j) // the folder is there now
					next := filepath.Join(t.TempDir(), "again")
					require.NoError(t, os.CopyFS(next, os.DirFS(dir)))
					say(said{m: streamed(step, 500)})
					old := j
					old.Close()
					dir, j = next, openTiny(t, next)
					for seq := range log {
						if seq > j.lostFrom {
							delete(log, seq) // nobody can ask for it any more
						}
					}
					for _, r := range readers {
						at := old.position(r.c, false)
						r.c = j.open(r.to, &at)
						r.unknown = false
					}
				}
				require.LessOrEqual(t, j.Bytes(), int64(48<<10+2*(81<<10)), "P9")
			}
			require.LessOrEqual(t, j.DiskBytes(), int64(presentShare*64<<10+8<<10))
			for _, r := range readers {
				r.take(t, j, log, 64)
				r.check(t, log)
			}
			j.mu.Lock()
			j.rest()
			j.mu.Unlock()
			written(j)
			require.LessOrEqual(t, j.DiskBytes(), int64(64<<10+8<<10))
			j.Close()
			j.disk.budget.Wait()
		})
	}
}
