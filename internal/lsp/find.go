package lsp

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nbserv/nbserv/internal/jupyterpath"
)

// places are where language servers are looked for, by looking at files alone: nothing is run. Programs and modules of
// the kernels' Pythons come before those on PATH, since they know what the kernels can import.
//
// One is made for each look.
type places struct {
	env     map[string]string
	pythons []jupyterpath.Python // best first
	nodes   []string             // folders that may have node_modules
	root    string

	roots []string // see nodeRoots
}

// find gives the command of k, or nil when k is not installed.
func (p *places) find(k known) []string {
	for _, py := range p.pythons {
		if k.module != "" && slices.ContainsFunc(py.Sites, func(site string) bool { return isFile(filepath.Join(site, k.module, "__main__.py")) }) {
			return append([]string{py.Exe, "-m", k.module}, k.args...)
		}
	}
	for _, script := range k.scripts {
		file := p.script(script)
		if file == "" {
			continue
		}
		if node := p.program("node", "nodejs"); node != "" {
			return append([]string{node, file}, k.args...)
		}
	}
	if program := p.program(k.programs...); program != "" && (k.needs == nil || k.needs(p, program)) {
		return append([]string{program}, k.args...)
	}
	return nil
}

// program finds the first of names beside a Python or on PATH; "" is none.
func (p *places) program(names ...string) string {
	var dirs []string
	for _, py := range p.pythons {
		dirs = append(dirs, filepath.Dir(py.Exe))
	}
	for _, dir := range append(dirs, filepath.SplitList(p.env["PATH"])...) {
		for _, name := range names {
			file := filepath.Join(dir, name)
			if info, err := os.Stat(file); filepath.IsAbs(dir) && err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				return file
			}
		}
	}
	return ""
}

// script finds a script in a node_modules; "" is none.
func (p *places) script(below string) string {
	for _, root := range p.nodeRoots() {
		if file := filepath.Join(root, "node_modules", filepath.FromSlash(below)); isFile(file) {
			return file
		}
	}
	return ""
}

// nodeRoots are the folders whose node_modules count: those that were configured, the root folder, those of each Python
// (conda has its packages there, and JupyterLab its staging area), and those of npm for the whole machine.
func (p *places) nodeRoots() []string {
	if p.roots != nil {
		return p.roots
	}
	roots := append(slices.Clone(p.nodes), p.root)
	for _, py := range p.pythons {
		roots = append(roots, filepath.Join(py.Prefix, "share", "jupyter", "lab", "staging"), filepath.Join(py.Prefix, "lib"), py.Prefix)
	}
	for _, prefix := range p.npmPrefixes() {
		roots = append(roots, filepath.Join(prefix, "lib"))
	}
	roots = slices.DeleteFunc(roots, func(dir string) bool { return !filepath.IsAbs(dir) || !isDir(filepath.Join(dir, "node_modules")) })
	p.roots = append([]string{}, roots...)
	return p.roots
}

// npmPrefixes are where `npm install -g` may have put packages: where it was told to, where npm is, and Debian's places.
func (p *places) npmPrefixes() []string {
	prefixes := []string{p.env["NPM_CONFIG_PREFIX"], p.env["npm_config_prefix"]}
	if rc, err := os.ReadFile(filepath.Join(p.env["HOME"], ".npmrc")); err == nil {
		for line := range strings.Lines(string(rc)) {
			if key, value, ok := strings.Cut(line, "="); ok && strings.TrimSpace(key) == "prefix" {
				home := strings.Replace(strings.Trim(strings.TrimSpace(value), `"'`), "${HOME}", p.env["HOME"], 1)
				prefixes = append(prefixes, strings.Replace(home, "~", p.env["HOME"], 1))
			}
		}
	}
	if npm := p.program("npm"); npm != "" {
		prefixes = append(prefixes, filepath.Dir(filepath.Dir(npm)))
	}
	return append(prefixes, "/usr/local", "/usr")
}

// hasRLanguageServer looks for R's package in the libraries of R: those of the environment, the user's, and those of the
// installation that Rscript belongs to.
func hasRLanguageServer(p *places, rscript string) bool {
	var libraries []string
	for _, name := range []string{"R_LIBS", "R_LIBS_USER", "R_LIBS_SITE"} {
		libraries = append(libraries, filepath.SplitList(p.env[name])...)
	}
	if real, err := filepath.EvalSymlinks(rscript); err == nil {
		prefix := filepath.Dir(filepath.Dir(real))
		libraries = append(libraries, filepath.Join(prefix, "lib", "R", "library"), filepath.Join(prefix, "lib64", "R", "library"), filepath.Join(prefix, "library"))
	}
	libraries = append(libraries, "/usr/local/lib/R/site-library", "/usr/lib/R/site-library", "/usr/lib/R/library", "/usr/lib64/R/library")
	users, _ := filepath.Glob(filepath.Join(p.env["HOME"], "R", "*", "*"))
	return slices.ContainsFunc(append(libraries, users...), func(dir string) bool {
		return filepath.IsAbs(dir) && isFile(filepath.Join(dir, "languageserver", "DESCRIPTION"))
	})
}

// hasJuliaLanguageServer looks for LanguageServer among the packages of Julia's default environments.
func hasJuliaLanguageServer(p *places, _ string) bool {
	depots := filepath.SplitList(p.env["JULIA_DEPOT_PATH"])
	if len(depots) == 0 {
		depots = []string{filepath.Join(p.env["HOME"], ".julia")}
	}
	for _, depot := range depots {
		projects, _ := filepath.Glob(filepath.Join(depot, "environments", "v*", "Project.toml"))
		for _, project := range projects {
			if text, err := os.ReadFile(project); err == nil && strings.Contains(string(text), "\nLanguageServer = ") {
				return true
			}
		}
	}
	return false
}

// schema is the JSON schema of a language server's settings, from the installed jupyter_lsp; nil is none.
func (p *places) schema(key string) []byte {
	for _, py := range p.pythons {
		for _, site := range py.Sites {
			if raw, err := os.ReadFile(filepath.Join(site, "jupyter_lsp", "specs", "config", key+".schema.json")); err == nil {
				return raw
			}
		}
	}
	return nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
