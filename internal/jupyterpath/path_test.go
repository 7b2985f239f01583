package jupyterpath

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// touch writes an executable file and the folders it needs.
func touch(t *testing.T, path, text string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o755))
	return path
}

// fakePrefix lays out a Python installation: a program that is no script, and its standard library.
func fakePrefix(t *testing.T, prefix string) string {
	t.Helper()
	touch(t, filepath.Join(prefix, "lib", "python3.12", "os.py"), "")
	require.NoError(t, os.MkdirAll(filepath.Join(prefix, "lib", "python3.12", "site-packages"), 0o755))
	return touch(t, filepath.Join(prefix, "bin", "python3"), "\x7fELF")
}

func TestData(t *testing.T) {
	if runtime.GOOS == "darwin" {
		t.Skip("the folders have other names on macOS")
	}
	venv, conda := t.TempDir(), t.TempDir()
	plain, inVenv := Python{Prefix: "/opt/py", UserSite: true}, Python{Prefix: venv, Venv: true}
	own := []string{"/usr/local/share/jupyter", "/usr/share/jupyter"}
	for name, c := range map[string]struct {
		env  map[string]string
		py   Python
		want []string
	}{
		"plain": {map[string]string{"HOME": "/h"}, plain,
			append([]string{"/h/.local/share/jupyter", "/opt/py/share/jupyter"}, own...)},
		"no python": {map[string]string{"HOME": "/h"}, Python{}, append([]string{"/h/.local/share/jupyter"}, own...)},
		"the system's python": {map[string]string{"HOME": "/h"}, Python{Prefix: "/usr", UserSite: true},
			append([]string{"/h/.local/share/jupyter"}, own...)},
		"variables": {map[string]string{"HOME": "/h", "JUPYTER_PATH": "/a/:/b::", "JUPYTER_DATA_DIR": "/d", "PYTHONUSERBASE": "/u"}, plain,
			append([]string{"/a", "/b", "/d", "/u/share/jupyter", "/opt/py/share/jupyter"}, own...)},
		"xdg": {map[string]string{"HOME": "/h", "XDG_DATA_HOME": "/x", "PYTHONNOUSERSITE": "1"}, Python{Prefix: "/opt/py"},
			append([]string{"/x/jupyter", "/opt/py/share/jupyter"}, own...)},
		"a venv of the user's": {map[string]string{"HOME": "/h"}, inVenv,
			append([]string{venv + "/share/jupyter", "/h/.local/share/jupyter"}, own...)},
		"a venv, user preferred": {map[string]string{"HOME": "/h", "JUPYTER_PREFER_ENV_PATH": "0"}, inVenv,
			append([]string{"/h/.local/share/jupyter", venv + "/share/jupyter"}, own...)},
		"environment preferred": {map[string]string{"HOME": "/h", "JUPYTER_PREFER_ENV_PATH": "1"}, plain,
			append([]string{"/opt/py/share/jupyter", "/h/.local/share/jupyter"}, own...)},
		"conda": {map[string]string{"HOME": "/h", "CONDA_PREFIX": conda, "CONDA_DEFAULT_ENV": "lab"}, Python{Prefix: conda},
			append([]string{conda + "/share/jupyter", "/h/.local/share/jupyter"}, own...)},
		"conda's base": {map[string]string{"HOME": "/h", "CONDA_PREFIX": conda, "CONDA_DEFAULT_ENV": "base"}, Python{Prefix: conda},
			append([]string{"/h/.local/share/jupyter", conda + "/share/jupyter"}, own...)},
		"platform folders": {map[string]string{"HOME": "/h", "JUPYTER_PLATFORM_DIRS": "1", "XDG_DATA_DIRS": "/x:/y"}, Python{},
			[]string{"/h/.local/share/jupyter", "/x/jupyter", "/y/jupyter"}},
	} {
		require.Equal(t, c.want, Data(c.env, c.py), name)
	}
}

func TestConfig(t *testing.T) {
	if runtime.GOOS == "darwin" {
		t.Skip("the folders have other names on macOS")
	}
	py := Python{Prefix: "/opt/py"}
	system := []string{"/opt/py/etc/jupyter", "/usr/local/etc/jupyter", "/etc/jupyter"}
	for name, c := range map[string]struct {
		env  map[string]string
		want []string
	}{
		"plain":              {map[string]string{"HOME": "/h"}, append([]string{"/h/.jupyter"}, system...)},
		"variables":          {map[string]string{"HOME": "/h", "JUPYTER_CONFIG_PATH": "/a:/b/", "JUPYTER_CONFIG_DIR": "/c"}, append([]string{"/a", "/b", "/c"}, system...)},
		"said twice":         {map[string]string{"HOME": "/h", "JUPYTER_CONFIG_PATH": "/etc/jupyter"}, []string{"/etc/jupyter", "/h/.jupyter", "/opt/py/etc/jupyter", "/usr/local/etc/jupyter"}},
		"the user's alone":   {map[string]string{"HOME": "/h", "JUPYTER_CONFIG_PATH": "/a", "JUPYTER_NO_CONFIG": "1"}, []string{"/h/.jupyter"}},
		"the Python's first": {map[string]string{"HOME": "/h", "JUPYTER_PREFER_ENV_PATH": "yes"}, []string{"/opt/py/etc/jupyter", "/h/.jupyter", "/usr/local/etc/jupyter", "/etc/jupyter"}},
	} {
		require.Equal(t, c.want, Config(c.env, py), name)
	}
}

func TestFindPython(t *testing.T) {
	root := t.TempDir()
	exe := fakePrefix(t, filepath.Join(root, "py"))
	env := map[string]string{"PATH": "relative:" + filepath.Join(root, "missing") + ":" + filepath.Join(root, "py", "bin"), "HOME": "/h"}
	py := FindPython(env)
	require.Equal(t, exe, py.Exe)
	require.Equal(t, filepath.Join(root, "py"), py.Prefix)
	require.Equal(t, []string{filepath.Join(root, "py", "lib", "python3.12", "site-packages")}, py.Sites)
	require.True(t, py.UserSite)
	require.False(t, py.Venv)

	// A link in a common folder leads to where the library is.
	require.NoError(t, os.MkdirAll(filepath.Join(root, "bin"), 0o755))
	require.NoError(t, os.Symlink(exe, filepath.Join(root, "bin", "python3")))
	py = FindPython(map[string]string{"PATH": filepath.Join(root, "bin"), "PYTHONNOUSERSITE": "x", "HOME": "/h"})
	require.Equal(t, filepath.Join(root, "py"), py.Prefix)
	require.False(t, py.UserSite)

	// A venv's program is a link too, and yet the venv is the prefix.
	venv := filepath.Join(root, "venv")
	touch(t, filepath.Join(venv, "pyvenv.cfg"), "home = "+filepath.Join(root, "py", "bin")+"\ninclude-system-site-packages = true\n")
	require.NoError(t, os.MkdirAll(filepath.Join(venv, "bin"), 0o755))
	require.NoError(t, os.Symlink(exe, filepath.Join(venv, "bin", "python")))
	py = FindPython(map[string]string{"PATH": filepath.Join(venv, "bin")})
	require.Equal(t, venv, py.Prefix)
	require.True(t, py.Venv)
	require.Contains(t, py.Sites, filepath.Join(root, "py", "lib", "python3.12", "site-packages"), "the system's packages are seen")

	require.Equal(t, Python{}, FindPython(map[string]string{"PATH": "/nonexistent"}))
}

func TestFindPythonBehindPyenv(t *testing.T) {
	root := t.TempDir()
	exe := fakePrefix(t, filepath.Join(root, "versions", "3.12.1"))
	other := fakePrefix(t, filepath.Join(root, "versions", "mine"))
	shim := touch(t, filepath.Join(root, "shims", "python3"), "#!/bin/sh\nexit 1\n")
	env := map[string]string{"PATH": filepath.Dir(shim)}
	t.Chdir(root)

	require.NoError(t, os.WriteFile(filepath.Join(root, "version"), []byte("3.12.1\n"), 0o644))
	require.Equal(t, exe, FindPython(env).Exe)
	env["PYENV_VERSION"] = "absent:mine"
	require.Equal(t, other, FindPython(env).Exe)
	delete(env, "PYENV_VERSION")
	require.NoError(t, os.WriteFile(filepath.Join(root, ".python-version"), []byte("mine"), 0o644))
	require.Equal(t, other, FindPython(env).Exe)
	require.NoError(t, os.WriteFile(filepath.Join(root, ".python-version"), []byte("system"), 0o644))
	require.Equal(t, Python{}, FindPython(env), "not pyenv's, and no other is on PATH")
}

func TestFindPythonBehindUnknownScript(t *testing.T) {
	root := t.TempDir()
	touch(t, filepath.Join(root, "python3"), "#!/bin/sh\nprintf '/x/bin/python3\\n/x\\n/y\\nFalse\\n'\n")
	py := FindPython(map[string]string{"PATH": root})
	require.Equal(t, "/x/bin/python3", py.Exe)
	require.Equal(t, "/x", py.Prefix)
	require.True(t, py.Venv)
	require.False(t, py.UserSite)
}
