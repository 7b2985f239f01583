package overlay

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/nbserv/nbserv/contents/nbformat"
)

// syncWait bounds how long a reader waits for the journal to be read: 64 MiB take about a second.
const syncWait = 5 * time.Second

// Version names what Merge would do to the notebook at path; "" is nothing. When the notebook's kernel has said
// something since it was looked at, it waits until all of that is known.
func (k *Keeper) Version(ctx context.Context, path string) string {
	books := k.sync(ctx, path, true)
	if len(books) == 0 {
		return ""
	}
	sum := fnv.New64a()
	any := false
	for _, b := range books {
		b.mu.Lock()
		for _, x := range b.order {
			if p := x.Places[path]; x.begun() && (p == nil || !p.Over) {
				any = true
				sum.Write([]byte(x.ID))
				sum.Write(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, x.Revision), uint64(x.Digest)))
			}
		}
		b.mu.Unlock()
	}
	if !any {
		return ""
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// sync gives the books that may have something for a notebook, when they know all that was said up to now. A reader
// wants to see what runs, whoever asked for it; who saves has his own pages' outputs.
func (k *Keeper) sync(ctx context.Context, path string, reader bool) []*book {
	books := k.at(path)
	if len(books) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, syncWait)
	defer cancel()
	for _, b := range books {
		k.catchUp(ctx, b, reader)
	}
	return books
}

// catchUp waits until b knows all that its kernel has said up to now, if there is a reason to look.
func (k *Keeper) catchUp(ctx context.Context, b *book, reader bool) {
	select {
	case <-k.running:
	default:
		return
	}
	st, err := k.host.Get(b.kernel)
	if err != nil {
		return
	}
	k.mu.Lock()
	due := b.following || !b.known || st.Departed != b.departed || reader && !b.reached(st.Position)
	k.mu.Unlock()
	if !due {
		return
	}
	b.mu.Lock()
	b.visited = b.visited || reader
	b.touched = time.Now()
	b.mu.Unlock()
	k.ensure(ctx, b)
	for !b.reached(st.Position) && k.isFollowing(b) {
		select {
		case <-b.whenMoved():
		case <-ctx.Done():
			return
		}
	}
}

func (k *Keeper) isFollowing(b *book) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return b.following
}

// whenMoved is closed when b knows more, or knows that it will not.
func (b *book) whenMoved() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.moved == nil {
		b.moved = make(chan struct{})
	}
	return b.moved
}

// purpose is why a notebook is looked at.
type purpose uint8

const (
	reading  purpose = iota // for a page or a program
	folding                 // to be written back
	settling                // to find out what has to be kept
)

// Merge puts into nb, which was read from path's file as it was written at the time modified, what its file does not
// have yet, and gives the cells that it has changed.
func (k *Keeper) Merge(ctx context.Context, path string, nb *nbformat.Notebook, modified time.Time) (merged []nbformat.Cell) {
	for _, b := range k.at(path) {
		merged = append(merged, k.merge(ctx, b, path, nb, modified, reading)...)
	}
	return merged
}

func (k *Keeper) merge(ctx context.Context, b *book, path string, nb *nbformat.Notebook, modified time.Time, why purpose) (merged []nbformat.Cell) {
	if !k.open(ctx, b) {
		return nil
	}
	defer k.index(b)
	defer b.mu.Unlock()
	taken := map[nbformat.Cell]*execution{}
	for _, x := range slices.Clone(b.order) {
		cell, p, ok := x.find(path, nb)
		if !ok || p.Over || !x.begun() {
			continue
		}
		if old := taken[cell]; old != nil { // two ran what is one cell here: the later one counts
			b.giveUp(old, path)
		}
		taken[cell] = x
		switch v := b.judgeFile(x, p, cell, modified); {
		case v == stale, v == same && x.outputs.HasInput() && !cell.HasInput():
			if b.give(x, cell, why) {
				merged = append(merged, cell)
			}
		case v == same:
			b.isThere(x, p, why)
		case v == cleared:
			b.clearAt(x, path)
		case v == over:
			b.giveUp(x, path)
		}
	}
	return merged
}

// find finds x's cell in a notebook: by its id, and in one whose file has no ids by its code if that is the code of no
// other cell. The place is new when x was not found at path before.
func (x *execution) find(path string, nb *nbformat.Notebook) (cell nbformat.Cell, p *place, ok bool) {
	p = x.Places[path]
	if p == nil {
		p = &place{Cell: x.Cell, ByCode: !nb.HasIDs()}
	}
	same := 0
	var twin nbformat.Cell
	for c := range nb.CodeCells() {
		if c.ID() == p.Cell {
			cell, ok = c, true
			break
		}
		if p.ByCode && c.Source() == x.Code {
			same++
			twin = c
		}
	}
	if !ok && same == 1 {
		cell, ok = twin, true
	}
	if ok && x.Places[path] == nil {
		x.Places[path] = p
		x.dirty = true
	}
	return cell, p, ok
}

// give puts x's outputs into a cell.
func (b *book) give(x *execution, cell nbformat.Cell, why purpose) bool {
	if err := cell.SetOutputs(x.outputs.AppendJSON(nil), x.Count); err != nil {
		return false // they are ours, and parse
	}
	x.remember(x.Digest)
	x.dirty = true
	if why == reading {
		b.wasRead(x)
	}
	return true
}

// wasRead notes that a reader got x.
func (b *book) wasRead(x *execution) {
	x.Shown, x.dirty = true, true
	if x.Digest == 0 {
		x.EmptyUntil = time.Now().Add(pageLoad)
	} else {
		x.Seen, x.EmptyUntil = true, time.Time{}
	}
	b.touched = time.Now()
}

// isThere deals with an execution whose outputs a file has.
func (b *book) isThere(x *execution, p *place, why purpose) {
	switch {
	case why == reading && (x.Shown || x.State == running):
		b.wasRead(x)
	case why == settling && x.State == ended && !x.Shown:
		p.Over, x.dirty = true, true
	}
}

// giveUp ends x's part in the notebook at path.
func (b *book) giveUp(x *execution, path string) {
	x.Places[path].Over = true
	x.touch()
	if x.State == ended && x.homeless() {
		b.drop(x)
	}
}

// clearAt does what somebody did by hand to the cell at path.
func (b *book) clearAt(x *execution, path string) {
	if x.State == ended {
		b.giveUp(x, path)
		return
	}
	x.clear()
}

// Saving puts into nb, which a client is about to save at path, the outputs that its page does not know yet. The caller
// calls done with whether it was saved, and must: until then nobody else saves that notebook.
func (k *Keeper) Saving(ctx context.Context, path string, nb *nbformat.Notebook) (done func(saved bool)) {
	books := k.sync(ctx, path, false)
	if len(books) == 0 {
		return func(bool) {}
	}
	unlock := k.locks.lock(path)
	var after []func()
	for _, b := range books {
		after = append(after, k.saving(ctx, b, path, nb)...)
	}
	return func(saved bool) {
		defer unlock()
		if !saved {
			return
		}
		for _, f := range after {
			f()
		}
		for _, b := range books {
			k.save(context.WithoutCancel(ctx), b)
			k.index(b)
		}
	}
}

// saving is Saving for one book; what it gives is to be done once the notebook is saved.
func (k *Keeper) saving(ctx context.Context, b *book, path string, nb *nbformat.Notebook) (after []func()) {
	if !k.open(ctx, b) {
		return nil
	}
	defer b.mu.Unlock()
	b.touched = time.Now()
	then := func(f func()) {
		after = append(after, func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			f()
		})
	}
	for _, x := range slices.Clone(b.order) {
		cell, p, ok := x.find(path, nb)
		switch {
		case p.Over || !x.begun():
			continue
		case !ok && x.Places[path] != nil:
			then(func() { b.giveUp(x, path) })
			continue
		case !ok:
			continue
		}
		if id := cell.ID(); id != "" && id != p.Cell {
			then(func() { p.Cell = id }) // the page gave ids to the cells of an older notebook
		}
		switch b.judgeSaved(x, p, cell, k.cfg.Asleep) {
		case stale:
			b.give(x, cell, folding)
			then(func() { x.Shown = true }) // until that page is gone, it may save its older outputs again
		case cleared:
			then(func() { b.clearAt(x, path) })
		case over:
			then(func() { b.giveUp(x, path) })
		case same:
			x.remember(x.Digest)
		}
	}
	return after
}

// Moved is told that a file or a folder has another path now.
func (k *Keeper) Moved(from, to string) {
	for _, b := range k.all() {
		b.mu.Lock()
		for i, p := range b.Paths {
			if now, ok := moved(p, from, to); ok {
				b.Paths[i] = now
			}
		}
		for _, x := range b.order {
			for p, at := range x.Places {
				if now, ok := moved(p, from, to); ok {
					delete(x.Places, p)
					x.Places[now] = at
					x.dirty, b.due = true, true
				}
			}
		}
		b.mu.Unlock()
		k.index(b)
	}
}

func moved(path, from, to string) (string, bool) {
	if path == from {
		return to, true
	}
	if rest, ok := strings.CutPrefix(path, from+"/"); ok {
		return to + "/" + rest, true
	}
	return path, false
}

// Deleted is told that a file or a folder is gone.
func (k *Keeper) Deleted(path string) { k.abandon(path, func(*execution) bool { return true }) }

// Restored is told that a notebook has been set back to its checkpoint: what had ended before is not wanted.
func (k *Keeper) Restored(path string) {
	k.abandon(path, func(x *execution) bool { return x.State == ended })
}

// abandon ends the part of executions in notebooks at or below a path.
func (k *Keeper) abandon(path string, which func(*execution) bool) {
	for _, b := range k.all() {
		b.mu.Lock()
		for _, x := range slices.Clone(b.order) {
			for p := range x.Places {
				if _, below := moved(p, path, ""); below && which(x) {
					b.giveUp(x, p)
					b.due = true
				}
			}
		}
		b.mu.Unlock()
		k.index(b)
	}
}

// all gives the books that have executions.
func (k *Keeper) all() []*book {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []*book
	for b := range k.indexed {
		list = append(list, b)
	}
	return list
}
