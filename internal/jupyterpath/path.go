// Package jupyterpath finds the folders where Jupyter keeps its files, as jupyter_core does: data, configuration, and
// the Python whose installation counts. It keeps nothing and starts no goroutines.
package jupyterpath

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// Data is the search path for data, in jupyter_core's order: JUPYTER_PATH, then the user's folders and
// those of the Python in use (an environment of the user's own comes before the user's), then the system's.
// https://docs.jupyter.org/en/latest/use/jupyter-directories.html#data-files
func Data(env map[string]string, py Python) []string {
	return search(env, py, env["JUPYTER_PATH"], userDataDir(env), filepath.Join("share", "jupyter"), systemDataDirs(env))
}

// Config is the search path for configuration: JUPYTER_CONFIG_PATH, then as Data does. What users change is written to
// UserConfig. https://docs.jupyter.org/en/latest/use/jupyter-directories.html#configuration-files
func Config(env map[string]string, py Python) []string {
	if env["JUPYTER_NO_CONFIG"] != "" {
		return []string{UserConfig(env)}
	}
	return search(env, py, env["JUPYTER_CONFIG_PATH"], UserConfig(env), filepath.Join("etc", "jupyter"), systemConfigDirs(env))
}

// search puts the folders in order. below is where a prefix has its own.
func search(env map[string]string, py Python, first, user, below string, system []string) []string {
	var dirs []string
	add := func(more ...string) {
		for _, d := range more {
			if d != "" && !slices.Contains(dirs, filepath.Clean(d)) {
				dirs = append(dirs, filepath.Clean(d))
			}
		}
	}
	add(filepath.SplitList(first)...)
	users := []string{user}
	if py.UserSite {
		users = append(users, filepath.Join(userBase(env), below))
	}
	var own []string
	if py.Prefix != "" {
		own = []string{filepath.Join(py.Prefix, below)}
	}
	if len(own) > 0 && slices.Contains(system, own[0]) {
		own = nil // it keeps its place among the system's
	}
	if preferEnv(env, py) {
		users, own = own, users
	}
	add(users...)
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

// UserConfig is the user's own folder for configuration.
func UserConfig(env map[string]string) string {
	home := env["HOME"]
	switch {
	case env["JUPYTER_CONFIG_DIR"] != "":
		return env["JUPYTER_CONFIG_DIR"]
	case !platformDirs(env):
		return filepath.Join(home, ".jupyter")
	case runtime.GOOS == "darwin":
		return filepath.Join(home, "Library", "Application Support", "Jupyter")
	case env["XDG_CONFIG_HOME"] != "":
		return filepath.Join(env["XDG_CONFIG_HOME"], "jupyter")
	}
	return filepath.Join(home, ".config", "jupyter")
}

func systemConfigDirs(env map[string]string) []string {
	if !platformDirs(env) {
		return []string{"/usr/local/etc/jupyter", "/etc/jupyter"}
	}
	if runtime.GOOS == "darwin" {
		return []string{"/Library/Application Support/Jupyter"}
	}
	list := env["XDG_CONFIG_DIRS"]
	if list == "" {
		list = "/etc/xdg"
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
func preferEnv(env map[string]string, py Python) bool {
	if v, ok := env["JUPYTER_PREFER_ENV_PATH"]; ok {
		return isSet(v)
	}
	conda := env["CONDA_PREFIX"] != "" && strings.HasPrefix(py.Prefix, env["CONDA_PREFIX"]) &&
		env["CONDA_DEFAULT_ENV"] != "" && env["CONDA_DEFAULT_ENV"] != "base"
	return (py.Venv || conda) && ownedByUser(py.Prefix)
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
