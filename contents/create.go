package contents

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/nbserv/nbserv/contents/nbformat"
	"github.com/nbserv/nbserv/internal/fault"
)

// CreateUntitled makes an empty file, notebook or directory in folder and gives it the first free name.
// Concurrent callers get different names. A folder that does not exist is NotFound.
func (d *Dir) CreateUntitled(ctx context.Context, folder Path, t Type, ext string) (*Model, error) {
	if err := d.changeable("create", folder); err != nil {
		return nil, err
	}
	if !d.isDir(folder) {
		return nil, fault.New(fault.NotFound, "no such directory: %q", folder)
	}
	if t == "" {
		t = TypeFile
		if ext == ".ipynb" {
			t = TypeNotebook
		}
	}
	name, insert := d.cfg.UntitledFile+ext, ""
	switch t {
	case TypeDirectory:
		name, insert = d.cfg.UntitledDirectory, " "
	case TypeNotebook:
		name = d.cfg.UntitledNotebook + ".ipynb"
	}
	return d.createFirst(folder, name, insert, func(p Path) error { return d.createEmpty(ctx, p, t) })
}

func (d *Dir) createEmpty(ctx context.Context, p Path, t Type) error {
	if t == TypeDirectory {
		return d.mkdir(p)
	}
	if t == TypeFile {
		return d.createFile(p, func(*draft) error { return nil })
	}
	if err := d.createFile(p, func(t *draft) error { return nbformat.New().WriteFile(t) }); err != nil {
		return err
	}
	d.firstCheckpoint(ctx, p)
	return nil
}

// createFile writes a new file, whole or not at all; one that is there already is fs.ErrExist.
func (d *Dir) createFile(p Path, write func(*draft) error) error {
	t, err := d.newDraft(p)
	if err != nil {
		return err
	}
	defer t.discard()
	if err := write(t); err != nil {
		return err
	}
	return t.commit(true)
}

// createFirst calls create with free names until one of them was still free: name, then with insert and
// 1, 2, … before its extension. Two callers never get one name, because create never replaces.
func (d *Dir) createFirst(folder Path, name, insert string, create func(Path) error) (*Model, error) {
	base, suffix := splitName(name)
	for i := 0; ; i++ {
		n := ""
		if i > 0 {
			n = insert + strconv.Itoa(i)
		}
		p, err := folder.Join(base + n + suffix)
		if err != nil {
			return nil, err
		}
		if err := d.changeable("create", p); err != nil {
			return nil, err
		}
		if d.exists(p) {
			continue
		}
		err = create(p)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, d.fault(err, p)
		}
		return d.stat(p, "")
	}
}

// splitName cuts at the first dot, so that a.tar.gz becomes a-Copy1.tar.gz, but for notebooks at the last.
func splitName(name string) (base, suffix string) {
	i := strings.IndexByte(name, '.')
	if path.Ext(name) == ".ipynb" {
		i = len(name) - len(".ipynb")
	}
	if i < 0 {
		return name, ""
	}
	return name[:i], name[i:]
}
