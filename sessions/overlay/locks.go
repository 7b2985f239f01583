package overlay

import "sync"

// pathLocks are locks by path. The zero value is ready.
type pathLocks struct {
	mu   sync.Mutex
	held map[string]*pathLock // guarded by mu
}

type pathLock struct {
	sync.Mutex
	users int // guarded by the pathLocks' mu
}

// lock waits for the lock of a path and gives what unlocks it.
func (l *pathLocks) lock(path string) (unlock func()) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]*pathLock{}
	}
	one := l.held[path]
	if one == nil {
		one = &pathLock{}
		l.held[path] = one
	}
	one.users++
	l.mu.Unlock()
	one.Lock()
	return func() {
		one.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if one.users--; one.users == 0 {
			delete(l.held, path)
		}
	}
}
