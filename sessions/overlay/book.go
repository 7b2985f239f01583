package overlay

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nbserv/nbserv/kernel"
)

// book is what is known of one kernel.
type book struct {
	kernel string // immutable

	// writing is held while the database is brought up to date: one at a time, so that the newest is the last.
	writing sync.Mutex
	stored  bool // guarded by writing: the database has the book

	mu sync.Mutex // guards what follows, and the executions
	notes
	byID    map[string]*execution
	order   []*execution // by Seq
	dropped []string     // message ids that the database still has
	gap     uint64       // the number of the last entry that was missing
	news    bool         // something has ended since the files were last looked at
	read    int          // bytes of the journal since the database was last written
	due     bool         // the database should be written soon
	notYet  time.Time    // but not before, because that has failed
	visited bool         // somebody reads a notebook, whoever asked for what he sees
	// moved is closed when At moves on or the kernel is not followed any more; nil while nobody waits.
	moved chan struct{}
	// left says of client sessions whether they said goodbye when they went last; the journal tells only that they went.
	left map[string]bool
	// touched is when a page last read or saved one of the notebooks, or went away.
	touched time.Time
	resting map[string]time.Time // until when nothing is written to a notebook, after that has failed

	// guarded by the Keeper's mu
	following bool
	known     bool   // this process has looked at it
	departed  uint64 // Status.Departed when it was followed last
	heard     uint64 // Status.Departed as last heard of
}

// notes are what is written down of a book.
type notes struct {
	At kernel.Position `json:"at"` // up to where the journal was read
	// Paths are the notebooks of the kernel's sessions, as they were last.
	Paths []string         `json:"paths"`
	Pages map[string]*page `json:"pages"`
	Gone  bool             `json:"gone,omitempty"` // the kernel is no more
}

// page is a client session that was seen at the kernel.
type page struct {
	Here  bool      `json:"here"`
	Since time.Time `json:"since"` // since when it is here, or is not
	// Left says that it went with a goodbye: it is closed, not asleep.
	Left bool `json:"left,omitempty"`
}

// maxPages bounds the client sessions that a book knows; those that went first are forgotten first.
const maxPages = 256

func newBook(kernel string) *book {
	return &book{kernel: kernel, byID: map[string]*execution{}, left: map[string]bool{}, resting: map[string]time.Time{}, notes: notes{Pages: map[string]*page{}}}
}

// add puts an execution in. mu is held, as for all that follow.
func (b *book) add(x *execution) {
	b.byID[x.ID] = x
	i, _ := slices.BinarySearchFunc(b.order, x.Seq, func(o *execution, seq uint64) int {
		if o.Seq < seq {
			return -1
		}
		return 1
	})
	b.order = slices.Insert(b.order, i, x)
}

// drop forgets an execution.
func (b *book) drop(x *execution) {
	if b.byID[x.ID] != x {
		return
	}
	delete(b.byID, x.ID)
	b.order = slices.DeleteFunc(b.order, func(o *execution) bool { return o == x })
	b.dropped, b.due = append(b.dropped, x.ID), true
}

func (b *book) isHere(session string) bool {
	p := b.Pages[session]
	return p != nil && p.Here
}

// came notes that a client session is here.
func (b *book) came(session string) {
	now := time.Now()
	for _, x := range b.order {
		if !x.First.IsZero() && now.Before(x.EmptyUntil) {
			x.Witnesses, x.dirty = append(x.Witnesses, session), true
		}
	}
	b.Pages[session] = &page{Here: true, Since: now}
	if len(b.Pages) > maxPages {
		b.forgetPage()
	}
}

// forgetPage forgets the one that went first; all are here otherwise, and stay.
func (b *book) forgetPage() {
	first := ""
	for s, p := range b.Pages {
		if !p.Here && (first == "" || p.Since.Before(b.Pages[first].Since)) {
			first = s
		}
	}
	delete(b.Pages, first)
}

// went notes that a client session is not here any more.
func (b *book) went(session string) {
	p := b.Pages[session]
	switch {
	case p == nil:
		p = &page{}
		b.Pages[strings.Clone(session)] = p
	case !p.Here: // known already, from the kernel's status
		return
	}
	*p = page{Since: time.Now(), Left: b.left[session]}
	b.touched = time.Now()
}

// allWent notes that nobody is here: a kernel host that died could not write it down.
func (b *book) allWent() {
	for s, p := range b.Pages {
		if p.Here {
			b.went(s)
		}
	}
}

// alive says whether a page is here, or may come back because it went without a goodbye.
func (p *page) alive(asleep time.Duration) bool {
	return p.Here || !p.Left && time.Since(p.Since) < asleep
}

// witness notes who was there before x's first output, which has just come.
func (b *book) witness(x *execution) {
	x.Witnesses = x.Witnesses[:0]
	for s, p := range b.Pages {
		if p.Left || s == x.Session && p.Here {
			continue
		}
		x.Witnesses = append(x.Witnesses, s)
	}
}

// wanted says whether x has to be kept: its page is not there, or another one has seen it.
func (b *book) wanted(x *execution) bool { return x.Shown || !b.isHere(x.Session) }

// anyWanted says whether there is a reason to follow the kernel.
func (b *book) anyWanted() bool { return slices.ContainsFunc(b.order, b.wanted) }

// rest lets go of what is not wanted, before the kernel is not followed any more, and sets the place to go on from
// back to the first of it: its page may still go.
func (b *book) rest() {
	for _, x := range slices.Clone(b.order) {
		b.At.Seq = min(b.At.Seq, x.Seq-1)
		b.drop(x)
	}
}

// wake tells those who wait for the journal to be read. mu is held.
func (b *book) wake() {
	if b.moved != nil {
		close(b.moved)
		b.moved = nil
	}
}
