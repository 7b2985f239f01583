package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// packages are what Install installs: the major versions that this package knows.
var packages = []string{"jupyterlab>=4,<5", "notebook>=7,<8"}

// Install installs or upgrades JupyterLab, Jupyter Notebook and more packages, given as pip takes them, with pip into a
// virtual environment at dir, which it makes with the python3 on environ's PATH. What the programs say goes to out.
// A server finds the result when dir is among its Prefixes.
func Install(ctx context.Context, dir string, environ, more []string, out io.Writer) error {
	for _, p := range more {
		if strings.HasPrefix(p, "-") {
			return fmt.Errorf("%q is not the name of a package", p)
		}
	}
	run := func(name string, args ...string) error {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Env, cmd.Stdout, cmd.Stderr = environ, out, out
		return cmd.Run()
	}
	python := filepath.Join(dir, "bin", "python")
	if run(python, "-c", "import pip") != nil { // not made yet, half made, or its Python has gone
		if err := makeVenv(run, dir, environ); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "pip installs %s\n", strings.Join(append(slices.Clone(packages), more...), ", "))
	args := append([]string{"-m", "pip", "install", "--quiet", "--upgrade", "--disable-pip-version-check", "--"}, packages...)
	if err := run(python, append(args, more...)...); err != nil {
		return fmt.Errorf("pip could not install JupyterLab (see above): %w", err)
	}
	return nil
}

func makeVenv(run func(string, ...string) error, dir string, environ []string) error {
	python := lookIn(environ, "python3")
	if python == "" {
		return errors.New("there is no python3 on PATH: install Python 3.10 or newer")
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	if err := run(python, "-m", "venv", "--clear", dir); err != nil {
		return fmt.Errorf("%s cannot make virtual environments (on Debian: apt-get install python3-venv): %w", python, err)
	}
	return nil
}

// lookIn finds a program on environ's PATH.
func lookIn(environ []string, name string) string {
	path := ""
	for _, kv := range environ {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			path = v
		}
	}
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); filepath.IsAbs(dir) && err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file
		}
	}
	return ""
}
