package sessions

import (
	"context"
	"slices"
	"sync"
)

// pathLocks are mutexes by path: first come, first served, and a waiter may give up.
type pathLocks struct {
	mu sync.Mutex
	m  map[string]*pathLock // guarded by mu; only paths that somebody holds or waits for
}

type pathLock struct {
	held  chan struct{} // immutable; takes one token from the holder
	users int           // guarded by pathLocks.mu: the holder and those who wait
}

// lock takes the locks of all paths, in the order of their text so that two renames cannot wait for each
// other. It fails only with ctx's error.
func (l *pathLocks) lock(ctx context.Context, paths ...string) (unlock func(), err error) {
	paths = slices.Compact(slices.Sorted(slices.Values(paths)))
	for i, p := range paths {
		k := l.use(p)
		select {
		case k.held <- struct{}{}:
		case <-ctx.Done():
			l.leave(p)
			l.unlock(paths[:i])
			return nil, ctx.Err()
		}
	}
	return func() { l.unlock(paths) }, nil
}

// tryLock takes the lock of path if nobody holds it.
func (l *pathLocks) tryLock(path string) (unlock func(), ok bool) {
	k := l.use(path)
	select {
	case k.held <- struct{}{}:
		return func() { l.unlock([]string{path}) }, true
	default:
		l.leave(path)
		return nil, false
	}
}

func (l *pathLocks) unlock(paths []string) {
	for _, p := range paths {
		l.mu.Lock()
		k := l.m[p]
		l.mu.Unlock()
		<-k.held
		l.leave(p)
	}
}

func (l *pathLocks) use(path string) *pathLock {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.m[path]
	if k == nil {
		if l.m == nil {
			l.m = map[string]*pathLock{}
		}
		k = &pathLock{held: make(chan struct{}, 1)}
		l.m[path] = k
	}
	k.users++
	return k
}

func (l *pathLocks) leave(path string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := l.m[path]; k.users == 1 {
		delete(l.m, path)
	} else {
		k.users--
	}
}
