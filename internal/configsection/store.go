package configsection

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/nbserv/nbserv/internal/fault"
)

// Section is the content of one section. Values keep their bytes.
type Section map[string]json.RawMessage

// Store reads sections from the folders of Path and writes them to the first. Safe for concurrent use.
type Store struct {
	path []string   // immutable; absolute folders, the most important first
	mu   sync.Mutex // held for one read-change-write of a file
}

// New makes a Store over folders, the most important first: it is the one that is written. There must be one.
func New(path ...string) *Store { return &Store{path: path} }

// Get is what all folders say of a section; one that nobody wrote is empty. In each folder the files of
// NAME.d, which packages install, come before NAME.json, which is the user's.
func (s *Store) Get(name string) (Section, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read(name)
}

func (s *Store) read(name string) (Section, error) {
	all := Section{}
	for _, dir := range slices.Backward(s.path) {
		installed, err := filepath.Glob(filepath.Join(dir, name+".d", "*.json"))
		if err != nil {
			return nil, fault.Wrap(fault.Internal, err, "list the section's files")
		}
		for _, file := range append(installed, filepath.Join(dir, name+".json")) {
			if err := readInto(all, file); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// readInto merges a file into all. A missing or malformed file counts as empty: a broken one must not lock a
// frontend out of its settings.
func readInto(all Section, file string) error {
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fault.OS(err, "the section")
	}
	var one Section
	if json.Unmarshal(raw, &one) == nil {
		merge(all, one)
	}
	return nil
}

// Set replaces the user's part of a section.
func (s *Store) Set(name string, content Section) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.write(name, content)
}

// Update merges changes into the user's part of a section, where null deletes, and gives the whole section.
func (s *Store) Update(name string, changes Section) (Section, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := Section{}
	if err := readInto(own, filepath.Join(s.path[0], name+".json")); err != nil {
		return nil, err
	}
	merge(own, changes)
	if err := s.write(name, own); err != nil {
		return nil, err
	}
	return s.read(name)
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
	if err := os.MkdirAll(s.path[0], 0o755); err != nil {
		return fault.OS(err, "the section")
	}
	f, err := os.CreateTemp(s.path[0], "."+name+"-*")
	if err != nil {
		return fault.OS(err, "the section")
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b.Bytes())
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(s.path[0], name+".json"))
	}
	if err == nil {
		err = syncDir(s.path[0])
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
