package kernel

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
)

// wrote makes the files of a journal that has said all.
func wrote(t *testing.T, dir string, all []*Message) {
	t.Helper()
	j, err := OpenJournal(dir, JournalLimits{}, nil)
	require.NoError(t, err)
	for _, m := range all {
		j.Append("", m)
	}
	j.Close()
	j.disk.budget.Wait()
}

// survivors opens the journal in dir, and tells which numbers of all can be read, and the gap notices before the
// one of the reopening.
func survivors(t *testing.T, dir string, all []*Message) (seqs []uint64, gaps []Gap) {
	t.Helper()
	j, err := OpenJournal(dir, JournalLimits{}, nil)
	require.NoError(t, err)
	defer j.disk.budget.Wait()
	defer j.Close()
	require.Greater(t, j.Position().Seq, uint64(len(all)), "no number is given twice")
	got := readAll(t, j, j.open("a", &Position{}), 3)
	require.NotEmpty(t, got)
	last := got[len(got)-1]
	require.NotNil(t, last.Gap)
	require.Equal(t, reasonAnew, last.Gap.Reason)
	require.Equal(t, j.Position().Seq, last.Seq)
	for _, e := range got[:len(got)-1] {
		if e.Gap != nil {
			gaps = append(gaps, *e.Gap)
			continue
		}
		requireSameMessage(t, all[e.Seq-1], e.Message)
		seqs = append(seqs, e.Seq)
	}
	return seqs, gaps
}

// onlyFile is the one segment in dir.
func onlyFile(t *testing.T, dir string) string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	require.NoError(t, err)
	require.Len(t, list, 1)
	return list[0]
}

// smallLog is a few messages of all shapes.
func smallLog() []*Message {
	withBuffers := streamed(3, 5)
	withBuffers.Buffers = [][]byte{[]byte("one"), {}, magicBytes}
	return []*Message{streamed(1, 10), reply(2), withBuffers, status("kernel", "idle", nil)}
}

// A file that ends anywhere has all the records before that.
func TestTornJournalKeepsWhatIsWhole_P16(t *testing.T) {
	all := smallLog()
	dir := filepath.Join(t.TempDir(), "journal")
	wrote(t, dir, all)
	file := onlyFile(t, dir)
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	ends := recordEnds(t, file, whole)
	require.Len(t, ends, len(all))
	for size := range len(whole) {
		torn := filepath.Join(t.TempDir(), "journal")
		require.NoError(t, os.Mkdir(torn, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(torn, filepath.Base(file)), whole[:size], 0o600))
		seqs, gaps := survivors(t, torn, all)
		var want []uint64
		for i, end := range ends {
			if int64(size) >= end {
				want = append(want, uint64(i+1))
			}
		}
		require.Equal(t, want, seqs, "%d bytes", size)
		require.Empty(t, gaps, "the notice of the reopening says it")
	}
}

// recordEnds is where the records of a file end.
func recordEnds(t *testing.T, path string, data []byte) (ends []int64) {
	t.Helper()
	name, ok := parseFileName(filepath.Base(path))
	require.True(t, ok)
	s := scan{f: bytes.NewReader(data), epoch: name.epoch, end: int64(len(data))}
	for {
		h, ok := s.next()
		if !ok {
			return ends
		}
		s.skip(h)
		ends = append(ends, s.off)
	}
}

// A flipped bit costs its record, no other, and the reader is told of it.
func TestFlippedBitCostsOneRecord_P16(t *testing.T) {
	all := smallLog()
	dir := filepath.Join(t.TempDir(), "journal")
	wrote(t, dir, all)
	file := onlyFile(t, dir)
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	ends := recordEnds(t, file, whole)
	for i := range whole {
		flipped := filepath.Join(t.TempDir(), "journal")
		require.NoError(t, os.Mkdir(flipped, 0o700))
		bad := bytes.Clone(whole)
		bad[i] ^= 1 << (i % 8)
		require.NoError(t, os.WriteFile(filepath.Join(flipped, filepath.Base(file)), bad, 0o600))
		seqs, gaps := survivors(t, flipped, all)
		var want []uint64
		lost := 0
		for n, end := range ends {
			if int64(i) < end && (n == 0 || int64(i) >= ends[n-1]) {
				lost = n + 1
			} else {
				want = append(want, uint64(n+1))
			}
		}
		require.Equal(t, want, seqs, "byte %d", i)
		if lost < len(all) { // what is lost at the end is told by the notice of the reopening
			require.Equal(t, []Gap{{Dropped: 1, Reason: reasonDamaged}}, gaps, "byte %d", i)
		}
	}
}

// Damage under a running journal is told, counted and logged once, however many read it.
func TestDamageIsCountedOnce_P16(t *testing.T) {
	j := onDisk(t, JournalLimits{})
	for i := range 10 {
		j.Append("", streamed(i, 100))
	}
	written(j)
	file := onlyFile(t, j.disk.dir)
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	ends := recordEnds(t, file, whole)
	whole[ends[3]+headSize+20] ^= 1 // in the fifth
	whole[ends[9]-1] ^= 1           // in the last
	require.NoError(t, os.WriteFile(file, whole, 0o600))
	for range 3 {
		var missing []uint64
		for _, e := range readAll(t, j, j.open("a", &Position{}), 4) {
			if e.Gap != nil {
				require.Equal(t, Gap{Dropped: 1, Reason: reasonDamaged}, *e.Gap)
				missing = append(missing, e.Seq)
			}
		}
		require.Equal(t, []uint64{5, 10}, missing)
	}
	require.Equal(t, int64(2), j.disk.budget.count.damaged.Load())
}

// A file that is gone, or cannot be read, costs its own records.
func TestMissingSegmentIsOneGap_P16(t *testing.T) {
	j := onDisk(t, JournalLimits{DiskBytes: 256 << 10})
	for i := range 100 {
		j.Append("", streamed(i, 1000))
	}
	written(j)
	j.mu.Lock()
	require.Greater(t, len(j.disk.segs), 3)
	lost := j.disk.segs[1]
	j.mu.Unlock()
	require.NoError(t, os.Remove(lost.path))
	got := readAll(t, j, j.open("a", &Position{}), 7)
	gaps := 0
	for i, e := range got {
		if e.Gap == nil {
			continue
		}
		gaps++
		require.Equal(t, lost.last-lost.first+1, e.Gap.Dropped)
		require.Equal(t, lost.last, e.Seq)
		require.Equal(t, lost.first-1, got[i-1].Seq)
	}
	require.Equal(t, 1, gaps)
	require.Len(t, got, 100+1-int(lost.last-lost.first+1))
}

// What is not of the journal is set aside, never deleted, and the journal opens.
func TestForeignFilesAreSetAside_P16(t *testing.T) {
	all := smallLog()
	dir := filepath.Join(t.TempDir(), "journal")
	wrote(t, dir, all)
	foreign := map[string]string{
		"0000000000000001-0000000000000001.log": "of another epoch",
		"notes.txt":                             "not a journal",
		"zz-1.log":                              "not a number",
	}
	old := time.Now().Add(-time.Hour)
	for name, text := range foreign {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		require.NoError(t, os.Chtimes(path, old, old))
	}
	for range 2 { // and stays there
		seqs, _ := survivors(t, dir, all)
		require.Len(t, seqs, len(all))
	}
	for name, text := range foreign {
		kept, err := os.ReadFile(filepath.Join(dir, name+damagedSuffix))
		require.NoError(t, err)
		require.Equal(t, text, string(kept))
	}

	file := filepath.Join(t.TempDir(), "journal") // where the folder should be
	require.NoError(t, os.WriteFile(file, []byte("a file"), 0o600))
	j, err := OpenJournal(file, JournalLimits{}, nil)
	require.NoError(t, err)
	j.Append("", all[0])
	j.Close()
	require.Equal(t, uint64(1), j.disk.written)
	kept, err := os.ReadFile(file + damagedSuffix)
	require.NoError(t, err)
	require.Equal(t, "a file", string(kept))
}

// FuzzJournalFile reads any bytes as a segment: no panic, no more memory than the file's size asks for, and what is
// read again after having been written is the same.
func FuzzJournalFile(f *testing.F) {
	const epoch = 7
	e := encoder{epoch: epoch}
	for i, m := range smallLog() {
		e.add(&record{seq: uint64(i + 1), to: "page", msg: m})
	}
	e.add(&record{seq: 9, gap: &Gap{Dropped: 3, Reason: "why"}})
	e.add(&record{seq: 10, kind: Attached, to: "page"})
	whole := bytes.Join(e.all(), nil)
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add(append([]byte("garbage"), whole...))
	f.Add(append(bytes.Clone(whole[:40]), whole...))
	f.Add(magicBytes)
	f.Fuzz(func(t *testing.T, data []byte) {
		s := scan{f: bytes.NewReader(data), epoch: epoch, end: int64(len(data))}
		var list []record
		for {
			h, ok := s.next()
			if !ok {
				break
			}
			if body, ok := s.body(h); ok {
				if r, ok := h.record(body); ok {
					list = append(list, r)
				}
			}
			s.skip(h)
		}
		require.NoError(t, s.err)
		e := encoder{epoch: epoch}
		for i := range list {
			require.True(t, e.add(&list[i]))
		}
		again := bytes.Join(e.all(), nil)
		require.LessOrEqual(t, len(again), len(data))
		s = scan{f: bytes.NewReader(again), epoch: epoch, end: int64(len(again))}
		for _, want := range list {
			h, ok := s.next()
			require.True(t, ok)
			body, ok := s.body(h)
			require.True(t, ok)
			got, ok := h.record(body)
			require.True(t, ok)
			s.skip(h)
			require.Equal(t, want.seq, got.seq)
			require.Equal(t, want.to, got.to)
			require.Equal(t, want.kind, got.kind)
			require.Equal(t, want.gap, got.gap)
			if want.msg != nil {
				requireSameMessage(t, want.msg, got.msg)
			}
		}
		require.Zero(t, s.damages)
	})
}

// FuzzJournalRecord reads any body as a record: what is taken for one can be written, and is the same when read again.
func FuzzJournalRecord(f *testing.F) {
	e := encoder{}
	for _, r := range []record{
		{seq: 1, to: "page", msg: smallLog()[2]}, {seq: 2, gap: &Gap{Dropped: 3, Reason: "why"}}, {seq: 3, kind: Detached, to: "page"},
	} {
		e.reset(0)
		e.add(&r)
		whole := bytes.Join(e.all(), nil)
		h, _ := readHead(whole, 0)
		f.Add(uint8(h.kind), uint8(h.channel), h.flags, h.pieces, bytes.Clone(whole[headSize:]))
	}
	f.Fuzz(func(t *testing.T, kind, channel, flags uint8, pieces uint16, body []byte) {
		h := recordHead{seq: 1, kind: EntryKind(kind), channel: Channel(channel), flags: flags, pieces: pieces}
		want, ok := h.record(body)
		if !ok {
			return
		}
		e := encoder{}
		require.True(t, e.add(&want))
		whole := bytes.Join(e.all(), nil)
		require.LessOrEqual(t, len(whole), headSize+len(body))
		h, ok = readHead(whole, 0)
		require.True(t, ok)
		got, ok := h.record(whole[headSize:])
		require.True(t, ok)
		require.Equal(t, want.to, got.to)
		require.Equal(t, want.gap, got.gap)
		if want.msg != nil {
			requireSameMessage(t, want.msg, got.msg)
		}
	})
}

// The kernel's journal ends, and its files go once the last reader has read it.
func TestDiscardedJournalIsReadToTheEnd_P4(t *testing.T) {
	j := onDisk(t, JournalLimits{})
	j.memory.window = 1 << 20
	c := j.open("a", nil)
	for i := range 3000 {
		j.Append("", streamed(i, 10_000))
	}
	written(j)
	j.End(fault.New(fault.Gone, "over"))
	j.Discard()
	require.Less(t, j.Bytes(), int64(2<<20))
	require.Len(t, readAll(t, j, c, 64), 3000)
	_, err := j.nextBatch(t.Context(), c, make([]Entry, 1), nil)
	require.Equal(t, fault.Gone, fault.KindOf(err))
	require.DirExists(t, j.disk.dir)
	j.close(c)
	j.disk.budget.Wait()
	require.NoDirExists(t, filepath.Dir(j.disk.dir))
	require.Zero(t, j.disk.budget.Bytes())
}
