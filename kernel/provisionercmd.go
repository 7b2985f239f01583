package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/nbserv/nbserv/internal/fault"
)

// plainPython is an argv[0] that means "the Python this kernelspec was installed with".
var plainPython = regexp.MustCompile(`^python(3(\.[0-9]+)?)?$`)

var argvField = regexp.MustCompile(`\{([A-Za-z0-9_]+)\}`)

// command fills in the kernelspec's argv and finds the program. Fields it does not know stay as they are, as
// in jupyter_client.
func (l *Local) command(a Launch) (argv []string, path string, err error) {
	if len(a.Spec.Argv) == 0 {
		return nil, "", fault.New(fault.Unstartable, "kernelspec %s cannot start: its argv is empty", a.Spec.Name)
	}
	fields := map[string]string{"connection_file": a.ConnectionFile, "resource_dir": a.Spec.Dir}
	if a.Spec.Prefix != "" {
		fields["prefix"] = a.Spec.Prefix
	}
	argv = slices.Clone(a.Spec.Argv)
	if plainPython.MatchString(argv[0]) && a.Spec.Python != "" {
		argv[0] = a.Spec.Python
	}
	for i, arg := range argv {
		arg = l.expandHome(arg)
		argv[i] = argvField.ReplaceAllStringFunc(arg, func(f string) string {
			if v, ok := fields[f[1:len(f)-1]]; ok {
				return v
			}
			return f
		})
	}
	// The client's PATH is for the kernel to use, not for finding the kernel (S11).
	path, err = lookPath(argv[0], l.specEnv(a.Spec, nil)["PATH"], a.Cwd)
	if err != nil {
		return nil, "", startFault(err, a.Spec)
	}
	return argv, path, nil
}

// expandHome replaces a leading ~ by the home folder.
func (l *Local) expandHome(arg string) string {
	if home := (*l.environ.Load())["HOME"]; home != "" && (arg == "~" || strings.HasPrefix(arg, "~/")) {
		return home + arg[1:]
	}
	return arg
}

// lookPath finds the program that file names: as it is when it has a slash, relative to the kernel's working
// folder, else in the folders of path. Relative folders there are skipped: they would depend on the server's
// own working folder.
func lookPath(file, path, cwd string) (string, error) {
	if strings.Contains(file, "/") {
		abs := file
		if !filepath.IsAbs(file) {
			abs = filepath.Join(cwd, file)
		}
		return abs, executable(abs)
	}
	var denied error
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			continue
		}
		abs := filepath.Join(dir, file)
		err := executable(abs)
		if err == nil {
			return abs, nil
		}
		if errors.Is(err, syscall.EACCES) {
			denied = err
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", fmt.Errorf("%s: %w", file, exec.ErrNotFound)
}

// executable says why a file cannot be run, as far as its mode tells.
func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: %w", path, exec.ErrNotFound)
	case err != nil:
		return err
	case info.IsDir(), info.Mode()&0o111 == 0:
		return &os.PathError{Op: "exec", Path: path, Err: syscall.EACCES}
	}
	return nil
}
