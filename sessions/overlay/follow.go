package overlay

import (
	"context"
	"slices"
	"time"

	"github.com/nbserv/nbserv/contents/nbformat"
	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

// batch is how many entries are taken from the journal at once.
const batch = 256

// saveEvery is how many bytes of the journal are read at most before the database is brought up to date: what has to
// be read again after a crash.
const saveEvery = 32 << 20

// retryAfter is the pause after a Host could not be reached.
const retryAfter = time.Second

// follow reads a kernel's journal for as long as there is something to keep.
func (k *Keeper) follow(ctx context.Context, b *book) {
	defer func() {
		k.save(ctx, b)
		k.index(b)
		k.forget(b)
		b.mu.Lock()
		b.wake()
		b.mu.Unlock()
	}()
	for {
		err := k.read(ctx, b)
		switch {
		case err == nil:
			return
		case ctx.Err() != nil:
			k.stop(b)
			return
		case fault.KindOf(err) == fault.Gone, fault.KindOf(err) == fault.NotFound:
			k.finish(ctx, b, err)
			k.stop(b)
			return
		}
		k.log.Warn("cannot read a kernel's journal; trying again", "kernel_id", b.kernel, "err", err)
		select {
		case <-time.After(retryAfter):
		case <-ctx.Done():
		}
	}
}

func (k *Keeper) stop(b *book) {
	k.mu.Lock()
	defer k.mu.Unlock()
	b.following = false
}

// read takes the journal's entries from where b stands; nil says that there is nothing to keep any more.
func (k *Keeper) read(ctx context.Context, b *book) error {
	if err := k.load(ctx, b, unfinished); err != nil {
		return err
	}
	since := b.At
	b.mu.Unlock()
	c, err := k.host.Attach(b.kernel, kernel.AttachOptions{Observe: true, Since: &since})
	if err != nil {
		return err
	}
	defer c.Detach()
	b.mu.Lock()
	b.At.Epoch = c.Position().Epoch
	b.mu.Unlock()
	k.refresh(b)
	entries := make([]kernel.Entry, batch)
	var target kernel.Status
	for {
		if target.ID == "" || b.reached(target.Position) {
			if stop, err := k.caughtUp(ctx, b, &target); stop || err != nil {
				return err
			}
		}
		n, err := c.Next(ctx, entries)
		if err != nil {
			return err
		}
		if err := k.take(ctx, b, entries[:n]); err != nil {
			return err
		}
		clear(entries[:n])
	}
}

// reached says whether b has read up to p.
func (b *book) reached(p kernel.Position) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.At.Epoch == p.Epoch && b.At.Seq >= p.Seq
}

// take applies entries.
func (k *Keeper) take(ctx context.Context, b *book, entries []kernel.Entry) error {
	if slices.ContainsFunc(entries, changesDisplays) {
		if err := k.load(ctx, b, withDisplays); err != nil {
			return err
		}
	} else {
		b.mu.Lock()
	}
	asked := false
	for _, e := range entries {
		b.apply(e)
		asked = asked || e.Kind == kernel.Asked
		if e.Message != nil {
			b.read += e.Message.Size()
		}
	}
	b.wake()
	full := b.read >= saveEvery
	b.mu.Unlock()
	if asked {
		k.refresh(b)
	}
	if full {
		k.save(ctx, b)
	}
	return nil
}

// changesDisplays tells the messages that can change what another execution shows.
func changesDisplays(e kernel.Entry) bool {
	return e.Message != nil && (e.Message.Header.MsgType == "update_display_data" || e.Message.Header.MsgType == "display_data")
}

// caughtUp looks after the files when something has ended, and decides whether to go on; target is what to catch up
// with next.
func (k *Keeper) caughtUp(ctx context.Context, b *book, target *kernel.Status) (stop bool, err error) {
	before := *target
	if *target, err = k.host.Get(b.kernel); err != nil {
		return false, err
	}
	if before.ID == "" && !b.reached(target.Position) {
		return false, nil
	}
	b.mu.Lock()
	if target.Connections == 0 {
		b.allWent()
	}
	if target.ExecutionState == kernel.StateDead && b.At.Seq >= target.Position.Seq {
		b.close(target.Reason)
	}
	calm := b.news && !slices.ContainsFunc(b.order, unfinished) // else it is done now and then, by sweep
	b.mu.Unlock()
	if calm {
		k.settle(ctx, b)
		k.save(ctx, b)
	}
	return b.reached(target.Position) && k.unfollow(b, *target), nil
}

// unfollow ends the following of a kernel for which there is no reason any more.
func (k *Keeper) unfollow(b *book, st kernel.Status) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.visited {
		b.visited = false
		for _, x := range b.order {
			x.Shown = x.Shown || x.begun() && (len(x.Places) == 0 || !x.homeless()) // none: its cell was not looked for yet
		}
	}
	if b.anyWanted() || b.heard > st.Departed {
		return false
	}
	b.rest()
	b.departed, b.following = st.Departed, false
	return true
}

// finish ends the book of a kernel that is gone.
func (k *Keeper) finish(ctx context.Context, b *book, why error) {
	if err := k.load(ctx, b, unfinished); err != nil {
		k.log.Error("cannot end what a kernel was asked: its outputs cannot be read", "kernel_id", b.kernel, "err", err)
		return
	}
	b.close(fault.Message(why))
	b.allWent()
	b.Gone = true
	b.mu.Unlock()
	k.settle(ctx, b)
}

// settle looks into the files for what need not be kept: what they have already, what somebody has cleared or
// replaced since, and what has no cell there.
func (k *Keeper) settle(ctx context.Context, b *book) {
	b.mu.Lock()
	b.news = false
	paths := b.notebooks()
	b.mu.Unlock()
	for _, path := range paths {
		err := k.files.EditNotebook(ctx, path, func(nb *nbformat.Notebook, modified time.Time) bool {
			k.merge(ctx, []*book{b}, path, nb, modified, settling)
			return false
		})
		if err != nil && fault.KindOf(err) != fault.NotFound {
			k.log.Warn("cannot look for a cell", "kernel_id", b.kernel, "err", err)
			return // its place may be there
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, x := range slices.Clone(b.order) {
		if x.State == ended && x.homeless() && (len(x.Places) > 0 || !b.isHere(x.Session)) {
			b.drop(x)
		}
	}
}

// homeless says that no notebook has a cell for x.
func (x *execution) homeless() bool {
	for _, p := range x.Places {
		if !p.Over {
			return false
		}
	}
	return true
}
