package kerneltest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// program is the built synthkernel, shared by the tests of a process that need it at the same time.
var program struct {
	sync.Mutex
	dir   string // guarded by Mutex; "" when it is not built
	users int    // guarded by Mutex
}

// BuildProgram builds e2e/synthkernel and gives its path, which is good until t and all other tests that
// asked for it have ended. The working folder must be in this module, as it is in tests.
func BuildProgram(t testing.TB) (path string) {
	t.Helper()
	program.Lock()
	defer program.Unlock()
	if program.users == 0 {
		program.dir = buildProgram(t)
	}
	program.users++
	t.Cleanup(releaseProgram)
	return filepath.Join(program.dir, "synthkernel")
}

func buildProgram(t testing.TB) (dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "synthkernel")
	if err != nil {
		t.Fatalf("kerneltest: %v", err)
	}
	cmd := exec.Command("go", "build", "-o", dir, "github.com/nbserv/nbserv/e2e/synthkernel")
	if out, err := cmd.CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		t.Fatalf("kerneltest: go build: %v\n%s", err, out)
	}
	return dir
}

func releaseProgram() {
	program.Lock()
	defer program.Unlock()
	if program.users--; program.users == 0 {
		os.RemoveAll(program.dir)
		program.dir = ""
	}
}

// WriteSpec writes a kernelspec NAME into a data folder's kernels/ (the folder JUPYTER_PATH would name) that
// runs the synthkernel program with args besides its connection file. It gives the kernelspec's own folder.
// fields overwrite those of kernel.json, such as "interrupt_mode" or "env"; nil for none.
func WriteSpec(t testing.TB, dataDir, name string, fields map[string]any, args ...string) (dir string) {
	t.Helper()
	spec := map[string]any{
		"display_name":   name,
		"language":       "synth",
		"interrupt_mode": "signal",
	}
	if fields["argv"] == nil { // building it takes a while
		spec["argv"] = append([]string{BuildProgram(t), "-f", "{connection_file}"}, args...)
	}
	for k, v := range fields {
		spec[k] = v
	}
	b, err := json.Marshal(spec)
	if err != nil {
		t.Fatalf("kerneltest: %v", err)
	}
	dir = filepath.Join(dataDir, "kernels", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatalf("kerneltest: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kernel.json"), b, 0o644); err != nil {
		t.Fatalf("kerneltest: %v", err)
	}
	return dir
}
