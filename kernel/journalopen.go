package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
)

// OpenJournal opens the journal in the folder dir, or begins one there. One that exists goes on with the same epoch,
// with higher numbers, and with a notice that what was said meanwhile is not known. What is damaged in it costs no
// more than what is damaged. Nobody else may use the folder before Close or Discard; a nil b bounds nothing. Without
// a dir the journal is in memory alone. A folder that cannot be read is Internal.
func OpenJournal(dir string, l JournalLimits, b *Budget) (*Journal, error) {
	j := beginJournal(dir, l, b)
	if dir == "" {
		return j, nil
	}
	d := j.disk
	found, err := d.load()
	switch {
	case err != nil:
		return nil, fault.Wrap(fault.Internal, err, "cannot open a kernel's journal")
	case !found:
		return j, nil
	}
	j.epoch, j.lostFrom = d.epoch, d.written
	j.jump()
	d.budget.account(j, d.bytes) // from now on the writer may drop files
	j.mu.Lock()
	defer j.mu.Unlock()
	j.add(record{gap: &Gap{Reason: reasonAnew}, size: entryOverhead})
	return j, nil
}

// beginJournal is OpenJournal for a new journal: the folder is made when there is something to write.
func beginJournal(dir string, l JournalLimits, b *Budget) *Journal {
	j := NewJournal(l)
	if dir == "" {
		return j
	}
	if b == nil {
		b = NewBudget(math.MaxInt64, nil)
	}
	j.disk = &diskLog{dir: dir, epoch: j.epoch, limit: j.limits.DiskBytes, budget: b}
	j.memory = defaultMemory
	return j
}

// jump goes on with numbers that were never given. A file without records says which, to whoever opens the journal
// after this one and finds nothing else of it.
func (j *Journal) jump() {
	d := j.disk
	var empty []*segment // of those who were here before and said nothing
	d.segs = slices.DeleteFunc(d.segs, func(s *segment) bool {
		if s.size == 0 {
			empty = append(empty, s)
		}
		return s.size == 0
	})
	d.written += lostRun
	if n := len(d.segs); n > 0 {
		d.segs[n-1].last = d.written
	}
	if _, err := d.active(j, d.written+1); err != nil {
		d.written += lostRun * uint64(1+rand.IntN(1<<10))
		d.budget.log.Error("cannot begin a new file of a kernel's journal", "path", d.dir, "err", err)
	}
	j.lostTo, j.next = d.written, d.written+1
	for _, s := range empty {
		d.remove(s.path)
	}
}

// load finds what is in the folder; false says that there is no journal.
func (d *diskLog) load() (found bool, err error) {
	list, err := os.ReadDir(d.dir) // by name, and so by number
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, d.setAside(d.dir, err)
	}
	names := make(map[string]fileName)
	var newest time.Time
	for _, e := range list {
		n, ok := parseFileName(e.Name())
		info, err := e.Info()
		if err != nil || !ok || !info.Mode().IsRegular() {
			continue
		}
		names[e.Name()] = n
		if !info.ModTime().Before(newest) {
			newest, d.epoch = info.ModTime(), n.epoch
		}
	}
	for _, e := range list {
		path := filepath.Join(d.dir, e.Name())
		if e.Name() == spareName { // what was in it had been dropped
			d.remove(path)
			continue
		}
		if n, ok := names[e.Name()]; ok && n.epoch == d.epoch {
			if err := d.admit(path, n); err != nil {
				return false, err
			}
		} else if !strings.HasSuffix(path, damagedSuffix) {
			if err := d.setAside(path, errors.New("it is not of this journal")); err != nil {
				return false, err
			}
		}
	}
	d.measure()
	return len(d.segs)+len(d.kept) > 0, nil
}

// admit takes a file that was found.
func (d *diskLog) admit(path string, n fileName) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	s := &segment{path: path, first: n.first, size: info.Size()}
	d.bytes += s.size
	if n.kept {
		d.kept = append(d.kept, s)
	} else {
		d.segs = append(d.segs, s)
	}
	return nil
}

// measure finds out which numbers are in the files. Segments are read when a reader comes for them, but for the
// newest, whose end nobody knows.
func (d *diskLog) measure() {
	for i, s := range d.segs {
		if i > 0 {
			d.segs[i-1].last = s.first - 1
		}
		s.last = s.first - 1
	}
	for _, s := range d.segs {
		s.unlisted = true
	}
	if n := len(d.segs); n > 0 {
		d.bytes -= d.segs[n-1].size
		d.end(d.segs[n-1])
		d.bytes += d.segs[n-1].size
		d.written = d.segs[n-1].last
	}
	for _, k := range d.kept {
		d.survey(k, func(h recordHead) {
			if len(d.segs) > 0 && h.seq >= d.segs[0].first || h.seq <= k.last {
				return // it is in a segment, too: the host ended between the two
			}
			k.last = h.seq
			d.numbers = append(d.numbers, h.seq)
		})
		d.written = max(d.written, k.last)
	}
}

// end finds the end of the newest segment. Behind it there may be what was in the file before it was this segment's.
func (d *diskLog) end(s *segment) {
	end, older := int64(0), false
	damages, sc := 0, scan{f: s, epoch: d.epoch, end: s.size}
	for {
		h, ok := sc.next()
		if !ok {
			break
		}
		if h.seq < s.first {
			older = true
			break
		}
		if h.seq == s.last+1 { // a reader that begins at a gap must read what tells of it
			s.note(h.seq, sc.off)
		}
		s.last = max(s.last, h.seq)
		sc.skip(h)
		end, damages = sc.off, sc.damages
	}
	if older {
		_ = os.Truncate(s.path, end)
		s.size = end
	} else {
		damages = sc.damages
	}
	s.seen = s.size
	d.budget.damaged(s.path, damages)
	if sc.err != nil {
		d.budget.unreadable(s.path, sc.err)
	}
}

// survey calls f for each record of s.
func (d *diskLog) survey(s *segment, f func(h recordHead)) {
	sc := scan{f: s, epoch: d.epoch, end: s.size}
	for {
		h, ok := sc.next()
		if !ok {
			break
		}
		f(h)
		sc.skip(h)
	}
	s.seen = s.size
	d.budget.damaged(s.path, sc.damages)
	if sc.err != nil {
		d.budget.unreadable(s.path, sc.err)
	}
}

// damagedSuffix marks what was set aside.
const damagedSuffix = ".damaged"

// setAside renames what cannot be used, for people to look at.
func (d *diskLog) setAside(path string, why error) error {
	aside := path + damagedSuffix
	for i := 2; ; i++ {
		if _, err := os.Lstat(aside); err != nil {
			break
		}
		aside = fmt.Sprintf("%s.%d%s", path, i, damagedSuffix)
	}
	if err := os.Rename(path, aside); err != nil {
		return err
	}
	d.budget.count.damaged.Add(1)
	d.budget.log.Warn("a part of a kernel's journal cannot be used and was set aside", "path", aside, "err", why)
	return nil
}

// fileName is what a file's name says.
type fileName struct {
	epoch, first uint64
	kept         bool
}

func parseFileName(name string) (n fileName, ok bool) {
	stem, isSegment := strings.CutSuffix(name, segmentSuffix)
	if !isSegment {
		if stem, n.kept = strings.CutSuffix(name, keptSuffix); !n.kept {
			return n, false
		}
	}
	epoch, first, ok := strings.Cut(stem, "-")
	e, err1 := strconv.ParseUint(epoch, 16, 64)
	f, err2 := strconv.ParseUint(first, 16, 64)
	return fileName{e, f, n.kept}, ok && err1 == nil && err2 == nil && f > 0
}

// Close writes what is not written yet, if that works, and leaves the files to who opens them next. After it
// nothing is written any more.
func (j *Journal) Close() {
	if j.disk == nil {
		return
	}
	j.mu.Lock()
	closed := j.closing
	if closed == nil {
		closed = make(chan struct{})
		j.closing = closed
		j.ask()
	}
	j.mu.Unlock()
	j.disk.budget.hurry()
	<-closed
}

// Discard removes the files, and the folder around theirs if nothing else is in it, once the last reader has gone:
// who is still attached reads on to the end. It is called after End.
func (j *Journal) Discard() {
	if j.disk == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.discarded = true
	if len(j.cursors) == 0 {
		j.ask()
		j.disk.budget.hurry()
	}
}

// ask has the writer look after j. mu is held.
func (j *Journal) ask() {
	if !j.queued {
		j.queued = true
		j.disk.budget.enqueue(j)
	}
}

// pending tells whether something is not written yet.
func (j *Journal) pending() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.next-1 > j.disk.written
}

// again puts j back on the writer's list after a failure; false says that it is on it.
func (j *Journal) again() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.queued {
		return false
	}
	j.queued = true
	return true
}

// DiskBytes is what the journal's files hold.
func (j *Journal) DiskBytes() int64 {
	if j.disk == nil {
		return 0
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.disk.bytes
}
