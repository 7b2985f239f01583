package overlay

import (
	"context"
	"time"
)

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
	due := b.due && time.Now().After(b.notYet)
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
