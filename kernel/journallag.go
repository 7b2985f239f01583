package kernel

import (
	"errors"
	"syscall"

	"github.com/nbserv/nbserv/internal/fault"
)

// lag is the place of a reader that reads from the files. It is kept between two calls of nextBatch.
type lag struct {
	seg  *segment
	scan *scan
}

const (
	// readBytes is how much a reader takes from the files at a time, besides one message of any size.
	readBytes = 256 << 10

	reasonBehind  = "the reader was too far behind: the server keeps a bounded number of messages"
	reasonDamaged = "the journal's file is damaged there"
)

// fillFromDisk gives c what it has not read, from the files, and moves it on. mu is held, and released while
// files are read. It may have nothing for c and yet have moved it.
func (j *Journal) fillFromDisk(c *cursor, buf []Entry) (n int) {
	d := j.disk
	first := d.first()
	if c.at+1 < first || c.lost {
		if gap := gapFor(c, first, d.keptAfter); gap != nil {
			buf[0] = Entry{Seq: c.told, Gap: gap}
			return 1
		}
	}
	seg, kept := d.after(c.at)
	if seg == nil {
		c.at = max(c.at, d.written)
		return 0
	}
	if !kept {
		c.at = max(c.at, seg.first-1) // the kept ones are read
	}
	l := c.lag
	if l == nil || l.seg != seg {
		l = &lag{seg, &scan{f: seg, epoch: d.epoch, off: seg.find(c.at), firstBad: seg.seen}}
	}
	c.lag = nil // it is this call's alone
	l.scan.end = seg.size
	s := stretch{scan: l.scan, at: c.at, told: c.told, last: seg.last, kept: kept}
	if kept {
		s.last = min(s.last, first-1)
	}
	d.reads++

	j.mu.Unlock()
	n = s.fill(c, buf)
	j.mu.Lock()

	if !d.has(seg) { // it was dropped meanwhile, and its file may have got another's records
		return 0
	}
	if damages := l.scan.damages; damages > 0 && l.scan.lastBad >= seg.seen {
		seg.seen = l.scan.lastBad + 1
		d.budget.damaged(seg.path, damages)
	}
	l.scan.damages, l.scan.firstBad = 0, seg.seen
	if err := l.scan.err; err != nil && n == 0 {
		l.scan.err = nil
		if fault.OutOfDescriptors(err) || errors.Is(err, syscall.ENOMEM) {
			c.pause = true
		} else {
			d.budget.unreadable(seg.path, err)
			if gap := s.missing(s.last + 1); gap != nil {
				buf[0], n = Entry{Seq: s.told, Gap: gap}, 1
			}
			s.at, s.done = s.last, true
		}
	}
	c.at, c.told = max(c.at, s.at), max(c.told, s.told)
	c.owed -= min(c.owed, s.passed)
	if _, here := j.cursors[c]; here && !c.away && !s.done {
		c.lag = l
	}
	return n
}

// stretch is a part of one file that a reader reads.
type stretch struct {
	scan   *scan
	at     uint64 // as the cursor's
	told   uint64 // as the cursor's
	last   uint64 // the highest number that it is about
	kept   bool   // numbers that are not in it were given up, and the reader knows
	passed uint64 // how many kept records were read
	done   bool   // it is all read
}

// fill reads for c into buf. It holds no lock.
func (s *stretch) fill(c *cursor, buf []Entry) (n int) {
	for from := s.scan.off; n < len(buf) && s.scan.off-from < readBytes; {
		h, ok := s.scan.next()
		if ok && h.seq <= s.at {
			s.scan.skip(h)
			continue
		}
		if s.scan.err != nil {
			return n
		}
		end := !ok || h.seq > s.last
		if end {
			h = recordHead{seq: s.last + 1}
		}
		if h.flags&flagGap == 0 {
			if gap := s.missing(h.seq); gap != nil {
				buf[n] = Entry{Seq: s.told, Gap: gap}
				n++
				continue
			}
		}
		if end {
			s.at, s.done = max(s.at, s.last), true
			return n
		}
		n += s.take(c, h, buf[n:])
	}
	return n
}

// missing is the notice of the numbers before seq that ought to be in the file and are not.
func (s *stretch) missing(seq uint64) *Gap {
	from := max(s.at, s.told)
	if s.kept || from+1 >= seq {
		return nil
	}
	dropped := seq - 1 - from
	s.told = seq - 1
	if dropped >= lostRun/2 { // nobody was given these numbers
		return nil
	}
	return &Gap{Dropped: dropped, Reason: reasonDamaged}
}

// take reads the record at hand, and gives it to c if it is for it.
func (s *stretch) take(c *cursor, h recordHead, buf []Entry) (n int) {
	body, ok := s.scan.body(h)
	if s.scan.err != nil { // it is read again, or not at all
		return 0
	}
	r, whole := record{}, false
	if ok {
		if r, whole = h.record(body); !whole {
			s.scan.damage()
		}
	}
	if whole && r.gap != nil && r.gap.Dropped > 0 { // it tells of what comes before it in number and after it in the file
		return s.tell(&r, h, buf)
	}
	s.scan.skip(h)
	if !whole { // what follows it tells the gap
		return 0
	}
	s.at = r.seq
	if s.kept {
		s.passed++
	}
	if !c.sees(&r) || r.seq <= s.told && h.flags&flagEssential == 0 { // it was given up while it was being written
		return 0
	}
	buf[0] = r.entry()
	return 1
}

// tell gives the notice r, whose head is at hand, as far as the reader does not know what it says: it may have read, or
// been told of, some of that while it was in memory.
func (s *stretch) tell(r *record, h recordHead, buf []Entry) (n int) {
	from := max(s.at, s.told)
	if r.seq <= from {
		s.scan.skip(h)
		return 0
	}
	kept := uint64(0) // those that it spans
	ahead := *s.scan
	ahead.skip(h)
	for next, ok := ahead.next(); ok && next.seq <= r.seq; next, ok = ahead.next() {
		if next.seq > from {
			kept++
		}
		ahead.skip(next)
	}
	if s.scan.err = ahead.err; ahead.err != nil {
		return 0
	}
	s.scan.skip(h)
	s.told = r.seq
	if r.gap.Dropped = min(r.gap.Dropped, r.seq-from-kept); r.gap.Dropped == 0 {
		return 0
	}
	buf[0] = r.entry()
	return 1
}
