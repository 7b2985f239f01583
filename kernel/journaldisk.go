package kernel

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"time"
)

// diskLog is the part of a journal that is in files: segments, which hold all numbers from the first one's first
// to written, and before them the kept files, which hold what outlived its segments. What is in the files is
// never changed, only added to and dropped from the front. Files are written by the budget's writer alone and
// read by readers while they hold no lock: what a reader has opened it can read, whatever is dropped meanwhile.
type diskLog struct {
	// immutable
	dir    string
	epoch  uint64
	limit  int64
	budget *Budget

	// owned by the budget's writer
	file    *os.File // of the newest segment, while it is written to
	spare   bool     // there is a file of a segment that was dropped: the next one goes into its pages
	failing bool     // the last write failed
	retry   time.Time
	closed  bool
	told    bool // who waits for the end was told
	erased  bool

	// guarded by the journal's mu
	segs    []*segment
	kept    []*segment // two at most
	numbers []uint64   // of the records in kept
	bytes   int64      // of all files
	written uint64     // what has a number up to here is in the files, or was given up
	reads   int64      // pieces of files that readers have read
}

// segment is one file.
type segment struct {
	path  string  // immutable
	first uint64  // immutable; lower numbers are not in it
	last  uint64  // higher numbers are not in it
	size  int64   // bytes that are written
	index []place // where to begin to look for a number; none for the first indexStep bytes
	seen  int64   // damage before this place was counted
	// essentials are where the essential records are. They are not listed when there are more than maxListed, or
	// when the segment was found on disk: then it has to be read to find them.
	essentials []int64
	unlisted   bool
}

// place says that from off on a segment has no number below seq.
type place struct {
	seq uint64
	off int64
}

const (
	// indexStep is how far apart the places in a segment's index are. A reader steps over as much at most.
	indexStep = 64 << 10
	// maxListed bounds what a segment's list of its essential records costs in memory, at 8 bytes each.
	maxListed = 512
	// maxSegment is a segment's size, after which the next begins, where the limit is large; else it is the
	// limit's segmentShare.
	maxSegment   = 4 << 20
	segmentShare = 16
	// keptShare of the limit is for what outlives its segments.
	keptShare = 16
	// presentShare is how many times the limit is kept while a reader who is there has not read it.
	presentShare = 4
	// lostRun is by how much the numbers jump when a journal is opened again: more than were ever given and not
	// written, so that no number is given twice, and so much that a count shows that it spans a jump.
	lostRun = 1 << 40
)

func (d *diskLog) segmentBytes() int64 { return min(maxSegment, d.limit/segmentShare) }

// first is the lowest number that the segments hold. The journal's mu is held, as by all that follow.
func (d *diskLog) first() uint64 {
	if len(d.segs) > 0 {
		return d.segs[0].first
	}
	return d.written + 1
}

// keptAfter counts the records in the kept files with a number above seq.
func (d *diskLog) keptAfter(seq uint64) uint64 {
	i := sort.Search(len(d.numbers), func(i int) bool { return d.numbers[i] > seq })
	return uint64(len(d.numbers) - i)
}

// after finds the file in which the numbers above seq go on, or nil where none does.
func (d *diskLog) after(seq uint64) (s *segment, kept bool) {
	if seq+1 < d.first() {
		for _, s := range d.kept {
			if s.last > seq {
				return s, true
			}
		}
	}
	i := sort.Search(len(d.segs), func(i int) bool { return d.segs[i].first > seq+1 })
	if i > 0 {
		return d.segs[i-1], false
	}
	if len(d.segs) > 0 {
		return d.segs[0], false
	}
	return nil, false
}

// has tells whether s was not dropped.
func (d *diskLog) has(s *segment) bool {
	return slices.Contains(d.segs, s) || slices.Contains(d.kept, s)
}

// find is where to begin to look for numbers above seq.
func (s *segment) find(seq uint64) int64 {
	i := sort.Search(len(s.index), func(i int) bool { return s.index[i].seq > seq+1 })
	if i == 0 {
		return 0
	}
	return s.index[i-1].off
}

// note adds to the index, where the last place is far enough away.
func (s *segment) note(seq uint64, off int64) {
	last := int64(0)
	if n := len(s.index); n > 0 {
		last = s.index[n-1].off
	}
	if off-last >= indexStep {
		s.index = append(s.index, place{seq, off})
	}
}

// list notes where essential records are.
func (s *segment) list(offs []int64) {
	if s.unlisted || len(s.essentials)+len(offs) > maxListed {
		s.essentials, s.unlisted = nil, true
		return
	}
	s.essentials = append(s.essentials, offs...)
}

// ReadAt reads from the file, which is open for only as long: readers that lag keep no descriptors.
func (s *segment) ReadAt(p []byte, off int64) (int, error) {
	f, err := os.Open(s.path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.ReadAt(p, off)
}

// The names of files: epoch and first number, in hexadecimal, so that they sort by number.
const (
	segmentSuffix = ".log"
	keptSuffix    = ".kept"
	spareName     = "spare"
)

func (d *diskLog) path(first uint64, suffix string) string {
	return filepath.Join(d.dir, fmt.Sprintf("%016x-%016x%s", d.epoch, first, suffix))
}
