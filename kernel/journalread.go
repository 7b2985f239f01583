package kernel

import (
	"context"
	"sort"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
)

// nextBatch waits until there is something for c and fills buf. stop, when closed, ends the wait with nothing.
func (j *Journal) nextBatch(ctx context.Context, c *cursor, buf []Entry, stop <-chan struct{}) (int, error) {
	for {
		j.mu.Lock()
		c.settle()
		n, more := j.fill(c, buf)
		if n > 0 {
			c.given = c.at
			j.mu.Unlock()
			return n, nil
		}
		var retry <-chan time.Time
		switch {
		case c.pause:
			c.pause = false
			retry = time.After(pauseTime)
		case more:
			retry = atOnce
		case j.ended != nil:
			err := j.ended
			j.mu.Unlock()
			return 0, err
		default:
			c.settle()
			j.wait = append(j.wait, c)
			j.rest()
		}
		j.mu.Unlock()
		select {
		case <-c.wake:
		case <-retry:
		case <-stop:
			j.unwait(c)
			return 0, nil
		case <-ctx.Done():
			j.unwait(c)
			return 0, fault.Wrap(fault.Canceled, context.Cause(ctx), "no longer waiting for messages")
		}
	}
}

// rest gives up what was kept for a reader who has now read all. mu is held.
func (j *Journal) rest() {
	if j.disk == nil {
		return
	}
	if j.bytes > idleBytes {
		j.trimWritten()
	}
	if j.n == 0 && len(j.ring) > smallRing {
		j.ring, j.head = nil, 0
	}
	if j.disk.bytes+j.disk.segmentBytes() > j.disk.limit {
		j.ask()
	}
}

// pauseTime is how long a reader waits that could not open a file for want of descriptors.
const pauseTime = 100 * time.Millisecond

// atOnce is what a reader waits for that has more to look at: it still ends with its context.
var atOnce = func() <-chan time.Time {
	c := make(chan time.Time)
	close(c)
	return c
}()

func (j *Journal) unwait(c *cursor) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i, w := range j.wait {
		if w == c {
			j.wait = append(j.wait[:i], j.wait[i+1:]...)
			return
		}
	}
}

// fill gives c what it has not read, and moves it on; more says that there may be more for it although n is 0. mu
// is held, and may be released meanwhile.
func (j *Journal) fill(c *cursor, buf []Entry) (n int, more bool) {
	first := j.next - uint64(j.n)
	if c.at+1 < first || c.lost {
		if d := j.disk; d != nil && (c.at < d.written || c.lost) {
			return j.fillFromDisk(c, buf), true
		}
		if gap := gapFor(c, first, j.keptAfter); gap != nil {
			buf[n] = Entry{Seq: c.told, Gap: gap}
			n++
		}
		n += j.fillKept(c, buf[n:])
		if n == len(buf) {
			return n, true
		}
		c.at = max(c.at, first-1)
	}
	c.lag = nil
	for i := int(c.at + 1 - first); i < j.n && n < len(buf); i++ {
		r := j.at(i)
		c.at = r.seq
		if r.gap != nil {
			c.told = r.seq
		}
		if c.sees(r) {
			buf[n] = r.entry()
			n++
		}
	}
	return n, false
}

// gapFor is the one notice that a reader gets for what is missing before number first, of which kept counts what
// is kept after a number.
func gapFor(c *cursor, first uint64, kept func(after uint64) uint64) *Gap {
	if !c.lost && c.told+1 >= first {
		return nil
	}
	from := max(c.at, c.told) // what is missing before was told, but for what was kept then and is no more
	owed, fresh := kept(c.at), kept(from)
	if c.lost {
		c.lost, c.told, c.owed = false, first-1, owed
		return &Gap{Reason: "this kernel's earlier messages are not kept: it was started anew since"}
	}
	dropped := first - 1 - from - fresh // fresh ones follow the notice, or were for another client session
	dropped += c.owed - (owed - fresh)
	c.told, c.owed = first-1, owed
	switch {
	case dropped == 0:
		return nil
	case dropped >= lostRun/2: // numbers that nobody was given are among them
		dropped = 0
	}
	return &Gap{Dropped: dropped, Reason: reasonBehind}
}

// keptAfter counts what is kept in memory of what was given up, after number seq.
func (j *Journal) keptAfter(seq uint64) uint64 {
	i := sort.Search(len(j.kept), func(i int) bool { return j.kept[i].seq > seq })
	return uint64(len(j.kept) - i)
}

// fillKept gives the replies and statuses that are still kept of what lies before the ring.
func (j *Journal) fillKept(c *cursor, buf []Entry) int {
	n := 0
	for i := range j.kept {
		r := &j.kept[i]
		if r.seq <= c.at {
			continue
		}
		if n == len(buf) {
			return n
		}
		c.at = r.seq
		c.owed--
		if c.sees(r) {
			buf[n] = r.entry()
			n++
		}
	}
	return n
}
