package jupyterpath

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Python is a Python installation: what sys.executable and sys.prefix are to Jupyter's own tools. It is found by
// looking at files, as running Python would take a hundred times as long. The zero value is none.
type Python struct {
	Exe      string
	Prefix   string
	Venv     bool
	UserSite bool     // it sees the user's own packages
	Sites    []string // folders of packages
}

// pythonAsk is how long a Python may take that has to be run, because it hides behind a script.
const pythonAsk = 10 * time.Second

// FindPython finds the Python on env's PATH. Only one that hides behind an unknown script is run, for at most 10 s.
func FindPython(env map[string]string) Python {
	for _, dir := range filepath.SplitList(env["PATH"]) {
		if !filepath.IsAbs(dir) {
			continue
		}
		for _, name := range []string{"python3", "python"} {
			exe := filepath.Join(dir, name)
			if !executable(exe) {
				continue
			}
			if py, ok := inspectPython(exe, env); ok {
				py.finish(env)
				return py
			}
		}
	}
	return Python{}
}

// PythonAt tells of the Python whose program is exe, a path or a name on env's PATH; the zero value when it is none.
func PythonAt(exe string, env map[string]string) Python {
	if !filepath.IsAbs(exe) {
		dirs := filepath.SplitList(env["PATH"])
		i := slices.IndexFunc(dirs, func(dir string) bool { return filepath.IsAbs(dir) && executable(filepath.Join(dir, exe)) })
		if i < 0 {
			return Python{}
		}
		exe = filepath.Join(dirs[i], exe)
	}
	py, ok := inspectPython(exe, env)
	if !ok {
		return Python{}
	}
	py.finish(env)
	return py
}

// inspectPython finds the prefix of a Python the way it does itself at start: a pyvenv.cfg beside or above
// the program, else above what the program links to the folder that has the standard library.
func inspectPython(exe string, env map[string]string) (Python, bool) {
	bin := filepath.Dir(exe)
	for _, dir := range []string{bin, filepath.Dir(bin)} {
		if cfg, err := os.ReadFile(filepath.Join(dir, "pyvenv.cfg")); err == nil {
			py := Python{Exe: exe, Prefix: dir, Venv: true, UserSite: venvSetting(cfg, "include-system-site-packages") == "true"}
			if py.UserSite {
				py.Sites = SitePackages(filepath.Dir(venvSetting(cfg, "home")))
			}
			return py, true
		}
	}
	if isScript(exe) {
		if real, ok := pyenvPython(exe, env); ok {
			return inspectPython(real, env)
		}
		return askPython(exe, env)
	}
	real, err := filepath.EvalSymlinks(exe)
	if err != nil {
		return Python{}, false
	}
	for dir := filepath.Dir(real); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if libs, _ := filepath.Glob(filepath.Join(dir, "lib*", "python3*", "os.py")); len(libs) > 0 {
			return Python{Exe: exe, Prefix: dir, UserSite: true}, true
		}
	}
	return askPython(exe, env)
}

// finish adds what depends on the environment.
func (p *Python) finish(env map[string]string) {
	p.UserSite = p.UserSite && env["PYTHONNOUSERSITE"] == "" && env["HOME"] != ""
	sites := filepath.SplitList(env["PYTHONPATH"])
	if p.UserSite {
		sites = append(sites, SitePackages(userBase(env))...)
	}
	sites = append(sites, SitePackages(p.Prefix)...)
	if p.Prefix == "/usr" { // Debian's pip installs to /usr/local
		sites = append(sites, SitePackages("/usr/local")...)
	}
	p.Sites = append(sites, p.Sites...)
}

// SitePackages are the folders of packages of a prefix. Those of another minor version than the Python's are
// among them; few prefixes have two.
func SitePackages(prefix string) []string {
	site, _ := filepath.Glob(filepath.Join(prefix, "lib*", "python3*", "site-packages"))
	dist, _ := filepath.Glob(filepath.Join(prefix, "lib*", "python3*", "dist-packages"))
	return append(site, dist...)
}

// venvSetting reads a line "key = value" of a pyvenv.cfg.
func venvSetting(cfg []byte, key string) string {
	for line := range strings.Lines(string(cfg)) {
		if k, v, ok := strings.Cut(line, "="); ok && strings.TrimSpace(strings.ToLower(k)) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func isScript(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 2)
	_, err = io.ReadFull(f, head)
	return err == nil && string(head) == "#!"
}

// pyenvPython finds what a shim of pyenv would run, from the version that the environment, the working folder
// or pyenv's own file names. https://github.com/pyenv/pyenv#understanding-python-version-selection
func pyenvPython(shim string, env map[string]string) (string, bool) {
	root, isShim := strings.CutSuffix(filepath.Dir(shim), "/shims")
	if !isShim {
		return "", false
	}
	version := env["PYENV_VERSION"]
	if version == "" {
		version = localPyenvVersion(root)
	}
	for _, v := range strings.FieldsFunc(version, func(r rune) bool { return r == ':' || r == '\n' }) {
		exe := filepath.Join(root, "versions", strings.TrimSpace(v), "bin", filepath.Base(shim))
		if executable(exe) {
			return exe, true
		}
	}
	return "", false
}

func localPyenvVersion(root string) string {
	dir, err := os.Getwd()
	for err == nil {
		if v, e := os.ReadFile(filepath.Join(dir, ".python-version")); e == nil {
			return string(v)
		}
		if dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	v, _ := os.ReadFile(filepath.Join(root, "version"))
	return string(v)
}

// askPython runs a Python to learn its prefix: the last resort for shims that we do not know.
func askPython(exe string, env map[string]string) (Python, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), pythonAsk)
	defer cancel()
	cmd := exec.CommandContext(ctx, exe, "-c", "import sys, site\nprint(sys.executable, sys.prefix, sys.base_prefix, site.ENABLE_USER_SITE, sep='\\n')")
	cmd.WaitDelay = time.Second
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	out, err := cmd.Output()
	f := strings.Split(string(bytes.TrimSpace(out)), "\n")
	if err != nil || len(f) != 4 || f[0] == "" {
		return Python{}, false
	}
	return Python{Exe: f[0], Prefix: f[1], Venv: f[1] != f[2], UserSite: f[3] == "True"}, true
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir() && info.Mode()&0o111 != 0
}
