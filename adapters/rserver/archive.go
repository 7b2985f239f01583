package rserver

import (
	"archive/zip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nbserv/nbserv/internal/fault"
)

// archiveLimits bound a snapshot, when it is made and when it is loaded.
type archiveLimits struct {
	Files int
	Bytes int64 // of all files together, as they are when they are unpacked
}

// pack writes the files of a working folder and the workspace file, which gets its own name in there, to a new zip at
// target: whole or not at all, and durable. It gives the zip's size. Beyond the limits it is TooLarge.
func pack(ctx context.Context, target, workDir, workspace, workspaceName string, l archiveLimits) (size int64, err error) {
	files, err := list(workDir)
	if err != nil {
		return 0, err
	}
	delete(files, workspaceName) // the workspace's own is the one that counts
	if len(files)+1 > l.Files {
		return 0, fault.New(fault.TooLarge, "a snapshot has at most %d files", l.Files)
	}
	out, err := os.CreateTemp(filepath.Dir(target), ".snapshot-*") // 0600
	if err != nil {
		return 0, fault.OS(err, "the snapshot")
	}
	defer func() {
		_ = out.Close() // a second time where all went well
		if err != nil {
			_ = os.Remove(out.Name())
		}
	}()
	z := &packer{ctx: ctx, zip: zip.NewWriter(out), left: l.Bytes}
	f, err := os.Open(workspace)
	if err != nil {
		return 0, fault.OS(err, "the workspace file")
	}
	if err := z.add(workspaceName, f); err != nil {
		return 0, err
	}
	for _, name := range files.names() {
		f, _, err := openFile(workDir, name)
		if fault.KindOf(err) == fault.NotFound {
			continue // it went away meanwhile
		}
		if err != nil {
			return 0, err
		}
		if err := z.add(name, f); err != nil {
			return 0, err
		}
	}
	if err := errors.Join(z.zip.Close(), out.Sync()); err != nil {
		return 0, fault.OS(err, "the snapshot")
	}
	info, err := out.Stat()
	if err != nil {
		return 0, fault.OS(err, "the snapshot")
	}
	return info.Size(), install(out, target)
}

// install gives a file that was written and synced its name.
func install(f *os.File, target string) error {
	if err := f.Close(); err != nil {
		return fault.OS(err, "the snapshot")
	}
	if err := os.Rename(f.Name(), target); err != nil {
		return fault.OS(err, "the snapshot")
	}
	return syncDir(filepath.Dir(target))
}

// syncDir makes a rename durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fault.OS(err, "the state folder")
	}
	defer func() { _ = d.Close() }()
	return fault.OS(d.Sync(), "the state folder")
}

type packer struct {
	ctx  context.Context
	zip  *zip.Writer
	left int64 // bytes that may still come
}

// add closes f.
func (p *packer) add(name string, f *os.File) error {
	defer func() { _ = f.Close() }()
	if err := p.ctx.Err(); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return fault.OS(err, "a file of the session")
	}
	header := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: info.ModTime()}
	header.SetMode(info.Mode().Perm())
	w, err := p.zip.CreateHeader(header)
	if err != nil {
		return fault.OS(err, "the snapshot")
	}
	n, err := io.Copy(w, io.LimitReader(f, p.left+1))
	if p.left -= n; p.left < 0 {
		return fault.New(fault.TooLarge, "the session's files and objects are larger than what a snapshot may hold")
	}
	return fault.OS(err, "the snapshot")
}

// unpack puts the files of a snapshot into a working folder, over what is there, and the workspace file at workspace. It
// refuses names that lead elsewhere, entries that are no files, and more than the limits, whatever the zip says about
// itself: nothing is written outside of the folder, whatever links are in there (S8).
func unpack(ctx context.Context, source, workDir, workspace, workspaceName string, l archiveLimits) error {
	z, err := zip.OpenReader(source)
	if errors.Is(err, fs.ErrNotExist) {
		return fault.Wrap(fault.NotFound, err, "the snapshot does not exist")
	}
	if err != nil {
		return fault.Wrap(fault.Internal, err, "read a snapshot")
	}
	defer func() { _ = z.Close() }()
	if len(z.File) > l.Files {
		return fault.New(fault.TooLarge, "the snapshot has more than %d files", l.Files)
	}
	for _, f := range z.File {
		if checkFileName(f.Name) != nil || !f.Mode().IsRegular() {
			return fault.New(fault.Invalid, "the snapshot has an entry that is no file of a working folder")
		}
	}
	left := l.Bytes
	for _, f := range z.File {
		if err := ctx.Err(); err != nil {
			return err
		}
		body, err := f.Open()
		if err != nil {
			return fault.Wrap(fault.Internal, err, "read a snapshot")
		}
		limited := &limitReader{body, &left}
		if f.Name == workspaceName {
			err = writeNew(workspace, limited)
		} else {
			err = writeFile(workDir, f.Name, limited)
		}
		_ = body.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// limitReader fails with TooLarge when more comes than is left.
type limitReader struct {
	r    io.Reader
	left *int64
}

func (l *limitReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if *l.left -= int64(n); *l.left < 0 {
		return 0, fault.New(fault.TooLarge, "the snapshot unpacks to more than what one may hold")
	}
	if err != nil && err != io.EOF {
		err = fault.Wrap(fault.Internal, err, "read a snapshot")
	}
	return n, err
}

func writeNew(path string, body io.Reader) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fault.OS(err, "the workspace file")
	}
	_, err = io.Copy(f, body)
	if cerr := f.Close(); err == nil {
		err = fault.OS(cerr, "the workspace file")
	}
	return err
}

// copyFile makes a durable copy: a service's own of a snapshot.
func copyFile(source, target string) (err error) {
	in, err := os.Open(source)
	if err != nil {
		return fault.OS(err, "the snapshot")
	}
	defer func() { _ = in.Close() }()
	out, err := os.CreateTemp(filepath.Dir(target), ".snapshot-*")
	if err != nil {
		return fault.OS(err, "the snapshot")
	}
	defer func() {
		_ = out.Close()
		if err != nil {
			_ = os.Remove(out.Name())
		}
	}()
	if _, err := io.Copy(out, in); err != nil {
		return fault.OS(err, "the snapshot")
	}
	if err := out.Sync(); err != nil {
		return fault.OS(err, "the snapshot")
	}
	return install(out, target)
}
