package kernel

import (
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/nbserv/nbserv/internal/fault"
)

// SpecsConfig says where kernelspecs are looked for. The zero value with an Environ is Jupyter's own default.
type SpecsConfig struct {
	// Environ is the server's environment ("NAME=value"): PATH, HOME, JUPYTER_PATH and their like.
	Environ []string
	// DataDirs replaces the folders that Environ leads to; kernelspecs are in their "kernels" folders.
	DataDirs []string
	// MoreDirs are searched after those.
	MoreDirs []string
	// DefaultName is the kernelspec of those who name none; "" is "python3".
	DefaultName string
	// NoNativeKernel leaves out the kernel of an ipykernel without a kernelspec, which else is "python3"
	// when no other is (Jupyter's ensure_native_kernel).
	NoNativeKernel bool
	// Allowed are the only names to show and start; empty allows all (Jupyter's allowed_kernelspecs).
	Allowed []string
	Log     *slog.Logger // nil is slog.Default()
}

// Specs are the installed kernelspecs. What is installed, changed or removed is seen at the next call, and
// only what changed is read again. Safe for concurrent use.
// https://jupyter-client.readthedocs.io/en/stable/kernels.html#kernel-specs
type Specs struct {
	// immutable
	cfg   SpecsConfig
	log   *slog.Logger
	where func() specPath

	last atomic.Pointer[specSnapshot]

	mu     sync.Mutex
	warned map[string]string // guarded by mu: the last complaint by folder
}

// NewSpecs makes a Specs; nothing is read before the first call.
func NewSpecs(cfg SpecsConfig) *Specs {
	if cfg.DefaultName == "" {
		cfg.DefaultName = nativeSpec
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Specs{
		cfg: cfg, log: cfg.Log, warned: map[string]string{},
		where: sync.OnceValue(func() specPath { return newSpecPath(kernelEnviron(cfg.Environ, nil), cfg.DataDirs, cfg.MoreDirs) }),
	}
}

// Default is the name of the default kernelspec, whether it is installed or not.
func (s *Specs) Default() string { return s.cfg.DefaultName }

// All gives the usable kernelspecs by name. A broken kernel.json is left out and logged once. The map is the
// caller's, what its Specs refer to is not.
func (s *Specs) All() map[string]Spec { return maps.Clone(s.current().specs) }

// Find gives a kernelspec by its name in any case. An unknown or a broken one is NotFound.
func (s *Specs) Find(name string) (Spec, error) {
	return s.find(name, fault.NotFound)
}

// ToStart gives the kernelspec that a request to start a kernel means: "" is the default one and "python"
// another name of "python3", as in jupyter_client. An unknown or a broken one is Unstartable.
func (s *Specs) ToStart(name string) (Spec, error) {
	switch name {
	case "":
		name = s.cfg.DefaultName
	case "python":
		name = nativeSpec
	}
	return s.find(name, fault.Unstartable)
}

func (s *Specs) find(name string, missing fault.Kind) (Spec, error) {
	now := s.current()
	key := strings.ToLower(name)
	if spec, ok := now.specs[key]; ok {
		return spec, nil
	}
	if now.short != nil {
		return Spec{}, fault.Wrap(fault.KindOf(now.short), now.short, "kernelspecs cannot be read now: %s", fault.Message(now.short))
	}
	if err, ok := now.broken[key]; ok {
		return Spec{}, fault.Wrap(missing, err, "kernelspec %q cannot be used: its kernel.json is broken", name)
	}
	return Spec{}, fault.New(missing, "there is no kernelspec %.128q", name)
}

// current is what is installed now; while that cannot be read, what was when it could.
func (s *Specs) current() *specSnapshot {
	if last := s.last.Load(); last.fresh() {
		return last
	}
	now := s.scan()
	if now.short != nil {
		if last := s.last.Load(); last != nil {
			return last
		}
		return now
	}
	s.last.Store(now)
	return now
}

// specSnapshot is what was found at one time. It is immutable.
type specSnapshot struct {
	specs  map[string]Spec
	broken map[string]error
	seen   []fileStamp // of all files and folders that it was made of
	short  error       // descriptors ran out while it was made: it may have less than there is
}

// fresh tells whether reading everything again would give the same.
func (n *specSnapshot) fresh() bool {
	if n == nil {
		return false
	}
	for i := range n.seen {
		if !n.seen[i].holds() {
			return false
		}
	}
	return true
}

// note notes an error of reading, if it is one that says nothing about what was read.
func (n *specSnapshot) note(err error) {
	if fault.OutOfDescriptors(err) {
		n.short = err
	}
}

// look notes the state of a path. It must come before the path is read, so that a later change shows.
func (n *specSnapshot) look(path string) fileStamp {
	st := stampOf(path)
	n.seen = append(n.seen, st)
	return st
}

// scan reads all kernelspecs. The first folder that has a name wins it, even with a broken kernel.json, as in
// jupyter_client.
func (s *Specs) scan() *specSnapshot {
	n := &specSnapshot{specs: map[string]Spec{}, broken: map[string]error{}}
	where := s.where()
	for _, dir := range where.kernelDirs {
		n.look(dir)
		entries, err := os.ReadDir(dir)
		n.note(err)
		if err != nil {
			continue // most of the places are not there
		}
		for _, e := range entries {
			if e.IsDir() || e.Type()&fs.ModeSymlink != 0 {
				s.add(n, strings.ToLower(e.Name()), filepath.Join(dir, e.Name()))
			}
		}
	}
	if _, known := n.specs[nativeSpec]; !known && n.broken[nativeSpec] == nil && !s.cfg.NoNativeKernel {
		for _, site := range where.python.Sites {
			if dir := filepath.Join(site, "ipykernel", "resources"); n.look(dir).mode&unix.S_IFMT == unix.S_IFDIR {
				spec := nativeKernel(dir, where.python)
				spec.Resources = n.resources(dir)
				n.specs[nativeSpec] = spec
				break
			}
		}
	}
	if len(s.cfg.Allowed) > 0 {
		allowed := func(name string) bool {
			return slices.ContainsFunc(s.cfg.Allowed, func(a string) bool { return strings.EqualFold(a, name) })
		}
		maps.DeleteFunc(n.specs, func(name string, _ Spec) bool { return !allowed(name) })
		maps.DeleteFunc(n.broken, func(name string, _ error) bool { return !allowed(name) })
	}
	return n
}

// add reads the kernelspec in the folder dir, if it is one.
func (s *Specs) add(n *specSnapshot, name, dir string) {
	n.look(dir)
	file := filepath.Join(dir, specFile)
	if n.look(file).mode&unix.S_IFMT != unix.S_IFREG {
		return
	}
	if _, known := n.specs[name]; known || n.broken[name] != nil {
		return
	}
	if !specName.MatchString(name) {
		s.warn(dir, "the name of a kernelspec's folder has characters other than letters, digits and . _ -", nil)
		if !utf8.ValidString(dir) {
			return
		}
	}
	spec, err := readSpec(name, dir, file)
	n.note(err)
	if err != nil {
		n.broken[name] = err
		if n.short != nil {
			return
		}
		s.warn(dir, "a broken kernelspec is left out", err)
		return
	}
	spec.Resources = n.resources(dir)
	spec.Prefix, spec.Python = ownPython(dir, s.where().python)
	n.specs[name] = spec
}

// warn logs a complaint about a folder, once until it changes.
func (s *Specs) warn(dir, msg string, err error) {
	text := msg
	if err != nil {
		text += err.Error()
	}
	s.mu.Lock()
	again := s.warned[dir] == text
	s.warned[dir] = text
	s.mu.Unlock()
	if !again {
		s.log.Warn(msg, "path", dir, "err", err)
	}
}

// resources are the files of a kernelspec that clients show.
func (n *specSnapshot) resources(dir string) (found []string) {
	entries, err := os.ReadDir(dir)
	n.note(err)
	for _, e := range entries {
		if name := e.Name(); name == "kernel.js" || name == "kernel.css" || strings.HasPrefix(name, "logo-") {
			found = append(found, name)
		}
	}
	return found
}

// settleTime is how old a change must be before its time stamp tells it from the next one. File systems count
// in steps of up to two seconds (FAT), most of them in milliseconds.
const settleTime = 2 * time.Second

// fileStamp is what tells whether a file or folder was changed.
type fileStamp struct {
	path    string
	settled bool // it was not being changed when we looked
	fileState
}

type fileState struct {
	dev, ino     uint64
	size         int64
	mtime, ctime int64 // ns
	mode         uint32
}

func stampOf(path string) fileStamp {
	st := fileStamp{path: path, fileState: stateOf(path), settled: true}
	if st.mode != 0 {
		st.settled = time.Since(time.Unix(0, max(st.mtime, st.ctime))).Abs() > settleTime // the clock may have been set back
	}
	return st
}

func (f *fileStamp) holds() bool { return f.settled && stateOf(f.path) == f.fileState }

// stateOf is the zero fileState for what is not there. It is os.Stat without its allocations: a list of
// kernelspecs asks for dozens.
func stateOf(path string) fileState {
	var st unix.Stat_t
	for {
		err := unix.Stat(path, &st)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fileState{}
		}
		return fileState{
			dev: uint64(st.Dev), ino: st.Ino, size: st.Size, mode: uint32(st.Mode),
			mtime: unix.TimespecToNsec(st.Mtim), ctime: unix.TimespecToNsec(st.Ctim),
		}
	}
}
