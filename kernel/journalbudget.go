package kernel

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Budget bounds what all journals that share it hold on disk, and writes for them: in one goroutine, which is
// there only while there is something to write. It is safe for concurrent use.
type Budget struct {
	// immutable
	limit int64
	log   *slog.Logger
	kick  chan struct{}

	w writer // owned by the writer's goroutine, of which there is one at most

	drawn atomic.Int64 // memory for what the disk has not taken yet
	count struct{ damaged, gaveUp, failed atomic.Int64 }

	mu      sync.Mutex // guards the rest
	queue   []*Journal
	sizes   map[*Journal]int64
	total   int64
	waiting int           // how many are in Wait
	done    chan struct{} // closed when the writer ends; nil while there is none
}

// NewBudget makes a Budget of limit bytes on disk. A nil log says nothing.
func NewBudget(limit int64, log *slog.Logger) *Budget {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Budget{limit: limit, log: log, kick: make(chan struct{}, 1), sizes: make(map[*Journal]int64)}
}

// Wait returns when there is nothing left to write.
func (b *Budget) Wait() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting++
	for done := b.done; done != nil; done = b.done {
		b.mu.Unlock()
		b.hurry()
		<-done
		b.mu.Lock()
	}
	b.waiting--
}

// enqueue has the writer look after j. Called with j's mu held.
func (b *Budget) enqueue(j *Journal) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queue = append(b.queue, j)
	if b.done == nil {
		b.done = make(chan struct{})
		go b.run(b.done)
	}
}

// hurry has the writer begin at once.
func (b *Budget) hurry() {
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

// draw takes n bytes of memory, or gives them back; false says that there are none left.
func (b *Budget) draw(n int64) bool {
	if b.drawn.Add(n) <= sharedMemory || n < 0 {
		return true
	}
	b.drawn.Add(-n)
	return false
}

// run is the writer. Whoever wants to know that it has ended waits for done.
func (b *Budget) run(done chan struct{}) {
	timer := time.NewTimer(flushDelay)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-b.kick:
		}
		b.mu.Lock()
		list := b.queue
		b.queue = nil
		b.mu.Unlock()
		later := b.w.round(list)
		b.enforce()
		b.mu.Lock()
		b.queue = append(b.queue, later...)
		if len(b.queue) == 0 {
			b.w.encoder.reset(0)
			b.done = nil
			b.mu.Unlock()
			close(done)
			return
		}
		wait := flushDelay
		switch {
		case len(b.queue) == len(later): // the others come back when they have something
			wait = retryAfter / 10
		case b.waiting > 0:
			wait = 0
		}
		b.mu.Unlock()
		timer.Reset(wait)
	}
}

// enforce keeps the sum of all journals within the limit: the oldest files of whoever uses most go first.
func (b *Budget) enforce() {
	for {
		var most *Journal
		b.mu.Lock()
		if b.total > b.limit {
			for j, size := range b.sizes {
				if most == nil || size > b.sizes[most] {
					most = j
				}
			}
		}
		b.mu.Unlock()
		if most == nil || !most.dropOldest(&b.w.encoder, true) {
			return
		}
		b.account(most, most.disk.bytes)
	}
}

// account notes what j holds on disk.
func (b *Budget) account(j *Journal, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total += bytes - b.sizes[j]
	b.sizes[j] = bytes
	if bytes == 0 {
		delete(b.sizes, j)
	}
}

// Bytes is what all journals hold on disk.
func (b *Budget) Bytes() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.total
}

// damaged notes n places in a file at which records were lost.
func (b *Budget) damaged(path string, n int) {
	if n > 0 {
		b.count.damaged.Add(int64(n))
		b.log.Warn("a kernel's journal is damaged: what can be read of it is kept", "path", path, "count", n)
	}
}

// unreadable notes that a file, or the rest of it, is lost.
func (b *Budget) unreadable(path string, err error) {
	b.count.damaged.Add(1)
	b.log.Error("a part of a kernel's journal cannot be read", "path", path, "err", err)
}

// gaveUp notes n messages that nobody wrote down.
func (b *Budget) gaveUp(n int64) { b.count.gaveUp.Add(n) }

// writer is what the writer's goroutine works with.
type writer struct {
	encoder encoder
	batch   batch
}

// round serves each journal once, and gives those that are to be served again later.
func (w *writer) round(list []*Journal) (later []*Journal) {
	for _, j := range list {
		j.mu.Lock()
		j.queued, j.kicked = false, false
		closing, erase := j.closing, j.discarded && len(j.cursors) == 0
		j.mu.Unlock()
		switch {
		case erase && !j.disk.erased:
			j.erase()
			j.disk.close(j, closing)
		case closing != nil || j.disk.closed:
			for !j.disk.closed && j.pending() && w.write(j) == nil {
			}
			j.disk.close(j, closing)
		case time.Now().Before(j.disk.retry) || w.write(j) != nil:
			if j.again() {
				later = append(later, j)
			}
		}
	}
	return later
}

// write writes one batch of j, and drops what is over its limit.
func (w *writer) write(j *Journal) error {
	d := j.disk
	err := j.flush(&w.encoder, &w.batch)
	if err != nil {
		d.seal() // the next attempt begins a new file
		d.budget.count.failed.Add(1)
		d.retry = time.Now().Add(retryAfter)
		if !d.failing {
			d.failing = true
			d.budget.log.Error("cannot write a kernel's journal: it is kept in memory, and bounded there, until that works again",
				"path", d.dir, "err", err)
		}
		return err
	}
	if d.failing {
		d.failing = false
		d.budget.log.Info("a kernel's journal is written again", "path", d.dir)
	}
	w.trim(j)
	return nil
}

// trim drops what j has over its limit. What a reader who is there has not read is kept a while longer: a client at
// the end of a slow line is soon further behind than the limit.
func (w *writer) trim(j *Journal) {
	for d := j.disk; d.bytes+d.segmentBytes() > d.limit && len(d.segs) > 1; { // the spare one is on top
		if d.bytes <= presentShare*d.limit && j.unread(d.segs[0]) || !j.dropOldest(&w.encoder, false) {
			break
		}
	}
	j.disk.budget.account(j, j.disk.bytes)
}
