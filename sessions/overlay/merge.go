package overlay

import (
	"context"
	"slices"
	"time"

	"github.com/nbserv/nbserv/contents/nbformat"
)

// purpose is why a notebook is looked at.
type purpose uint8

const (
	reading  purpose = iota // for a page or a program
	folding                 // to be written back
	settling                // to find out what has to be kept
	saving                  // a client is about to save it
)

// claim is what an execution has to say of a cell.
type claim struct {
	b       *book
	x       *execution
	began   time.Time
	cell    nbformat.Cell
	outputs []byte // the cell's, in JSON; nil when it has them
	count   int
}

// Merge puts into nb, which was read from path's file as it was written at the time modified, what its file does not
// have yet, and gives the cells that it has changed.
func (k *Keeper) Merge(ctx context.Context, path string, nb *nbformat.Notebook, modified time.Time) []nbformat.Cell {
	return k.merge(ctx, k.at(path), path, nb, modified, reading)
}

func (k *Keeper) merge(ctx context.Context, books []*book, path string, nb *nbformat.Notebook, modified time.Time, why purpose) []nbformat.Cell {
	cells := index(nb)
	var claims []claim
	for _, b := range books {
		claims = append(claims, k.claims(ctx, b, path, cells, modified, why)...)
		k.index(b)
	}
	merged, lost := award(claims)
	for _, c := range lost {
		c.b.mu.Lock()
		c.b.giveUp(c.x, path)
		c.b.mu.Unlock()
	}
	return merged
}

// award gives each cell to the execution that began last, and says which cells it has changed and which executions
// have lost theirs: two kernels, or two cells of an older notebook, may have run what is one cell here.
func award(claims []claim) (merged []nbformat.Cell, lost []claim) {
	slices.SortStableFunc(claims, func(a, b claim) int { return a.began.Compare(b.began) })
	last := map[nbformat.Cell]int{}
	for i, c := range claims {
		if j, ok := last[c.cell]; ok {
			lost = append(lost, claims[j])
		}
		last[c.cell] = i
	}
	for i, c := range claims {
		if last[c.cell] == i && c.outputs != nil && c.cell.SetOutputs(c.outputs, c.count) == nil { // ours parse
			merged = append(merged, c.cell)
		}
	}
	return merged, lost
}

// claims judges the cells of b's executions in a notebook that was read.
func (k *Keeper) claims(ctx context.Context, b *book, path string, cells cells, modified time.Time, why purpose) (list []claim) {
	if !k.open(ctx, b) {
		return nil
	}
	defer b.mu.Unlock()
	for _, x := range slices.Clone(b.order) {
		cell, p, ok := x.find(path, cells)
		if !ok || p.Over || !x.begun() || why == folding && x.State != ended {
			continue
		}
		c := claim{b: b, x: x, began: x.Began, cell: cell, count: x.Count}
		switch v := b.judgeFile(x, p, cell, modified); {
		case v == stale, v == same && x.outputs.HasInput() && !cell.HasInput():
			c.outputs = b.give(x, why)
		case v == same:
			b.isThere(x, p, why)
		case v == cleared:
			b.clearAt(x, path)
			continue
		case v == over:
			b.giveUp(x, path)
			continue
		}
		list = append(list, c)
	}
	return list
}

// give gives x's outputs for a cell. mu is held, as for all that follow.
func (b *book) give(x *execution, why purpose) []byte {
	x.remember(x.Digest)
	x.dirty = true
	if why == reading {
		b.wasRead(x)
	}
	return x.outputs.AppendJSON(nil)
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
	if p := x.Places[path]; p != nil {
		p.Over = true
	}
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
	cells := index(nb)
	var claims []claim
	var after []func()
	for _, b := range books {
		c, f := k.saving(ctx, b, path, cells)
		claims, after = append(claims, c...), append(after, f...)
	}
	_, lost := award(claims)
	for _, c := range lost {
		after = append(after, c.b.locked(func() { c.b.giveUp(c.x, path) }))
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
			k.save(ctx, b)
			k.index(b)
		}
	}
}

// saving judges the cells of b's executions in a notebook that is about to be saved; after is what is to be done once
// it is.
func (k *Keeper) saving(ctx context.Context, b *book, path string, cells cells) (list []claim, after []func()) {
	if !k.open(ctx, b) {
		return nil, nil
	}
	defer b.mu.Unlock()
	b.touched = time.Now()
	then := func(f func()) { after = append(after, b.locked(f)) }
	for _, x := range slices.Clone(b.order) {
		cell, p, ok := x.find(path, cells)
		switch {
		case p.Over || !x.begun():
			continue
		case !ok && x.Places[path] != nil: // deleted
			then(func() { b.giveUp(x, path) })
			continue
		case !ok:
			continue
		}
		if id := cell.ID(); id != "" && id != p.Cell {
			then(func() { p.Cell = id }) // the page gave ids to the cells of an older notebook
		}
		c := claim{b: b, x: x, began: x.Began, cell: cell, count: x.Count}
		switch b.judgeSaved(x, p, cell, k.cfg.Asleep) {
		case stale:
			c.outputs = b.give(x, saving)
			then(func() { x.Shown = true }) // until that page is gone, it may save its older outputs again
		case cleared:
			then(func() { b.clearAt(x, path) })
			continue
		case over:
			then(func() { b.giveUp(x, path) })
			continue
		case same:
			x.remember(x.Digest)
		}
		list = append(list, c)
	}
	return list, after
}

// locked is f with b's mu held.
func (b *book) locked(f func()) func() {
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		f()
	}
}
