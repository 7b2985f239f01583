package overlay

import (
	"slices"
	"time"

	"github.com/nbserv/nbserv/contents/nbformat"
)

// verdict is what becomes of a cell that an execution ran in.
type verdict uint8

const (
	same    verdict = iota // it shows the execution's outputs
	stale                  // it shows something older: the execution's outputs take its place
	cleared                // somebody has cleared it by hand: what the execution has shown so far is to be cleared, too
	over                   // somebody has put something else there: the execution has no part in it any more
)

const (
	// lag is how far a page, or the clock by which a file was written, may be behind a kernel.
	lag = 2 * time.Second
	// catchUp is how long a page that has come back may take to get what it has missed.
	catchUp = 10 * time.Second
	// pageLoad is how long after reading a notebook a page may take to come to its kernel.
	pageLoad = time.Minute
)

// known compares a cell with what is known of x's outputs; ok is false for one without outputs where x has some.
func (x *execution) known(p *place, cell nbformat.Cell) (v verdict, ok bool) {
	switch d := cell.Digest(); {
	case d == x.Digest:
		return same, true
	case d == 0:
		return same, false
	case p.Known && d == p.Before, slices.Contains(x.Earlier, d), cell.IsEarlier(x.outputs):
		return stale, true
	}
	return over, true
}

// judgeFile judges a cell in a notebook's file, which was written at the time modified. mu is held, x has begun and
// its outputs are here.
func (b *book) judgeFile(x *execution, p *place, cell nbformat.Cell, modified time.Time) verdict {
	if x.Delivered && !p.Known && cell.Source() != x.Code {
		return over // the page that ran this has shown it all, and its user has not saved what he ran
	}
	if !p.Known && modified.Before(x.Began) { // nobody has written since: so this is what was there before
		p.Known, p.Before = true, cell.Digest()
		x.dirty = true
	}
	v, ok := x.known(p, cell)
	switch {
	case ok && v == over && p.Known && modified.Before(x.Began):
		return stale
	case ok:
		return v
	case modified.Before(x.Began), x.First.IsZero(), modified.Before(x.First.Add(lag)):
		return stale // there was nothing to show when it was written
	}
	return cleared
}

// judgeSaved judges a cell that a page or a program is about to save. mu is held, x has begun and its outputs are here.
func (b *book) judgeSaved(x *execution, p *place, cell nbformat.Cell, asleep time.Duration) verdict {
	v, ok := x.known(p, cell)
	switch {
	case ok:
		return v
	case b.emptyByHand(x, asleep):
		return cleared
	}
	return stale
}

// emptyByHand tells a page whose user has cleared x's outputs from one that has never had any. A page that is here is
// asked before one that may come back; in doubt the outputs stay.
func (b *book) emptyByHand(x *execution, asleep time.Duration) bool {
	if b.isHere(x.Session) && time.Since(x.First) < lag {
		return false
	}
	here, maybe := false, false
	for s, p := range b.Pages {
		innocent := slices.Contains(x.Witnesses, s)
		if s == x.Session && p.Here && time.Since(p.Since) > catchUp {
			innocent = false // it has been given all that it missed
		}
		switch {
		case innocent && p.Here:
			return false
		case p.Here:
			here = here || x.Seen || s == x.Session
		case innocent && p.alive(asleep):
			maybe = true
		}
	}
	return here || x.Seen && !maybe && !b.anyoneHere()
}

func (b *book) anyoneHere() bool {
	for _, p := range b.Pages {
		if p.Here {
			return true
		}
	}
	return false
}
