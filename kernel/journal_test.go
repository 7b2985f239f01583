package kernel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
)

// streamed is a stream message of size bytes of text; its text begins with the number n.
func streamed(n, size int) *Message {
	text := fmt.Sprintf("%d ", n)
	return compose(IOPub, "kernel", "stream", nil, map[string]string{"name": "stdout", "text": text + strings.Repeat("x", size)})
}

func reply(n int) *Message {
	return compose(Shell, "kernel", "execute_reply", nil, map[string]int{"execution_count": n})
}

// readAll reads what is there for c without waiting.
func readAll(t *testing.T, j *Journal, c *cursor, batch int) []Entry {
	t.Helper()
	var all []Entry
	for {
		j.mu.Lock()
		ready := c.at < j.next-1 || c.lost
		j.mu.Unlock()
		if !ready {
			return all
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		buf := make([]Entry, batch)
		n, err := j.nextBatch(ctx, c, buf, nil)
		if n == 0 {
			require.Error(t, err) // what it looked at was for others
		}
		all = append(all, buf[:n]...)
	}
}

func TestJournalGivesEachReaderItsMessagesInOrder_P5(t *testing.T) {
	j := NewJournal(JournalLimits{})
	a, b := j.open("a", nil), j.open("b", nil)
	j.Append("", streamed(1, 0))
	j.Append("a", reply(1))
	j.Append("b", reply(2))
	j.Append("", streamed(2, 0))
	seqs := func(list []Entry) (s []uint64) {
		for _, e := range list {
			require.Nil(t, e.Gap)
			s = append(s, e.Seq)
		}
		return s
	}
	require.Equal(t, []uint64{1, 2, 4}, seqs(readAll(t, j, a, 2)))
	require.Equal(t, []uint64{1, 3, 4}, seqs(readAll(t, j, b, 64)))
	late := j.open("a", &Position{Epoch: j.epoch, Seq: 1})
	require.Equal(t, []uint64{2, 4}, seqs(readAll(t, j, late, 64)))
	require.Empty(t, readAll(t, j, j.open("c", nil), 64))
}

func TestJournalTellsAGapOnceAndKeepsReplies_P4(t *testing.T) {
	j := NewJournal(JournalLimits{MaxBytes: 64 << 10, KeepBytes: 16 << 10})
	c := j.open("a", nil)
	const n = 1000
	for i := range n {
		j.Append("", streamed(i, 1000))
		if i == 10 {
			j.Append("a", reply(7))
			j.Append("", status("kernel", "idle", nil))
		}
	}
	require.LessOrEqual(t, j.Bytes(), int64(64<<10+64<<10/keptShare+8<<10), "P9: what is kept is bounded")

	got := readAll(t, j, c, 3)
	require.NotNil(t, got[0].Gap)
	require.NotEmpty(t, got[0].Gap.Reason)
	outputs, kinds := 0, map[string]int{}
	for i, e := range got {
		if i > 0 {
			require.Nil(t, e.Gap, "one notice only")
			require.Greater(t, e.Seq, got[i-1].Seq*uint64(min(i-1, 1)))
		}
		if e.Message != nil {
			kinds[e.Message.Header.MsgType]++
			if e.Message.Header.MsgType == "stream" {
				outputs++
			}
		}
	}
	require.Equal(t, uint64(n-outputs), got[0].Gap.Dropped)
	require.Equal(t, 1, kinds["execute_reply"])
	require.Equal(t, 1, kinds["status"])

	j.Append("", streamed(n, 1000))
	got = readAll(t, j, c, 3)
	require.Len(t, got, 1)
	require.Nil(t, got[0].Gap)
}

func TestJournalOfAnotherEpochSaysSo(t *testing.T) {
	j := NewJournal(JournalLimits{})
	j.Append("", streamed(1, 0))
	c := j.open("a", &Position{Epoch: j.epoch + 1, Seq: 99})
	got := readAll(t, j, c, 8)
	require.Len(t, got, 2)
	require.NotNil(t, got[0].Gap)
	require.Equal(t, uint64(1), got[1].Seq)
	c = j.open("a", &Position{})
	require.Len(t, readAll(t, j, c, 8), 1, "the zero Position is the beginning, of any epoch")
}

func TestJournalForgetsWhatAllHaveRead_P9(t *testing.T) {
	j := NewJournal(JournalLimits{MaxBytes: 8 << 20, KeepBytes: 64 << 10})
	c := j.open("a", nil)
	for i := range 5000 {
		j.Append("", streamed(i, 1000))
		if i%50 == 0 {
			for _, e := range readAll(t, j, c, 256) {
				require.Nil(t, e.Gap, "a reader within the bounds misses nothing")
			}
		}
	}
	require.Less(t, j.Bytes(), int64(1<<20))
}

func TestJournalKeepsLessForReadersThatAreAway_P9(t *testing.T) {
	j := NewJournal(JournalLimits{MaxBytes: 8 << 20, AwayBytes: 512 << 10, KeepBytes: 64 << 10})
	gone, here := j.open("a", nil), j.open("b", nil)
	for i := range 3000 {
		j.Append("", streamed(i, 1000))
	}
	require.Greater(t, j.Bytes(), int64(3<<20), "both have it all to read")
	j.leave(gone)
	readAll(t, j, here, 256)
	for i := range 600 {
		j.Append("", streamed(i, 1000))
		readAll(t, j, here, 256)
	}
	require.Less(t, j.Bytes(), int64(1<<20))
	require.Greater(t, j.Bytes(), int64(400<<10), "what fits is kept for who comes back")
	require.NotNil(t, readAll(t, j, gone, 256)[0].Gap)
}

func TestJournalWakesReadersAndEnds(t *testing.T) {
	j := NewJournal(JournalLimits{})
	const readers, messages = 8, 500
	var wg sync.WaitGroup
	for r := range readers {
		c := j.open(fmt.Sprint(r), nil)
		wg.Go(func() {
			buf, seen := make([]Entry, 16), 0
			for {
				n, err := j.nextBatch(context.Background(), c, buf, nil)
				if err != nil {
					if fault.KindOf(err) != fault.Gone || seen != messages {
						t.Errorf("reader %d: %d messages, then %v", r, seen, err)
					}
					return
				}
				seen += n
			}
		})
	}
	for i := range messages {
		j.Append("", streamed(i, 10))
	}
	j.End(fault.New(fault.Gone, "over"))
	wg.Wait()
	j.Append("", streamed(0, 0)) // no effect, no panic
}

func TestJournalStopsAWaitingReader(t *testing.T) {
	j := NewJournal(JournalLimits{})
	c := j.open("a", nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the page was closed")
	done := make(chan error, 1)
	go func() {
		_, err := j.nextBatch(ctx, c, make([]Entry, 1), nil)
		done <- err
	}()
	cancel(cause)
	require.ErrorIs(t, <-done, cause)
	j.mu.Lock()
	defer j.mu.Unlock()
	require.Empty(t, j.wait)
}

// TestJournalAgainstAModel appends and reads at random and checks each reader against a plain list: what it
// got, and for what it did not get, that the gap notices count exactly that.
func TestJournalAgainstAModel_P4_P5(t *testing.T) {
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		j := NewJournal(JournalLimits{MaxBytes: 20 << 10, KeepBytes: 5 << 10})
		type reader struct {
			c       *cursor
			to      string
			from    uint64
			got     map[uint64]bool
			last    uint64
			dropped uint64
		}
		type written struct {
			to string
			m  *Message
		}
		var log []written
		var readers []*reader
		for step := range 3000 {
			switch p := rnd.IntN(100); {
			case p < 70:
				w := written{m: streamed(step, rnd.IntN(600))}
				if q := rnd.IntN(10); q == 0 {
					w = written{fmt.Sprint(rnd.IntN(3)), reply(step)}
				} else if q == 1 {
					w.m = status("kernel", "idle", nil)
				}
				log = append(log, w)
				j.Append(w.to, w.m)
			case p < 71 && len(readers) < 6:
				to := fmt.Sprint(rnd.IntN(3))
				readers = append(readers, &reader{c: j.open(to, nil), to: to, from: uint64(len(log)), got: map[uint64]bool{}})
			case len(readers) > 0 && p < 75:
				r := readers[rnd.IntN(len(readers))]
				for _, e := range readAll(t, j, r.c, 1+rnd.IntN(40)) {
					if e.Gap != nil {
						r.dropped += e.Gap.Dropped
						continue
					}
					require.Greater(t, e.Seq, r.last)
					require.Same(t, log[e.Seq-1].m, e.Message)
					r.last, r.got[e.Seq] = e.Seq, true
				}
			}
		}
		for _, r := range readers {
			for _, e := range readAll(t, j, r.c, 64) {
				if e.Gap != nil {
					r.dropped += e.Gap.Dropped
				} else {
					r.got[e.Seq] = true
				}
			}
			public, others := uint64(0), uint64(0) // that it did not get
			for seq := r.from + 1; seq <= uint64(len(log)); seq++ {
				w := log[seq-1]
				switch {
				case w.to != "" && w.to != r.to:
					require.False(t, r.got[seq], "another session's message")
					others++
				case !r.got[seq]:
					public++
				}
			}
			require.GreaterOrEqual(t, r.dropped, public, "seed %d: every missing message is accounted for", seed)
			require.LessOrEqual(t, r.dropped, public+others, "seed %d: and hardly any other", seed)
		}
	}
}

func TestJournalCountsOnlyWhatAReturningReaderMissed(t *testing.T) {
	j := NewJournal(JournalLimits{MaxBytes: 32 << 10, KeepBytes: 16 << 10})
	c := j.open("a", nil)
	for i := range 100 {
		j.Append("", streamed(i, 1000))
		readAll(t, j, c, 8)
	}
	p := j.position(c, false)
	j.close(c)
	for i := range 100 {
		j.Append("", streamed(i, 1000))
	}
	got := readAll(t, j, j.open("a", &p), 8)
	require.NotNil(t, got[0].Gap)
	require.Equal(t, uint64(100), got[0].Gap.Dropped+uint64(len(got)-1))
}

func BenchmarkJournalOneReader(b *testing.B) {
	j := NewJournal(JournalLimits{})
	c := j.open("a", nil)
	m := streamed(1, 100)
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]Entry, 256)
		for {
			if n, _ := j.nextBatch(context.Background(), c, buf, nil); n == 0 {
				return
			}
		}
	})
	b.ReportAllocs()
	for b.Loop() {
		j.Append("", m)
	}
	j.End(fault.New(fault.Gone, "over"))
	wg.Wait()
}

// A reader that goes on falling behind while it is given what was kept hears of each missing message once.
func TestJournalCountsEachMissingMessageOnce_P4(t *testing.T) {
	j := NewJournal(JournalLimits{MaxBytes: 64 << 10, KeepBytes: 16 << 10})
	c := j.open("a", nil)
	n := 0
	say := func(count int) {
		for range count {
			if n++; n%20 == 0 {
				j.Append("", status("kernel", "idle", nil))
			} else {
				j.Append("", streamed(n, 1000))
			}
		}
	}
	say(2000)
	var missing, got uint64
	buf := make([]Entry, 5)
	for range 10 { // it takes 5 while 200 more come
		k, err := j.nextBatch(t.Context(), c, buf, nil)
		require.NoError(t, err)
		for _, e := range buf[:k] {
			if e.Gap != nil {
				missing += e.Gap.Dropped
			} else {
				got++
			}
		}
		say(200)
	}
	for _, e := range readAll(t, j, c, 5) {
		if e.Gap != nil {
			missing += e.Gap.Dropped
		} else {
			got++
		}
	}
	require.Equal(t, uint64(n), missing+got)
}

// open makes a reader for a client session at p; nil is the place after the newest entry.
func (j *Journal) open(to string, p *Position) *cursor { return j.join(&cursor{to: to}, p) }
