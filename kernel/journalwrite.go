package kernel

import "time"

const (
	// flushDelay is how long what was appended may be in memory alone: as much as a crash of this process may
	// cost a reader that comes later. It gathers the small messages of a burst into one write.
	flushDelay = 10 * time.Millisecond
	// flushBytes is how much is written at once, without waiting for flushDelay.
	flushBytes = 512 << 10
	// retryAfter is when a write that failed is tried again.
	retryAfter = time.Second
	// idleBytes is what a journal may hold in memory that all its readers have read.
	idleBytes = 32 << 10

	reasonSlow = "the disk was full or too slow: the server holds a bounded number of messages in memory"
	reasonHuge = "the message is larger than the journal may be"
	reasonAnew = "the kernel host ended and came back: what the kernel said meanwhile is not known"
)

// memoryBounds are what a journal on disk may hold in memory, in bytes. It may always hold one message more than
// that, of any size.
type memoryBounds struct {
	// free is a journal's own. Beyond it, it draws from what all journals share, in steps, up to most: for a disk
	// that stalls, and for readers that fall behind for a moment.
	free, step, most int64
	// window is what it holds at most of what is written, for readers that have not read it. They have it from the
	// files otherwise, which costs three times as much.
	window int64
	// watch is the same for observers, which nobody waits for.
	watch int64
	// kept is for the replies and statuses among what is given up unwritten.
	kept int64
}

var defaultMemory = memoryBounds{free: 1 << 20, step: 1 << 20, most: 128 << 20, window: 32 << 20, watch: 2 << 20, kept: 1 << 20}

// sharedMemory is what all journals together may draw.
const sharedMemory = 256 << 20

// spill sees to it that what was appended gets written, and bounds what is not. mu is held.
func (j *Journal) spill() {
	d := j.disk
	j.ask()
	if j.unwritten >= flushBytes && !j.kicked {
		j.kicked = true
		d.budget.hurry()
	}
	for j.bytes > j.memory.free+j.drawn {
		if j.drawn < j.memory.most && d.budget.draw(j.memory.step) {
			j.drawn += j.memory.step
			continue
		}
		if j.n == 1 || j.bytes-j.at(0).size <= j.memory.free+j.drawn {
			return
		}
		j.evict()
	}
}

// repay gives back what is drawn beyond need. mu is held.
func (j *Journal) repay() {
	for m := j.memory; j.drawn > 0 && j.bytes <= m.free+j.drawn-m.step; {
		j.disk.budget.draw(-m.step)
		j.drawn -= m.step
	}
}

// batch is what is written at once.
type batch struct {
	recs []record
	upTo uint64 // what has a number up to here is in recs, or is given up
	from uint64 // the first number that it is about
	ring int    // recs[ring:] came from the ring; those before it are what is kept of a gap, which they follow

	places     []place
	essentials []int64
}

// take gathers what is to be written next. mu is held.
func (j *Journal) take(b *batch) {
	first := j.next - uint64(j.n)
	b.recs, b.from, b.ring = b.recs[:0], j.disk.written+1, 0
	b.upTo = j.disk.written
	if first > b.from {
		n := j.keptAfter(b.upTo)
		if missing := first - b.from - n; missing > 0 {
			gap := &Gap{Dropped: missing, Reason: reasonSlow}
			b.recs = append(b.recs, record{seq: first - 1, gap: gap})
		}
		b.recs = append(b.recs, j.kept[len(j.kept)-int(n):]...)
		b.upTo, b.ring = first-1, len(b.recs)
	}
	limit := min(flushBytes, j.disk.segmentBytes())
	for i, size := int(b.upTo+1-first), int64(0); i < j.n && size < limit; i++ {
		r := j.at(i)
		b.recs = append(b.recs, *r)
		b.upTo = r.seq
		size += r.size
	}
}

// flush writes what is next, one batch. Like all that touches files it is called by the budget's writer alone. An
// error says that nothing was written, and that it is to be tried again.
func (j *Journal) flush(e *encoder, b *batch) error {
	j.mu.Lock()
	j.take(b)
	j.mu.Unlock()
	if len(b.recs) == 0 {
		return nil
	}
	defer clear(b.recs) // or the messages would be kept alive
	d := j.disk
	seg, err := d.active(j, b.from)
	if err != nil {
		return err
	}
	e.batch(d, b, seg.size)
	if err := writeTo(d.file, seg.size, e); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	seg.size += e.size
	seg.last = b.upTo
	for _, p := range b.places {
		seg.note(p.seq, p.off)
	}
	seg.list(b.essentials)
	d.bytes += e.size
	j.wrote(b.upTo)
	return nil
}

// batch encodes b for the file's place off, and notes where in it a reader may begin and what is essential.
func (e *encoder) batch(d *diskLog, b *batch, off int64) {
	e.reset(d.epoch)
	b.places = append(b.places[:0], place{b.from, off})
	b.essentials = b.essentials[:0]
	last := off
	for i := range b.recs {
		r := &b.recs[i]
		at := off + e.size
		if i > 0 && i >= b.ring && at-last >= indexStep {
			b.places = append(b.places, place{r.seq, at})
			last = at
		}
		if essential(r) {
			b.essentials = append(b.essentials, at)
		}
		if r.size > d.limit || !e.add(r) {
			e.add(&record{seq: r.seq, gap: &Gap{Dropped: 1, Reason: reasonHuge}})
			d.budget.gaveUp(1)
		}
	}
}

// wrote notes that all up to seq is written. mu is held.
func (j *Journal) wrote(seq uint64) {
	first := j.next - uint64(j.n)
	for s := max(j.disk.written+1, first); s <= seq; s++ {
		j.unwritten -= j.at(int(s - first)).size
	}
	j.disk.written = seq
	for len(j.kept) > 0 && j.kept[0].seq <= seq {
		j.dropKept()
	}
	j.trimWritten()
	if j.unwritten > 0 {
		j.ask()
		if j.unwritten >= flushBytes {
			j.kicked = true
			j.disk.budget.hurry()
		}
	}
}

// trimWritten gives up the memory of what is in the files, but for what readers who are nearly there have not
// read. mu is held.
func (j *Journal) trimWritten() {
	first := j.next - uint64(j.n)
	read, watched := j.next-1, j.next-1 // by all who are nearly there
	for c := range j.cursors {
		switch {
		case c.away || c.at+1 < first:
		case c.all:
			watched = min(watched, c.at)
		default:
			read = min(read, c.at)
		}
	}
	for j.n > 0 {
		r := j.at(0)
		rest := j.bytes - r.size
		if r.seq > j.disk.written || r.seq > read && rest <= j.memory.window || r.seq > watched && rest <= j.memory.watch {
			break
		}
		j.drop()
	}
	j.shrink()
	j.repay()
}
