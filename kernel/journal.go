package kernel

import (
	"crypto/rand"
	"encoding/binary"
	"sync"
)

// JournalLimits bound what a Journal keeps, in bytes. The first is of one that is on disk, the others are of one
// that is in memory alone.
type JournalLimits struct {
	// DiskBytes is the size of its files, and of the largest message in them.
	DiskBytes int64
	// MaxBytes is kept at most, for readers that are behind. Beyond it outputs are given up, oldest first.
	MaxBytes int64
	// AwayBytes is kept at most for readers that have gone and may come back.
	AwayBytes int64
	// KeepBytes is kept of what every known reader has read, for readers that come back with a Position.
	KeepBytes int64
}

const (
	// DefaultJournalBytes holds all that most notebooks ever print, and some pictures.
	DefaultJournalBytes = 64 << 20
	// DefaultJournalsBytes is for all journals together.
	DefaultJournalsBytes = 2 << 30

	// minJournalBytes holds some cells' outputs in more than a few files.
	minJournalBytes = 1 << 20

	// defaultMaxBytes is what a kernel that sends pictures or buffers as fast as it can gets ahead of a reader on
	// the same machine in half a second; a print of 20,000 lines is a hundredth of it.
	defaultMaxBytes = 256 << 20
	// defaultAwayBytes holds the outputs of most notebooks. Nobody may come for it.
	defaultAwayBytes = 32 << 20
	// defaultKeepBytes serves page reloads, at a price that a hundred kernels can pay.
	defaultKeepBytes = 4 << 20
	// entryOverhead is what an entry costs beside its payload: structs, slice headers, allocator slack.
	entryOverhead = 400
)

// sees tells whether r is for c's reader.
func (c *cursor) sees(r *record) bool {
	return c.all || r.kind == Said && (r.to == "" || r.to == c.to)
}

// Journal is all that one kernel said, in one order, each entry for one client session or for all; and between
// it, for observers, what it was asked and who came and went. It is
// bounded: a reader that falls behind what is kept is told once how much it missed. Outputs are given up
// before replies and statuses, so that every reader still learns how its requests ended.
//
// Append never blocks. All methods are safe for concurrent use.
type Journal struct {
	epoch  uint64
	limits JournalLimits

	mu      sync.Mutex
	ring    []record // a circular buffer of n entries, oldest at head
	head, n int
	next    uint64 // the number the next entry gets; numbers start at 1
	bytes   int64  // of the ring's entries
	kept    []record
	keptB   int64
	cursors map[*cursor]struct{}
	floor   uint64 // a lower bound of what all cursors have read, found at the last look
	present uint64 // the same of the cursors whose readers are there
	looked  int64  // bytes when that was
	wait    []*cursor
	spare   []*cursor // wait's other half, reused
	ended   error

	// What follows is of a journal on disk.
	disk      *diskLog
	unwritten int64        // bytes of the ring's entries that are not in the files
	drawn     int64        // what of the budget's memory they have
	memory    memoryBounds // immutable
	queued    bool         // the writer is to look at it
	kicked    bool         // and was told to hurry
	discarded bool         // the files are to go when the last reader has gone
	closing   chan struct{}
	lostFrom  uint64 // immutable; the numbers from here up to lostTo may have been given and were not written
	lostTo    uint64 // immutable
}

// record is an Entry with what the journal has to know about it.
type record struct {
	seq  uint64
	kind EntryKind
	to   string
	msg  *Message // nil where the kind has none
	gap  *Gap     // a notice that was written down
	size int64    // in memory
}

// entry is r as a reader gets it.
func (r *record) entry() Entry {
	return Entry{Seq: r.seq, Kind: r.kind, To: r.to, Message: r.msg, Gap: r.gap}
}

// cursor is one reader's place. Its fields are guarded by the journal's mu.
type cursor struct {
	to   string
	all  bool   // an observer's: it sees every entry
	at   uint64 // everything up to here was returned
	done uint64 // everything up to here was delivered: what was returned before the last call to next, or confirmed
	told uint64 // the reader knows that entries up to here may be missing
	owed uint64 // how many up to told were kept when it was told, and are still to be given
	lost bool   // the Position it came with was of another epoch
	away bool   // its reader has gone
	lag  *lag   // where it reads from the files
	// pause has it wait a little before it reads from the files again: there were no descriptors.
	pause bool
	wake  chan struct{}

	confirms bool   // its reader says what was delivered
	given    uint64 // at, when next last returned something
}

// mayForget is up to where nothing has to be kept for c's reader.
func (c *cursor) mayForget() uint64 {
	if c.confirms {
		return c.done
	}
	return c.at
}

// settle takes for delivered what c's reader does not confirm. What was passed over was for others.
func (c *cursor) settle() {
	if !c.confirms || c.done >= c.given {
		c.done = c.at
	}
}

// confirm notes that c's reader got everything up to seq.
func (j *Journal) confirm(c *cursor, seq uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	c.done = max(c.done, min(seq, c.at))
}

// NewJournal makes an empty journal with an epoch of its own. Zero limits take the defaults.
func NewJournal(l JournalLimits) *Journal {
	if l.MaxBytes <= 0 {
		l.MaxBytes = defaultMaxBytes
	}
	if l.AwayBytes <= 0 {
		l.AwayBytes = min(defaultAwayBytes, l.MaxBytes)
	}
	if l.KeepBytes <= 0 {
		l.KeepBytes = min(defaultKeepBytes, l.MaxBytes)
	}
	if l.DiskBytes <= 0 {
		l.DiskBytes = DefaultJournalBytes
	}
	var b [8]byte
	_, _ = rand.Read(b[:])
	return &Journal{epoch: binary.BigEndian.Uint64(b[:]) | 1, limits: l, next: 1, cursors: make(map[*cursor]struct{})}
}

// Append writes down what was said to the client session to, or to all when to is "". After End it does nothing.
func (j *Journal) Append(to string, m *Message) { j.write(Said, to, m) }

// Note writes down what only observers get. m is nil but for Asked. After End it does nothing.
func (j *Journal) Note(kind EntryKind, to string, m *Message) { j.write(kind, to, m) }

func (j *Journal) write(kind EntryKind, to string, m *Message) {
	r := record{kind: kind, to: to, msg: m, size: entryOverhead}
	if m != nil {
		r.size += int64(m.Size())
	}
	j.mu.Lock()
	if j.ended != nil {
		j.mu.Unlock()
		return
	}
	j.add(r)
	wake := j.takeWaiting(&r)
	j.mu.Unlock()
	for _, c := range wake {
		c.signal()
	}
	j.giveBack(wake)
}

// add gives r the next number. mu is held.
func (j *Journal) add(r record) {
	r.seq = j.next
	j.push(r)
	j.next++
	if j.disk == nil {
		j.trim()
		return
	}
	j.unwritten += r.size
	j.spill()
}

// takeWaiting takes the readers that r is for off the waiting list.
func (j *Journal) takeWaiting(r *record) []*cursor {
	if len(j.wait) == 0 {
		return nil
	}
	if r.kind == Said && r.to == "" {
		wake := j.wait
		j.wait, j.spare = j.spare, nil
		return wake
	}
	var wake []*cursor
	rest := j.wait[:0]
	for _, c := range j.wait {
		if c.sees(r) {
			wake = append(wake, c)
		} else {
			rest = append(rest, c)
		}
	}
	clear(j.wait[len(rest):])
	j.wait = rest
	return wake
}

// giveBack lets the next burst reuse the waiting list's memory.
func (j *Journal) giveBack(list []*cursor) {
	if cap(list) == 0 {
		return
	}
	clear(list)
	j.mu.Lock()
	if j.spare == nil {
		j.spare = list[:0]
	}
	j.mu.Unlock()
}

func (c *cursor) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// End tells every reader that nothing follows: next returns err once all is read.
func (j *Journal) End(err error) {
	j.mu.Lock()
	if j.ended == nil {
		j.ended = err
	}
	wake := j.wait
	j.wait = nil
	j.mu.Unlock()
	for _, c := range wake {
		c.signal()
	}
}

// Position is the place after the newest entry.
func (j *Journal) Position() Position {
	j.mu.Lock()
	defer j.mu.Unlock()
	return Position{Epoch: j.epoch, Seq: j.next - 1}
}

// join makes c, which says what it is to see, a reader at p; nil is the place after the newest entry.
func (j *Journal) join(c *cursor, p *Position) *cursor {
	j.mu.Lock()
	defer j.mu.Unlock()
	c.at, c.wake = j.next-1, make(chan struct{}, 1)
	switch {
	case p == nil:
	case p.Epoch != j.epoch && *p != (Position{}):
		c.at, c.lost = 0, true
	default:
		c.at = min(p.Seq, j.next-1)
		if c.at >= j.lostFrom && c.at < j.lostTo {
			c.at = j.lostTo
		}
	}
	c.done, c.told, c.given = c.at, c.at, c.at
	j.cursors[c] = struct{}{}
	j.floor, j.present = min(j.floor, c.at), min(j.present, c.at)
	return c
}

// leave keeps c's place for a reader that may come back, within AwayBytes.
func (j *Journal) leave(c *cursor) {
	j.mu.Lock()
	defer j.mu.Unlock()
	c.away, c.lag = true, nil
	j.forgo()
}

// close forgets a reader, and what was kept for it alone.
func (j *Journal) close(c *cursor) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.cursors, c)
	j.forgo()
	if j.discarded && len(j.cursors) == 0 {
		j.ask()
	}
	for i, w := range j.wait {
		if w == c {
			j.wait = append(j.wait[:i], j.wait[i+1:]...)
			break
		}
	}
}

// position is where c has read to; delivered leaves out what its last next returned.
func (j *Journal) position(c *cursor, delivered bool) Position {
	j.mu.Lock()
	defer j.mu.Unlock()
	if delivered {
		return Position{Epoch: j.epoch, Seq: c.done}
	}
	return Position{Epoch: j.epoch, Seq: c.at}
}

// at is the ring's i-th entry, oldest first.
func (j *Journal) at(i int) *record {
	return &j.ring[(j.head+i)&(len(j.ring)-1)]
}

// smallRing is how many entries a ring has room for at least; a power of two.
const smallRing = 64

func (j *Journal) push(r record) {
	if j.n == len(j.ring) {
		bigger := make([]record, max(smallRing, 2*len(j.ring)))
		for i := range j.n {
			bigger[i] = *j.at(i)
		}
		j.ring, j.head = bigger, 0
	}
	*j.at(j.n) = r
	j.n++
	j.bytes += r.size
}
