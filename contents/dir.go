package contents

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nbserv/nbserv/internal/fault"
)

// Dir is the files below one root. Safe for concurrent use.
type Dir struct {
	// immutable
	cfg      Config
	root     string // absolute
	tree     tree
	staging  *Staging
	overlays Overlays
	private  []string // Config.Private, without symbolic links
}

// New opens cfg.RootDir. Close releases it.
func New(cfg Config) (*Dir, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	abs, err := filepath.Abs(cfg.RootDir)
	if err != nil {
		return nil, err
	}
	d := &Dir{cfg: cfg, root: abs, tree: following{dir: abs}, overlays: cfg.Overlays}
	if d.overlays == nil {
		d.overlays = noOverlays{}
	}
	if !cfg.FollowSymlinks {
		real, err := filepath.EvalSymlinks(abs)
		if err != nil {
			return nil, err
		}
		root, err := os.OpenRoot(real)
		if err != nil {
			return nil, err
		}
		d.tree = rooted{Root: root, dir: real}
	}
	for _, name := range cfg.Private {
		real, err := filepath.EvalSymlinks(name)
		if err != nil { // one that does not exist hides nothing
			continue
		}
		if top, err := d.tree.real("."); cfg.FollowSymlinks || err == nil && isBelow(real, top) {
			d.private = append(d.private, real)
		}
	}
	d.staging = newStaging(d)
	return d, nil
}

// Close releases the root. Files that were opened stay open.
func (d *Dir) Close() error { return d.tree.Close() }

// Root is the absolute path of the root directory.
func (d *Dir) Root() string { return d.root }

// Staging is where parts of files wait to be whole.
func (d *Dir) Staging() *Staging { return d.staging }

// Run removes abandoned uploads until ctx ends.
func (d *Dir) Run(ctx context.Context) error { return d.staging.Run(ctx) }

// PreferredDir is the API path of the directory where users start.
func (d *Dir) PreferredDir() Path {
	p, _ := d.cfg.preferred() // New has validated it
	return p
}

// KernelDir is the absolute folder, without symbolic links, in which the kernel of the notebook at apiPath
// starts: the path itself when it is a directory, else its nearest parent that exists. An unusable path
// gives the root. Like Jupyter, it does not mind hidden folders.
func (d *Dir) KernelDir(apiPath string) string {
	p, err := ParsePath(apiPath)
	for ; err == nil; p = p.Parent() {
		var st unix.Stat_t
		if d.tree.stat(p.local(), &st) == nil && isDir(&st) {
			if real, err := d.tree.real(p.local()); err == nil {
				return real
			}
		}
		if p.IsRoot() {
			break
		}
	}
	return d.root
}

// visible refuses what is hidden: NotFound, as if it did not exist.
func (d *Dir) visible(p Path) error {
	if p.reserved() || p.Hidden() && !d.cfg.AllowHidden || d.isPrivate(p) {
		return fault.New(fault.NotFound, "file or directory %q does not exist", p)
	}
	return nil
}

// changeable refuses to change what is hidden: Invalid, as Jupyter does.
func (d *Dir) changeable(verb string, paths ...Path) error {
	for _, p := range paths {
		if p.reserved() || p.Hidden() && !d.cfg.AllowHidden || d.isPrivate(p) {
			return fault.New(fault.Invalid, "cannot %s file or directory %q", verb, p)
		}
	}
	return nil
}

// isPrivate says whether p is, or leads into, a private folder.
func (d *Dir) isPrivate(p Path) bool {
	for ; len(d.private) > 0; p = p.Parent() { // what does not exist yet is where its nearest parent is
		if real, err := d.tree.real(p.local()); err == nil {
			return slices.ContainsFunc(d.private, func(dir string) bool { return isBelow(real, dir) })
		}
		if p.IsRoot() {
			break
		}
	}
	return false
}

// holdsPrivate says whether a private folder lies below p.
func (d *Dir) holdsPrivate(p Path) bool {
	if len(d.private) == 0 {
		return false
	}
	real, err := d.tree.real(p.local())
	return err == nil && slices.ContainsFunc(d.private, func(dir string) bool { return isBelow(dir, real) })
}

// isBelow says whether name is dir or lies below it; both are absolute and clean.
func isBelow(name, dir string) bool {
	return name == dir || strings.HasPrefix(name, strings.TrimSuffix(dir, "/")+"/")
}

// Open opens a regular file for reading; a notebook's has its overlay. A directory or a special file is Invalid; a FIFO is refused without
// waiting for its writer.
func (d *Dir) Open(ctx context.Context, p Path) (*os.File, error) {
	if err := d.visible(p); err != nil {
		return nil, err
	}
	f, st, err := d.openMerged(ctx, p)
	if err != nil {
		return nil, err
	}
	if isDir(&st) {
		f.Close()
		return nil, fault.New(fault.Invalid, "%s is a directory", p)
	}
	return f, nil
}

// open opens a regular file or a directory for reading.
func (d *Dir) open(p Path) (*os.File, unix.Stat_t, error) {
	var st unix.Stat_t
	if err := d.tree.stat(p.local(), &st); err != nil {
		return nil, st, d.fault(err, p)
	}
	if special(&st) { // opening it may already do something
		return nil, st, errSpecial(p)
	}
	f, err := d.tree.OpenFile(p.local(), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, st, d.fault(err, p)
	}
	if err = unix.Fstat(int(f.Fd()), &st); err == nil && special(&st) {
		err = errSpecial(p)
	}
	if err != nil {
		f.Close()
		return nil, st, d.fault(err, p)
	}
	return f, st, nil
}

func isDir(st *unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFDIR }

// special is whatever is neither a regular file nor a directory.
func special(st *unix.Stat_t) bool { return !isDir(st) && st.Mode&unix.S_IFMT != unix.S_IFREG }

func errSpecial(p Path) error { return fault.New(fault.Invalid, "%s is not a regular file", p) }

// ordinary is the stat of what p names. A FIFO, a device, a socket, or a link to one is Invalid; nothing at
// all, and a link that must not be followed, is NotFound; a link that leads nowhere is itself an ordinary thing.
func (d *Dir) ordinary(p Path) (unix.Stat_t, error) {
	var st, to unix.Stat_t
	if err := d.tree.lstat(p.local(), &st); err != nil {
		return st, d.fault(err, p)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		err := d.tree.stat(p.local(), &to)
		if errors.Is(err, unix.ENOENT) {
			return st, nil
		}
		if err != nil {
			return st, d.fault(err, p)
		}
		st = to
	}
	if special(&st) {
		return st, errSpecial(p)
	}
	return st, nil
}

// fault names p, never a server path, in what went wrong with it.
func (d *Dir) fault(err error, p Path) error {
	var f *fault.Error
	var errno syscall.Errno
	switch {
	case err == nil, errors.As(err, &f), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENXIO), errors.Is(err, errOutside):
		return fault.Wrap(fault.NotFound, err, "file or directory %q does not exist", p)
	case errors.Is(err, unix.EISDIR):
		return fault.Wrap(fault.Invalid, err, "%s is a directory", p)
	case !errors.As(err, &errno) && isPathError(err):
		// os.Root refuses a link that leads outside with an error that has no name.
		return fault.Wrap(fault.NotFound, err, "file or directory %q does not exist", p)
	}
	return fault.OS(err, what(p))
}

func isPathError(err error) bool {
	var p *fs.PathError
	return errors.As(err, &p) && !errors.Is(err, fs.ErrClosed)
}

func what(p Path) string {
	if p.IsRoot() {
		return "the root directory"
	}
	return "file or directory \"" + p.rel + "\""
}
