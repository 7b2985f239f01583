package overlay

import (
	"context"
	"encoding/json"
	"time"
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

// saveAgain is the pause after the database could not be written.
const saveAgain = 10 * time.Second

// save brings the database up to date with b, also when ctx has ended. What fails is tried again later.
func (k *Keeper) save(ctx context.Context, b *book) {
	b.writing.Lock()
	defer b.writing.Unlock()
	b.mu.Lock()
	c, put := b.changes()
	b.mu.Unlock()
	if c.notes == nil && !b.stored {
		return
	}
	if err := k.db.apply(context.WithoutCancel(ctx), c); err != nil {
		k.log.Error("cannot write down outputs that a notebook's file does not have", "kernel_id", b.kernel, "err", err)
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, x := range put {
			x.dirty = true
		}
		b.dropped, b.due, b.notYet = append(b.dropped, c.drop...), true, time.Now().Add(saveAgain)
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
