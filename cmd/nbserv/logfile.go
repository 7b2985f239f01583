package main

import (
	"io"
	"os"
	"sync"
)

// maxLogBytes bounds a log file; as much again is kept of what was before, beside it.
const maxLogBytes = 1 << 20

// logFile is a log of bounded size: beyond maxLogBytes its contents become FILE.1, and it begins anew. It stays the
// same file, so that what the Go runtime writes to standard error when a process crashes lands there, too.
type logFile struct {
	mu   sync.Mutex
	f    *os.File
	size int64
}

func openLog(path string) (*logFile, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &logFile{f: f, size: info.Size()}, nil
}

func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > 0 && l.size+int64(len(b)) > maxLogBytes {
		l.turn()
	}
	n, err := l.f.Write(b)
	l.size += int64(n)
	return n, err
}

// turn keeps what there is in FILE.1 and empties FILE. What fails leaves the log longer than it should be.
func (l *logFile) turn() {
	old, err := os.OpenFile(l.f.Name()+".1", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return
	}
	defer old.Close()
	if _, err := io.Copy(old, io.NewSectionReader(l.f, 0, 2*maxLogBytes)); err != nil {
		return
	}
	if l.f.Truncate(0) == nil {
		l.size = 0
	}
}

func (l *logFile) Close() error { return l.f.Close() }
