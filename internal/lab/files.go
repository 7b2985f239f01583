package lab

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// replaceFile writes a file as a whole: a reader sees the old one or the new one, and what was written survives a crash
// (P2, P7). It makes the folders it needs.
func replaceFile(path string, content []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".nbserv-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}
	return syncDir(dir)
}

// removeFile removes a file for good.
func removeFile(path string) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes what changed in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// readAtMost reads a regular file of at most limit bytes.
func readAtMost(f *os.File, info fs.FileInfo, limit int64) ([]byte, error) {
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("not a regular file of at most %d bytes", limit)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// fileTimes are a file's times as jupyterlab_server writes them: of its contents and of its inode, which the peer calls
// its creation. They are nil when the system does not tell.
func fileTimes(f *os.File) (modified, created *string) {
	const format = "2006-01-02T15:04:05.000000+00:00"
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return nil, nil
	}
	m := time.Unix(st.Mtim.Unix()).UTC().Format(format)
	c := time.Unix(st.Ctim.Unix()).UTC().Format(format)
	return &m, &c
}
