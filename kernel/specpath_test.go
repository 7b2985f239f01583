package kernel

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/jupyterpath"
)

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

func TestKernelDirs(t *testing.T) {
	w := newSpecPath(map[string]string{"HOME": "/h"}, []string{"/a"}, []string{"/b"})
	require.Equal(t, []string{"/a/kernels", "/b/kernels", "/h/.ipython/kernels"}, w.kernelDirs)
	w = newSpecPath(map[string]string{"HOME": "/h", "IPYTHONDIR": "/i"}, []string{"/a"}, []string{"/b"})
	require.Equal(t, []string{"/a/kernels", "/b/kernels", "/i/kernels"}, w.kernelDirs)
}

func TestSpecsOwnPython(t *testing.T) {
	root := t.TempDir()
	onPath := fakePrefix(t, filepath.Join(root, "path"))
	exe := fakePrefix(t, filepath.Join(root, "env"))
	py := jupyterpath.FindPython(map[string]string{"PATH": filepath.Dir(onPath)})

	prefix, got := ownPython(filepath.Join(root, "env", "share", "jupyter", "kernels", "python3"), py)
	require.Equal(t, filepath.Join(root, "env"), prefix)
	require.Equal(t, exe, got)
	prefix, got = ownPython(filepath.Join(root, "elsewhere", "share", "jupyter", "kernels", "python3"), py)
	require.Equal(t, filepath.Join(root, "path"), prefix)
	require.Equal(t, onPath, got)
}

func TestNativeKernel(t *testing.T) {
	root := t.TempDir()
	exe := fakePrefix(t, root)
	env := []string{"PATH=" + filepath.Dir(exe)}
	s := NewSpecs(SpecsConfig{Environ: env, DataDirs: []string{filepath.Join(root, "share", "jupyter")}})
	require.Empty(t, names(s), "no ipykernel")

	res := filepath.Join(root, "lib", "python3.12", "site-packages", "ipykernel", "resources")
	touch(t, filepath.Join(res, "logo-svg.svg"), "<svg/>")
	spec, err := s.Find("python3")
	require.NoError(t, err)
	require.Equal(t, []string{exe, "-m", "ipykernel_launcher", "-f", "{connection_file}"}, spec.Argv)
	require.Equal(t, []string{"logo-svg.svg"}, spec.Resources)
	require.Equal(t, res, spec.Dir)
	require.Equal(t, IPC, spec.Transport())

	require.Empty(t, names(NewSpecs(SpecsConfig{Environ: env, DataDirs: []string{root}, NoNativeKernel: true})))
	installSpec(t, filepath.Join(root, "share", "jupyter"), "python3", `{"display_name": "installed"}`)
	require.Equal(t, "installed", s.All()["python3"].DisplayName)
}
