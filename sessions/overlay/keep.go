package overlay

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/nbserv/nbserv/contents/nbformat"
	"github.com/nbserv/nbserv/internal/fault"
)

// open locks b's mu, when all its outputs are in memory; false, and no lock, when they cannot be read.
func (k *Keeper) open(ctx context.Context, b *book) bool {
	if err := k.load(ctx, b, anything); err != nil {
		k.log.Error("outputs that a notebook's file does not have cannot be read", "kernel_id", b.kernel, "err", err)
		return false
	}
	return true
}

// What load can load.
func anything(*execution) bool       { return true }
func unfinished(x *execution) bool   { return x.State != ended }
func withDisplays(x *execution) bool { return len(x.Displays) > 0 }

// load reads those outputs that are in the database alone and, unless it fails, returns with b's mu locked.
func (k *Keeper) load(ctx context.Context, b *book, which func(*execution) bool) error {
	for {
		b.mu.Lock()
		var missing []string
		for _, x := range b.order {
			if x.outputs == nil && which(x) {
				missing = append(missing, x.ID)
			}
		}
		if len(missing) == 0 {
			return nil
		}
		b.mu.Unlock()
		for _, id := range missing {
			o, err := k.db.outputs(ctx, b.kernel, id)
			if err != nil {
				return err
			}
			b.mu.Lock()
			if x := b.byID[id]; x != nil && x.outputs == nil {
				x.outputs = o
			}
			b.mu.Unlock()
		}
	}
}

// unload leaves to the database what has ended and is known to it. mu is held.
func (b *book) unload() {
	for _, x := range b.order {
		if x.State == ended && !x.dirty {
			x.outputs = nil
		}
	}
}

// save brings the database up to date with b. What fails is tried again with the next save.
func (k *Keeper) save(ctx context.Context, b *book) {
	b.writing.Lock()
	defer b.writing.Unlock()
	b.mu.Lock()
	c, put := b.changes()
	b.mu.Unlock()
	if c.notes == nil && !b.stored {
		return
	}
	if err := k.db.apply(ctx, c); err != nil {
		k.log.Error("cannot write down outputs that a notebook's file does not have", "kernel_id", b.kernel, "err", err)
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, x := range put {
			x.dirty = true
		}
		b.dropped, b.due = append(b.dropped, c.drop...), true
		return
	}
	b.stored = c.notes != nil
}

// changes gives what the database does not know, and the executions in it. mu is held.
func (b *book) changes() (c change, put []*execution) {
	c = change{kernel: b.kernel, drop: b.dropped}
	b.dropped, b.due, b.read = nil, false, 0
	if b.Gone && len(b.order) == 0 {
		return c, nil
	}
	for _, x := range b.order {
		if !x.dirty {
			continue
		}
		r := row{id: x.ID, seq: x.Seq}
		if x.outputs != nil {
			r.outputs = x.outputs.AppendState(nil)
			x.Size = len(r.outputs)
		}
		r.facts, _ = json.Marshal(x.facts) // texts, numbers and times only
		x.dirty = false
		c.put, put = append(c.put, r), append(put, x)
	}
	c.notes, _ = json.Marshal(b.notes)
	return c, put
}

// sweep puts away, now and then, what is to be put away, until ctx ends.
func (k *Keeper) sweep(ctx context.Context) {
	began := time.Now()
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if time.Since(began) > startupPause {
			k.lookAtOne(ctx)
		}
		for _, b := range k.all() {
			k.tend(ctx, b)
		}
		k.makeRoom(ctx)
	}
}

// lookAtOne begins to follow one kernel that this process has not looked at: one after the other, because each costs
// the reading of a journal.
func (k *Keeper) lookAtOne(ctx context.Context) {
	k.mu.Lock()
	var next *book
	for _, b := range k.books {
		if !b.known && (next == nil || b.kernel < next.kernel) {
			next = b
		}
	}
	k.mu.Unlock()
	if next != nil {
		k.ensure(ctx, next)
	}
}

// tend writes what can be written into the files, and what is due into the database.
func (k *Keeper) tend(ctx context.Context, b *book) {
	b.mu.Lock()
	paths, news := b.notebooks(), b.news
	b.mu.Unlock()
	if news {
		k.settle(ctx, b)
	}
	for _, path := range paths {
		if k.isQuiet(path) {
			k.fold(ctx, path)
		}
	}
	b.mu.Lock()
	due := b.due
	b.mu.Unlock()
	if due {
		k.save(ctx, b)
		k.index(b)
	}
	b.mu.Lock()
	b.unload()
	b.mu.Unlock()
	k.forget(b)
}

// forget closes the book of a kernel that is gone, when nothing of it is left to keep.
func (k *Keeper) forget(b *book) {
	k.mu.Lock()
	defer k.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Gone && len(b.order) == 0 && len(b.dropped) == 0 {
		delete(k.books, b.kernel)
	}
}

// MaxBytes is how much output is kept for all notebooks together: what a server's disk has to spare.
const MaxBytes = 1 << 30

// makeRoom gives up what ended first when there is more than MaxBytes.
func (k *Keeper) makeRoom(ctx context.Context) {
	var sum int64
	var oldest *execution
	var since time.Time
	var in *book
	for _, b := range k.all() {
		b.mu.Lock()
		for _, x := range b.order {
			sum += int64(x.Size)
			if x.State == ended && (oldest == nil || x.Ended.Before(since)) {
				oldest, since, in = x, x.Ended, b
			}
		}
		b.mu.Unlock()
	}
	if sum <= MaxBytes || oldest == nil {
		return
	}
	k.log.Warn("outputs given up that a notebook's file does not have: there are too many", "kernel_id", in.kernel, "msg_id", oldest.ID)
	in.mu.Lock()
	in.drop(oldest)
	in.mu.Unlock()
	k.save(ctx, in)
	k.index(in)
}

// isQuiet says whether what was said for a notebook can be written into its file: all of it has ended, no page has the
// notebook open or may come back to it, and none is just about to.
func (k *Keeper) isQuiet(path string) bool {
	something := false
	for _, b := range k.at(path) {
		st, err := k.host.Get(b.kernel)
		if err == nil && st.Connections > 0 || err != nil && fault.KindOf(err) != fault.NotFound {
			return false
		}
		quiet, any := b.isQuiet(path, k.cfg)
		if !quiet {
			return false
		}
		something = something || any
	}
	return something
}

func (b *book) isQuiet(path string, cfg Config) (quiet, any bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.touched) < cfg.Quiet || time.Now().Before(b.resting[path]) {
		return false, false
	}
	for _, p := range b.Pages {
		if p.alive(cfg.Asleep) {
			return false, false
		}
	}
	for _, x := range b.order {
		switch p := x.Places[path]; {
		case x.State != ended:
			return false, false
		case p != nil && !p.Over:
			any = true
		}
	}
	return true, any
}

// restAfterFailure is the pause after a file could not be written.
const restAfterFailure = 10 * time.Minute

// fold writes what has ended into the notebook at path.
func (k *Keeper) fold(ctx context.Context, path string) {
	defer k.locks.lock(path)()
	books := k.at(path)
	err := k.files.EditNotebook(ctx, path, func(nb *nbformat.Notebook, modified time.Time) bool {
		return len(k.merge(ctx, books, path, nb, modified, folding)) > 0
	})
	gone := fault.KindOf(err) == fault.NotFound && err != nil
	if err != nil && !gone {
		k.log.Warn("cannot write outputs into a notebook's file; they stay with the server", "path", path, "err", err)
	}
	for _, b := range books {
		b.mu.Lock()
		for _, x := range slices.Clone(b.order) {
			if p := x.Places[path]; (err == nil || gone) && p != nil && !p.Over {
				b.giveUp(x, path)
			}
		}
		if err != nil && !gone {
			b.resting[path] = time.Now().Add(restAfterFailure)
		}
		b.mu.Unlock()
		k.save(ctx, b)
		k.index(b)
	}
}

// pathLocks are locks by path. The zero value is ready.
type pathLocks struct {
	mu   sync.Mutex
	held map[string]*pathLock // guarded by mu
}

type pathLock struct {
	sync.Mutex
	users int // guarded by the pathLocks' mu
}

// lock waits for the lock of a path and gives what unlocks it.
func (l *pathLocks) lock(path string) (unlock func()) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]*pathLock{}
	}
	one := l.held[path]
	if one == nil {
		one = &pathLock{}
		l.held[path] = one
	}
	one.users++
	l.mu.Unlock()
	one.Lock()
	return func() {
		one.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if one.users--; one.users == 0 {
			delete(l.held, path)
		}
	}
}
