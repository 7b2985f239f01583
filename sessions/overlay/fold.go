package overlay

import (
	"context"
	"slices"
	"time"

	"github.com/nbserv/nbserv/contents/nbformat"
	"github.com/nbserv/nbserv/internal/fault"
)

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
	if ctx.Err() != nil {
		return
	}
	gone := fault.KindOf(err) == fault.NotFound && err != nil
	if err != nil && !gone {
		k.log.Warn("cannot write outputs into a notebook's file; they stay with the server", "path", path, "err", err)
	}
	for _, b := range books {
		b.mu.Lock()
		for _, x := range slices.Clone(b.order) {
			if p := x.Places[path]; (err == nil || gone) && x.State == ended && p != nil && !p.Over {
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
