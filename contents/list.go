package contents

import (
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Listing is built for directories of 100,000 entries: one fstatat an entry and no path lookup, JSON appended
// by hand, two goroutines when there is enough to share.

// listChunk is how many entries one goroutine takes at a time. A smaller directory is listed by the caller
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
	out := &arrayWriter{w: w, open: '['}
	e := newEntries(l)
	names, err := l.file.Readdirnames(listChunk)
	switch {
	case err != nil && err != io.EOF:
		return l.dir.fault(err, l.path)
	case len(names) < listChunk:
		err = out.write(e.appendAll(nil, names))
	default:
		err = e.stream(out, names)
	}
	if err != nil {
		return l.dir.fault(err, l.path)
	}
	return out.close()
}

// arrayWriter joins runs of entries, each with a comma before it, to one array.
type arrayWriter struct {
	w    io.Writer
	open byte // what comes before the next entry
}

func (a *arrayWriter) write(run []byte) error {
	if len(run) == 0 {
		return nil
	}
	run[0], a.open = a.open, ','
	_, err := a.w.Write(run)
	return err
}

func (a *arrayWriter) close() error {
	end := "]"
	if a.open == '[' {
		end = "[]"
	}
	_, err := io.WriteString(a.w, end)
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

// stream writes a long listing. A second goroutine takes every chunk that this one is too busy for; whoever
// holds the directory reads the next names from it.
func (e *entries) stream(out *arrayWriter, names []string) error {
	dir := make(chan *os.File, 1)
	dir <- e.list.file
	runs, stop := make(chan []byte, 1), make(chan struct{})
	var helperErr error // read after runs is closed
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	wg.Go(func() {
		defer close(runs)
		for {
			names, err := next(dir)
			if len(names) == 0 {
				helperErr = err
				return
			}
			select {
			case runs <- e.appendAll(nil, names):
			case <-stop:
				return
			}
		}
	})
	var own []byte
	for len(names) > 0 {
		own = e.appendAll(own[:0], names)
		if err := out.write(own); err != nil {
			return err
		}
		select {
		case run := <-runs: // nil when the helper has ended
			if err := out.write(run); err != nil {
				return err
			}
		default:
		}
		var err error
		if names, err = next(dir); err != nil {
			return err
		}
	}
	for run := range runs {
		if err := out.write(run); err != nil {
			return err
		}
	}
	return helperErr
}

// next reads some names; none at the end.
func next(dir chan *os.File) ([]string, error) {
	f := <-dir
	defer func() { dir <- f }()
	names, err := f.Readdirnames(listChunk)
	if err == io.EOF {
		err = nil
	}
	return names, err
}

// appendAll appends the names' entries to b, each with a comma before it.
func (e *entries) appendAll(b []byte, names []string) []byte {
	b = slices.Grow(b, len(names)*entryBytes)
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
