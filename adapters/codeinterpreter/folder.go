package codeinterpreter

import (
	"context"
	_ "embed"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/nbserv/nbserv/contents"
	"github.com/nbserv/nbserv/internal/fault"
)

// mount is where code sees the folder of its session.
const mount = "/mnt/data"

// folder is what a session has on the disk: files, which its code sees as /mnt/data, and a home of its own. Whatever
// is in them is the code's, links and special files included: this package goes below them through os.Root only.
type folder struct {
	path string // absolute; immutable
}

func (f folder) files() string { return filepath.Join(f.path, "files") }
func (f folder) home() string  { return filepath.Join(f.path, "home") }

// handOver is the folder in a session's home through which commands and what they say on stderr go.
const handOver = ".nbserv"

//go:embed startup.py
var startupCode string

// kernelConfig has IPython keep the history of its inputs in memory. By default it is a database in the home, which is
// synced to the disk for every execution, and ends with the session all the same.
const kernelConfig = "c = get_config()\nc.HistoryManager.hist_file = ':memory:'\n"

// make makes the folder of a session, with what a Python needs to know, or repairs it. visible is where its code sees
// the files.
func (f folder) make(visible string) error {
	for _, dir := range []string{f.files(), f.home()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fault.OS(err, "the session's folder")
		}
	}
	root, err := os.OpenRoot(f.home())
	if err != nil {
		return fault.OS(err, "the session's home")
	}
	defer root.Close()
	const profile, startup = ".ipython/profile_default", ".ipython/profile_default/startup"
	if err := errors.Join(root.MkdirAll(startup, 0o700), root.MkdirAll(handOver, 0o700)); err != nil {
		return fault.OS(err, "the session's home")
	}
	if err := put(root, profile+"/ipython_kernel_config.py", kernelConfig); err != nil {
		return err
	}
	code := strings.NewReplacer("@FOLDER@", visible, "@MOUNT@", mount).Replace(startupCode)
	return put(root, startup+"/00-nbserv.py", code)
}

// put writes a file anew. What was there is removed first: the session's code may have put anything in its place.
func put(root *os.Root, name, text string) error {
	if err := root.RemoveAll(name); err != nil {
		return fault.OS(err, "the session's home")
	}
	w, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fault.OS(err, "the session's home")
	}
	_, err = io.WriteString(w, text)
	return fault.OS(errors.Join(err, w.Close()), "the session's home")
}

// open gives the files to clients: links lead nowhere outside.
func (f folder) open(maxUpload int64) (*contents.Dir, error) {
	c := contents.DefaultConfig()
	c.RootDir, c.AllowHidden, c.FollowSymlinks = f.files(), true, false
	c.StagingDir = filepath.Join(f.path, "staging") // out of the code's reach
	c.DeleteToTrash, c.AlwaysDeleteDir, c.ForPrograms = false, true, true
	c.MaxUpload, c.MaxUploads, c.MaxStaging = max(maxUpload, contents.DefaultMaxUpload), maxSessionUploads, contents.DefaultMaxStaging
	return contents.New(c)
}

// maxSessionUploads bounds the unfinished uploads of one session (guess).
const maxSessionUploads = 16

// remove removes the folder with all that is in it, also where code has taken away its own rights.
func (f folder) remove() error {
	err := os.RemoveAll(f.path)
	if errors.Is(err, fs.ErrPermission) {
		_ = filepath.WalkDir(f.path, func(p string, e fs.DirEntry, err error) error {
			if e != nil && e.IsDir() {
				_ = os.Chmod(p, 0o700)
			}
			return nil
		})
		err = os.RemoveAll(f.path)
	}
	return err
}

// give writes a file for the session's commands.
func (f folder) give(name, text string) error {
	root, err := os.OpenRoot(f.home())
	if err != nil {
		return fault.OS(err, "the session's home")
	}
	defer root.Close()
	if err := root.MkdirAll(handOver, 0o700); err != nil {
		return fault.OS(err, "the session's home")
	}
	return put(root, handOver+"/"+name, text)
}

// take reads what a command has left, at most limit bytes, its beginning and its end, and removes it. What is not
// there is "".
func (f folder) take(name string, limit int64) string {
	root, err := os.OpenRoot(f.home())
	if err != nil {
		return ""
	}
	defer root.Close()
	name = handOver + "/" + name
	defer func() { _ = root.Remove(name) }()
	r, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer r.Close()
	info, err := r.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	half := limit / 2
	head, _ := io.ReadAll(io.LimitReader(r, half))
	if info.Size() <= limit {
		rest, _ := io.ReadAll(io.LimitReader(r, limit-half))
		return strings.ToValidUTF8(string(head)+string(rest), "\uFFFD")
	}
	tail, _ := io.ReadAll(io.LimitReader(io.NewSectionReader(r, info.Size()-half, half), half))
	cut := "\n… " + strconv.FormatInt(info.Size()-2*half, 10) + " bytes left out …\n"
	return strings.ToValidUTF8(string(head), "") + cut + strings.ToValidUTF8(string(tail), "")
}

// room says whether more bytes fit below the limit of the session's disk, as NoSpace when they do not.
func room(ctx context.Context, files *contents.Dir, more, limit int64) error {
	used, err := files.Usage(ctx, contents.Path{})
	if err != nil {
		return err
	}
	if used.Bytes+more > limit {
		return fault.New(fault.NoSpace, "the session's files have %d bytes, and %d more are beyond its limit of %d", used.Bytes, more, limit)
	}
	return nil
}
