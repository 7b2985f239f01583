package contents

import (
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Listing is built for directories of 100,000 entries: one fstatat an entry and no path lookup, JSON appended
// by hand, two goroutines when there is enough to share.

// listChunk is how many entries one goroutine takes at a time. A directory below it is listed by the caller
// alone.
const listChunk = 2048

// entryBytes is about what one entry takes as JSON.
const entryBytes = 320

// hideGlobs are jupyter_server's: listed by nobody, though they can be opened by name.
func hideFromListing(name string) bool {
	return name == "__pycache__" || name == ".DS_Store" || strings.HasSuffix(name, "~") ||
		strings.HasSuffix(name, ".pyc") || strings.HasSuffix(name, ".pyo")
}

// listing is the content of a directory's model.
type listing struct {
	dir  *Dir
	path Path
	file *os.File
}

func (l *listing) Close() error { return l.file.Close() }

// WriteJSON writes the array of entries. Names that vanish meanwhile, that may not be looked at, or that are
// not UTF-8 (no API path can name them) are left out.
func (l *listing) WriteJSON(w io.Writer) error {
	names, err := l.file.Readdirnames(-1)
	if err != nil {
		return l.dir.fault(err, l.path)
	}
	e := newEntries(l)
	if len(names) > listChunk {
		return e.stream(w, names)
	}
	b := e.appendAll(make([]byte, 0, 64+len(names)*entryBytes), names)
	if len(b) == 0 {
		b = append(b, '[')
	}
	b[0] = '[' // instead of the first entry's comma
	_, err = w.Write(append(b, ']'))
	return err
}

// entries turns names of one directory into JSON. Safe for concurrent use.
type entries struct {
	list     *listing
	fd       int
	prefix   string // API path of the directory, with a slash when not empty
	euid     uint32
	readOnly bool // the file system
}

func newEntries(l *listing) *entries {
	e := &entries{list: l, fd: int(l.file.Fd()), euid: uint32(os.Geteuid())}
	if !l.path.IsRoot() {
		e.prefix = l.path.rel + "/"
	}
	var st unix.Statfs_t
	if unix.Fstatfs(e.fd, &st) == nil {
		e.readOnly = uint64(st.Flags)&readOnlyFlag != 0
	}
	return e
}

// stream writes a long listing: a second goroutine makes every other chunk.
func (e *entries) stream(w io.Writer, names []string) error {
	var chunks [][]string
	for len(names) > 0 {
		n := min(listChunk, len(names))
		chunks, names = append(chunks, names[:n]), names[n:]
	}
	made := make([]chan []byte, len(chunks))
	for i := range made {
		made[i] = make(chan []byte, 1)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	wg.Go(func() {
		for i := 1; i < len(chunks); i += 2 {
			select {
			case <-stop:
				return
			default:
				made[i] <- e.appendAll(make([]byte, 0, len(chunks[i])*entryBytes), chunks[i])
			}
		}
	})
	return e.merge(w, chunks, made)
}

func (e *entries) merge(w io.Writer, chunks [][]string, made []chan []byte) error {
	open := byte('[')
	var own []byte
	for i, names := range chunks {
		b := own[:0]
		if i%2 == 0 {
			own = e.appendAll(b, names)
			b = own
		} else {
			b = <-made[i]
		}
		if len(b) == 0 {
			continue
		}
		b[0], open = open, ','
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	end := "]"
	if open == '[' {
		end = "[]"
	}
	_, err := io.WriteString(w, end)
	return err
}

func (e *entries) appendAll(b []byte, names []string) []byte {
	for _, name := range names {
		b = e.append(b, name)
	}
	return b
}

// append writes a comma and one entry, or nothing.
func (e *entries) append(b []byte, name string) []byte {
	if hideFromListing(name) || strings.HasPrefix(name, reservedPrefix) || !utf8.ValidString(name) {
		return b
	}
	if name[0] == '.' && !e.list.dir.cfg.AllowHidden {
		return b
	}
	var st unix.Stat_t
	if retry(func() error { return unix.Fstatat(e.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) }) != nil {
		return b
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR:
	case unix.S_IFLNK:
		if !e.follow(name, &st) {
			return b
		}
	default:
		return b
	}
	m := describeEntry(e, name, &st)
	b = append(b, ',')
	b = m.appendHead(b)
	b = append(b, "null"...)
	return m.appendTail(b)
}

func describeEntry(e *entries, name string, st *unix.Stat_t) Model {
	m := Model{
		Name:         name,
		Path:         e.prefix + name,
		Type:         typeOf(name, st),
		LastModified: timeOf(st.Mtim),
		Created:      timeOf(createdOf(st)),
		Size:         st.Size,
		Writable:     e.writable(name, st),
	}
	switch m.Type {
	case TypeDirectory:
		m.Size = -1
	case TypeFile:
		m.Mimetype = mimetype(name)
	}
	return m
}

// follow replaces a link's stat by its target's. A broken link keeps its own and is listed, as Jupyter does;
// a loop, a special file and a target that may not be seen are left out.
func (e *entries) follow(name string, st *unix.Stat_t) bool {
	var to unix.Stat_t
	if err := e.list.dir.tree.stat(e.list.path.join(name).local(), &to); err != nil {
		return errors.Is(err, unix.ENOENT)
	}
	*st = to
	return !special(st)
}

// writable asks the system only when mode and owner leave it open.
func (e *entries) writable(name string, st *unix.Stat_t) bool {
	switch {
	case e.readOnly:
		return false
	case e.euid == 0:
		return true
	case st.Uid == e.euid:
		return st.Mode&0o200 != 0
	}
	return unix.Faccessat(e.fd, name, unix.W_OK, 0) == nil
}
