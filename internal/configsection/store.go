package configsection

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/nbserv/nbserv/internal/fault"
)

// Section is the content of one section. Values keep their bytes.
type Section map[string]json.RawMessage

// brokenExt is added to the name of a file that could not be read when it is replaced.
const brokenExt = ".broken"

// Store reads sections from several folders and writes them to the user's. Safe for concurrent use.
type Store struct {
	// immutable
	own  string          // absolute
	path func() []string // absolute, the most important first
	log  *slog.Logger

	mu sync.Mutex // held for one read-change-write of a file
}

// New makes a Store that writes to the folder own and reads the folders of path, the most important first, of which own
// is one.
func New(log *slog.Logger, own string, path func() []string) *Store {
	return &Store{own: own, path: path, log: log}
}

// Get is what all folders say of a section; one that nobody wrote is empty.
func (s *Store) Get(name string) (Section, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read(name)
}

func (s *Store) read(name string) (Section, error) { return Read(s.log, name, s.path()) }

// Read is what dirs say of a section, the most important first. In each folder the files of NAME.d, which packages
// install, come before NAME.json. Those that cannot be used are named in the log.
func Read(log *slog.Logger, name string, dirs []string) (Section, error) {
	all := Section{}
	for _, dir := range slices.Backward(dirs) {
		installed, err := filepath.Glob(filepath.Join(dir, name+".d", "*.json"))
		if err != nil {
			return nil, fault.Wrap(fault.Internal, err, "list the section's files")
		}
		for _, file := range append(installed, filepath.Join(dir, name+".json")) {
			one, err := readFile(file)
			if errors.Is(err, errBroken) {
				log.Warn("a file of configuration counts as empty", "path", file, "err", err)
			} else if err != nil {
				return nil, err
			}
			merge(all, one)
		}
	}
	return all, nil
}

// errBroken says that a file is none that holds a section. It counts as empty: a broken one must not lock a frontend out of
// its settings.
var errBroken = errors.New("not a file with a JSON object")

// readFile is empty when there is no file.
func readFile(file string) (Section, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not block
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.OS(err, "the section")
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fault.OS(err, "the section")
	}
	if !info.Mode().IsRegular() {
		return nil, errBroken
	}
	raw, err := io.ReadAll(f)
	if err != nil {
		return nil, fault.OS(err, "the section")
	}
	var one Section
	if len(raw) > 0 && (json.Unmarshal(raw, &one) != nil || one == nil) {
		return nil, errBroken
	}
	return one, nil
}

// Set replaces the user's part of a section.
func (s *Store) Set(name string, content Section) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.readOwn(name); err != nil {
		return err
	}
	return s.write(name, content)
}

// Update merges changes into the user's part of a section, where null deletes, and gives the whole section.
func (s *Store) Update(name string, changes Section) (Section, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	own, err := s.readOwn(name)
	if err != nil {
		return nil, err
	}
	merge(own, changes)
	if err := s.write(name, own); err != nil {
		return nil, err
	}
	return s.read(name)
}

// readOwn reads the user's part of a section, which is to be written. A broken file, in which somebody mistyped, is put
// aside.
func (s *Store) readOwn(name string) (Section, error) {
	file := filepath.Join(s.own, name+".json")
	one, err := readFile(file)
	if errors.Is(err, errBroken) {
		s.log.Warn("a file of configuration that could not be read is kept beside the new one", "path", file+brokenExt, "err", err)
		return Section{}, fault.OS(os.Rename(file, file+brokenExt), "the section")
	}
	own := Section{}
	merge(own, one)
	return own, err
}

// write replaces the section's file as a whole: a reader sees the old one or the new one.
func (s *Store) write(name string, content Section) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(content); err != nil {
		return fault.Wrap(fault.Invalid, err, "the section is not JSON")
	}
	if err := os.MkdirAll(s.own, 0o755); err != nil {
		return fault.OS(err, "the section")
	}
	f, err := os.CreateTemp(s.own, "."+name+"-*")
	if err != nil {
		return fault.OS(err, "the section")
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b.Bytes())
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(s.own, name+".json"))
	}
	if err == nil {
		err = syncDir(s.own)
	}
	return fault.OS(err, "the section")
}

// syncDir makes a rename in dir durable (P2).
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// merge changes into in place: objects merge key by key, null deletes, anything else replaces.
func merge(into, changes Section) {
	for k, v := range changes {
		if string(v) == "null" {
			delete(into, k)
			continue
		}
		into[k] = mergeValue(into[k], v)
		if string(into[k]) == "{}" {
			delete(into, k) // as the reference server does: nothing is left of it
		}
	}
}

func mergeValue(old, change json.RawMessage) json.RawMessage {
	var sub Section
	if json.Unmarshal(change, &sub) != nil {
		return change
	}
	both := Section{}
	if json.Unmarshal(old, &both) != nil || both == nil {
		both = Section{}
	}
	merge(both, sub)
	raw, err := json.Marshal(both)
	if err != nil {
		return change
	}
	return raw
}
