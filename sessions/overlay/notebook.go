package overlay

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"hash/fnv"
	"slices"
	"strings"
	"time"
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
