package kernel

import (
	"os"
	"path/filepath"
)

// active is the segment to write to; a new one begins with the number from. Like all of this file it is the
// writer's, and may read without a lock what only the writer changes.
func (d *diskLog) active(j *Journal, from uint64) (*segment, error) {
	if d.file != nil {
		if s := d.segs[len(d.segs)-1]; s.size < d.segmentBytes() {
			return s, nil
		}
		d.seal()
	}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return nil, err
	}
	s := &segment{path: d.path(from, segmentSuffix), first: from, last: from - 1}
	known := false
	if n := len(d.segs); n > 0 && d.segs[n-1].size == 0 { // its first write failed
		s, known = d.segs[n-1], true
	}
	flag := os.O_CREATE | os.O_WRONLY | os.O_TRUNC
	if d.respare(s.path) {
		flag = os.O_WRONLY
	}
	f, err := os.OpenFile(s.path, flag, 0o600)
	if err != nil {
		return nil, err
	}
	d.file = f
	if !known {
		j.mu.Lock()
		defer j.mu.Unlock()
		d.segs = append(d.segs, s)
	}
	return s, nil
}

// retire takes the file of a segment that was dropped out of the journal: it is kept for the next one, or removed.
func (d *diskLog) retire(s *segment, keep bool) {
	if keep && !d.spare && os.Rename(s.path, d.sparePath()) == nil {
		d.spare = true
		return
	}
	d.remove(s.path)
}

// respare gives the spare file a segment's name; false says that there is none.
func (d *diskLog) respare(path string) bool {
	if !d.spare {
		return false
	}
	d.spare = false
	return os.Rename(d.sparePath(), path) == nil
}

func (d *diskLog) sparePath() string { return filepath.Join(d.dir, spareName) }

// seal ends the writing to the newest segment.
func (d *diskLog) seal() {
	if d.file == nil {
		return
	}
	_ = d.file.Truncate(d.segs[len(d.segs)-1].size) // of a file that was another segment's
	_ = d.file.Close()                              // every write was checked
	d.file = nil
}

// writeTo writes what e has gathered at a file's end. What an error leaves behind it is written over later.
func writeTo(f *os.File, end int64, e *encoder) error {
	off := end
	for _, p := range e.all() {
		if _, err := f.WriteAt(p, off); err != nil {
			_ = f.Truncate(end)
			return err
		}
		off += int64(len(p))
	}
	return nil
}

// dropOldest gives up the oldest file, but for what is essential in a segment; false says that there is none to
// give up. all includes the newest segment and what was kept.
func (j *Journal) dropOldest(e *encoder, all bool) bool {
	d := j.disk
	switch n := len(d.segs); {
	case n > 1:
	case n == 1 && all && d.segs[0].size > 0:
		d.seal()
	case len(d.kept) > 0 && all:
		d.dropKept(j)
		return true
	default:
		return false
	}
	s := d.segs[0]
	numbers := d.essentials(s, e)
	k, err := d.keep(e, numbers)
	if err != nil {
		k, numbers = nil, nil // the disk is full: then they are given up, too
	}
	j.mu.Lock()
	d.segs = d.segs[1:]
	if k != nil {
		if len(d.kept) == 0 || d.kept[len(d.kept)-1] != k {
			d.kept = append(d.kept, k)
		}
		k.size += e.size
		k.last = numbers[len(numbers)-1]
		d.bytes += e.size
		d.numbers = append(d.numbers, numbers...)
	}
	d.bytes -= s.size
	j.mu.Unlock()
	d.retire(s, !all && s.size <= 2*d.segmentBytes())
	if len(d.segs) == 0 { // a file says which numbers were given, though their records are gone
		if _, err := d.active(j, d.written+1); err != nil {
			d.budget.log.Error("cannot begin a new file of a kernel's journal", "path", d.dir, "err", err)
		}
	}
	if len(d.kept) > 2 {
		d.dropKept(j)
	}
	return true
}

// essentials gathers what is essential in s, and gives its numbers.
func (d *diskLog) essentials(s *segment, e *encoder) (numbers []uint64) {
	e.reset(d.epoch)
	last := uint64(0)
	if n := len(d.numbers); n > 0 {
		last = d.numbers[n-1]
	}
	sc := scan{f: s, epoch: d.epoch, end: s.size, firstBad: s.seen}
	if !s.unlisted {
		sc.step = smallStep
	}
	for i := 0; s.unlisted || i < len(s.essentials); i++ {
		if !s.unlisted {
			sc.off = s.essentials[i]
		}
		h, ok := sc.next()
		if !ok {
			break
		}
		if h.flags&flagEssential != 0 && h.seq > last && h.size() <= d.keptBytes() {
			if _, ok := sc.body(h); ok {
				e.put(sc.peek(h.size())[:h.size()])
				e.size += h.size()
				numbers, last = append(numbers, h.seq), h.seq
			}
		}
		sc.skip(h)
	}
	d.budget.damaged(s.path, sc.damages)
	return numbers
}

// keptBytes is the size after which the next kept file begins.
func (d *diskLog) keptBytes() int64 { return d.limit / keptShare / 2 }

// keep writes what e has gathered to the newest kept file, or to a new one; nil when e has nothing.
func (d *diskLog) keep(e *encoder, numbers []uint64) (*segment, error) {
	if len(numbers) == 0 {
		return nil, nil
	}
	var k *segment
	if n := len(d.kept); n > 0 && d.kept[n-1].size < d.keptBytes() {
		k = d.kept[n-1]
	} else {
		k = &segment{path: d.path(numbers[0], keptSuffix), first: numbers[0]}
	}
	f, err := os.OpenFile(k.path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := writeTo(f, k.size, e); err != nil {
		if k.size == 0 {
			d.remove(k.path)
		}
		return nil, err
	}
	return k, nil
}

// dropKept gives up the older kept file.
func (d *diskLog) dropKept(j *Journal) {
	k := d.kept[0]
	j.mu.Lock()
	d.kept = d.kept[1:]
	d.numbers = append([]uint64(nil), d.numbers[len(d.numbers)-int(d.keptAfter(k.last)):]...)
	d.bytes -= k.size
	j.mu.Unlock()
	d.remove(k.path)
}

func (d *diskLog) remove(path string) {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		d.budget.log.Warn("cannot remove a part of a kernel's journal", "path", path, "err", err)
	}
}

// close ends the writing, and tells who waits for that.
func (d *diskLog) close(j *Journal, closing chan struct{}) {
	d.seal()
	d.closed = true
	d.budget.account(j, 0)
	j.mu.Lock()
	d.budget.draw(-j.drawn)
	j.drawn = 0
	j.mu.Unlock()
	if closing != nil && !d.told {
		d.told = true
		close(closing)
	}
}

// erase removes the journal's files, and the folder and the one around it if nothing else is there.
func (j *Journal) erase() {
	d := j.disk
	d.seal()
	d.erased = true
	j.mu.Lock()
	files := append(d.kept, d.segs...)
	d.segs, d.kept, d.numbers, d.bytes = nil, nil, nil, 0
	j.mu.Unlock()
	for _, s := range files {
		d.remove(s.path)
	}
	if d.spare {
		d.remove(d.sparePath())
	}
	aside, _ := filepath.Glob(filepath.Join(d.dir, "*"+damagedSuffix))
	for _, path := range aside {
		_ = os.RemoveAll(path)
	}
	if os.Remove(d.dir) == nil {
		_ = os.Remove(filepath.Dir(d.dir))
	}
}
