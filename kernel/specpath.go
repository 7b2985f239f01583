package kernel

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// specName is what jupyter_client calls a valid name. It warns of others and uses them nevertheless.
var specName = regexp.MustCompile(`^[a-z0-9._\-]+$`)

// specPath is where kernelspecs are looked for, and by which Python.
type specPath struct {
	kernelDirs []string // in order: the first one wins
	python     python
}

func newSpecPath(env map[string]string, dataDirs []string) specPath {
	py := findPython(env)
	if len(dataDirs) == 0 {
		dataDirs = jupyterPath(env, py)
	}
	w := specPath{python: py}
	for _, d := range dataDirs {
		w.kernelDirs = append(w.kernelDirs, filepath.Join(d, "kernels"))
	}
	if home := env["HOME"]; home != "" {
		ipython := env["IPYTHONDIR"]
		if ipython == "" {
			ipython = filepath.Join(home, ".ipython")
		}
		w.kernelDirs = append(w.kernelDirs, filepath.Join(ipython, "kernels"))
	}
	return w
}

// jupyterPath is the search path for data, in jupyter_core's order: JUPYTER_PATH, then the user's folders and
// those of the Python in use (an environment of the user's own comes before the user's), then the system's.
// https://docs.jupyter.org/en/latest/use/jupyter-directories.html#data-files
func jupyterPath(env map[string]string, py python) []string {
	var dirs []string
	add := func(more ...string) {
		for _, d := range more {
			if d != "" && !slices.Contains(dirs, filepath.Clean(d)) {
				dirs = append(dirs, filepath.Clean(d))
			}
		}
	}
	add(filepath.SplitList(env["JUPYTER_PATH"])...)
	user := []string{userDataDir(env)}
	if py.userSite {
		user = append(user, filepath.Join(userBase(env), "share", "jupyter"))
	}
	var own []string
	if py.prefix != "" {
		own = []string{filepath.Join(py.prefix, "share", "jupyter")}
	}
	system := systemDataDirs(env)
	if len(own) > 0 && slices.Contains(system, own[0]) {
		own = nil // it keeps its place among the system's
	}
	if preferEnv(env, py) {
		user, own = own, user
	}
	add(user...)
	add(own...)
	add(system...)
	return dirs
}

// platformDirs tells whether the operating system's own conventions are asked for.
func platformDirs(env map[string]string) bool { return isSet(env["JUPYTER_PLATFORM_DIRS"]) }

func userDataDir(env map[string]string) string {
	home := env["HOME"]
	switch {
	case env["JUPYTER_DATA_DIR"] != "":
		return env["JUPYTER_DATA_DIR"]
	case runtime.GOOS == "darwin" && platformDirs(env):
		return filepath.Join(home, "Library", "Application Support", "Jupyter")
	case runtime.GOOS == "darwin":
		return filepath.Join(home, "Library", "Jupyter")
	case env["XDG_DATA_HOME"] != "":
		return filepath.Join(env["XDG_DATA_HOME"], "jupyter")
	}
	return filepath.Join(home, ".local", "share", "jupyter")
}

func systemDataDirs(env map[string]string) []string {
	if !platformDirs(env) {
		return []string{"/usr/local/share/jupyter", "/usr/share/jupyter"}
	}
	if runtime.GOOS == "darwin" {
		return []string{"/Library/Application Support/Jupyter"}
	}
	list := env["XDG_DATA_DIRS"]
	if list == "" {
		list = "/usr/local/share:/usr/share"
	}
	var dirs []string
	for _, d := range filepath.SplitList(list) {
		dirs = append(dirs, filepath.Join(d, "jupyter"))
	}
	return dirs
}

func userBase(env map[string]string) string {
	if b := env["PYTHONUSERBASE"]; b != "" {
		return b
	}
	return filepath.Join(env["HOME"], ".local")
}

// preferEnv tells whether the Python's folders come before the user's: said so by the user, or a venv or a
// conda environment that belongs to the user.
func preferEnv(env map[string]string, py python) bool {
	if v, ok := env["JUPYTER_PREFER_ENV_PATH"]; ok {
		return isSet(v)
	}
	conda := env["CONDA_PREFIX"] != "" && strings.HasPrefix(py.prefix, env["CONDA_PREFIX"]) &&
		env["CONDA_DEFAULT_ENV"] != "" && env["CONDA_DEFAULT_ENV"] != "base"
	return (py.venv || conda) && ownedByUser(py.prefix)
}

func ownedByUser(path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

// isSet reads a switch in the environment as jupyter_core does.
func isSet(v string) bool {
	return v != "" && !slices.Contains([]string{"no", "n", "false", "off", "0", "0.0"}, strings.ToLower(v))
}

// nativeKernel is the kernelspec of an ipykernel that was installed without one.
func nativeKernel(resources string, py python) Spec {
	return Spec{
		Name: nativeSpec, Dir: resources, DisplayName: "Python 3 (ipykernel)", Language: "python", InterruptMode: interruptSignal,
		Argv:     []string{py.exe, "-m", "ipykernel_launcher", "-f", "{connection_file}"},
		Metadata: json.RawMessage(`{"debugger":true}`), ProtocolVersion: "5.5",
		Resources: specResources(resources), Python: py.exe, Prefix: py.prefix,
	}
}
