package kernel

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/nbserv/nbserv/internal/jupyterpath"
)

// specName is what jupyter_client calls a valid name. It warns of others and uses them nevertheless.
var specName = regexp.MustCompile(`^[a-z0-9._\-]+$`)

// specPath is where kernelspecs are looked for, and by which Python.
type specPath struct {
	kernelDirs []string // in order: the first one wins
	python     jupyterpath.Python
}

func newSpecPath(env map[string]string, dataDirs, moreDirs []string) specPath {
	py := jupyterpath.FindPython(env)
	if len(dataDirs) == 0 {
		dataDirs = jupyterpath.Data(env, py)
	}
	w := specPath{python: py}
	for _, d := range slices.Concat(dataDirs, moreDirs) {
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

// nativeKernel is the kernelspec of an ipykernel that was installed without one.
func nativeKernel(resources string, py jupyterpath.Python) Spec {
	return Spec{
		Name: nativeSpec, Dir: resources, DisplayName: "Python 3 (ipykernel)", Language: "python", InterruptMode: interruptSignal,
		Argv:     []string{py.Exe, "-m", "ipykernel_launcher", "-f", "{connection_file}"},
		Metadata: json.RawMessage(`{"debugger":true}`), ProtocolVersion: "5.5",
		Python: py.Exe, Prefix: py.Prefix,
	}
}

// ownPython tells which prefix a kernelspec's folder belongs to, PREFIX/share/jupyter/kernels/NAME, and its Python;
// one that belongs to none gets those on PATH.
func ownPython(specDir string, onPath jupyterpath.Python) (prefix, exe string) {
	kernels := filepath.Dir(specDir)
	prefix, ok := strings.CutSuffix(kernels, filepath.FromSlash("/share/jupyter/kernels"))
	if ok {
		for _, name := range []string{"python", "python3"} {
			if exe := filepath.Join(prefix, "bin", name); executable(exe) == nil {
				return prefix, exe
			}
		}
	}
	return onPath.Prefix, onPath.Exe
}
