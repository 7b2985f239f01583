package lab

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nbserv/nbserv/internal/jupyterpath"
)

// genericName is the peer's for an application that does not say what it is called.
const genericName = "JupyterLab Server Application"

// application is one kind of page with its files.
type application struct {
	Name      string // in the title of pages
	Version   string
	Static    string // folder of the files below static/<namespace>/
	Templates string // folder of the page templates
}

// installation is what was found at one time. It is immutable.
type installation struct {
	Lab      *application // nil: there is no JupyterLab
	Notebook *application // nil: there is no Notebook 7, which is never without a Lab

	Schemas, Themes, AppSettings string   // folders
	Extensions                   []string // folders of prebuilt extensions, the most important first
	ConfigDirs                   []string // Jupyter's search path for configuration
	Prefix                       string   // where JupyterLab is installed; "" when its folder does not tell
	Sites                        []string // folders of Python packages
}

// finder looks for JupyterLab.
type finder struct {
	// immutable
	cfg      Config
	env      map[string]string
	prefixes func() []string
	python   func() jupyterpath.Python

	last atomic.Pointer[installation]
}

func newFinder(cfg Config, env map[string]string, prefixes func() []string) *finder {
	if prefixes == nil {
		prefixes = func() []string { return nil }
	}
	return &finder{cfg: cfg, env: env, prefixes: prefixes,
		python: sync.OnceValue(func() jupyterpath.Python { return jupyterpath.FindPython(env) })}
}

// known is what was found last, for the many requests of a page that is open.
func (f *finder) known() *installation {
	if in := f.last.Load(); in != nil {
		return in
	}
	return f.find()
}

// find looks now.
func (f *finder) find() *installation {
	data := jupyterpath.Data(f.env, f.python())
	dir := f.appDir(data)
	share := ""
	in := &installation{
		Schemas:     part(f.cfg.SchemasDir, dir, "schemas"),
		Themes:      part(f.cfg.ThemesDir, dir, "themes"),
		AppSettings: part(f.cfg.AppSettingsDir, dir, "settings"),
		ConfigDirs:  jupyterpath.Config(f.env, f.python()),
		Sites:       f.python().Sites,
	}
	if prefix, ok := strings.CutSuffix(dir, filepath.FromSlash("/share/jupyter/lab")); ok {
		share, in.Prefix = filepath.Dir(dir), prefix
		in.Sites = union(jupyterpath.SitePackages(prefix), in.Sites)
		in.ConfigDirs = union(in.ConfigDirs, []string{filepath.Join(prefix, "etc", "jupyter")})
		data = union(data, []string{share})
	}
	in.Extensions = f.extensionDirs(data)
	static := part(f.cfg.StaticDir, dir, "static")
	if lab := (&application{Name: genericName, Static: static, Templates: cmp.Or(f.cfg.TemplatesDir, static)}); isFile(filepath.Join(lab.Templates, "index.html")) {
		lab.identify()
		in.Lab, in.Notebook = lab, findNotebook(in.Sites)
	}
	f.last.Store(in)
	return in
}

// appDir is Config.Dir if there is one, else the first folder that has a JupyterLab: in Jupyter's folders for data, beside
// the `jupyter` on PATH (which may be a link into an environment of its own), in prefixes.
func (f *finder) appDir(data []string) string {
	if dir := cmp.Or(f.cfg.Dir, f.env["JUPYTERLAB_DIR"]); dir != "" {
		return filepath.Clean(dir)
	}
	for _, d := range data {
		if dir := filepath.Join(d, "lab"); hasLab(dir) {
			return dir
		}
	}
	for _, prefix := range append(f.besideJupyter(), f.prefixes()...) {
		if dir := filepath.Join(prefix, "share", "jupyter", "lab"); hasLab(dir) {
			return dir
		}
	}
	return ""
}

func (f *finder) besideJupyter() (prefixes []string) {
	for _, dir := range filepath.SplitList(f.env["PATH"]) {
		for _, name := range []string{"jupyter-lab", "jupyter"} {
			exe := filepath.Join(dir, name)
			if !filepath.IsAbs(exe) || !isFile(exe) {
				continue
			}
			prefixes = append(prefixes, filepath.Dir(dir))
			if real, err := filepath.EvalSymlinks(exe); err == nil {
				prefixes = append(prefixes, filepath.Dir(filepath.Dir(real)))
			}
		}
	}
	return prefixes
}

func (f *finder) extensionDirs(data []string) []string {
	dirs := f.cfg.OnlyExtensionDirs
	if dirs == nil {
		for _, d := range data {
			dirs = append(dirs, filepath.Join(d, "labextensions"))
		}
	}
	return union(f.cfg.ExtensionDirs, dirs)
}

// Find is the application folder of the JupyterLab that a server with this configuration would serve, or "".
func Find(cfg Config, env map[string]string, prefixes []string) string {
	f := newFinder(cfg, env, func() []string { return prefixes })
	if in := f.find(); in.Lab != nil {
		return filepath.Dir(in.Lab.Static)
	}
	return ""
}

// identify reads what the application calls itself.
func (a *application) identify() {
	raw, err := os.ReadFile(filepath.Join(a.Static, "package.json"))
	if err != nil {
		return
	}
	var pkg struct {
		JupyterLab struct{ Name, Version string } `json:"jupyterlab"`
	}
	if json.Unmarshal(raw, &pkg) == nil {
		a.Name, a.Version = cmp.Or(pkg.JupyterLab.Name, a.Name), pkg.JupyterLab.Version
	}
}

// findNotebook looks for the Python package of Jupyter Notebook 7, which holds its pages. Older ones have no tree.html
// of that kind, nor the folder static/notebook.
func findNotebook(sites []string) *application {
	for _, site := range sites {
		dir := filepath.Join(site, "notebook")
		if !isFile(filepath.Join(dir, "templates", "tree.html")) {
			continue
		}
		a := &application{Name: "Jupyter Notebook", Static: filepath.Join(dir, "static"), Templates: filepath.Join(dir, "templates")}
		if found, _ := filepath.Glob(filepath.Join(site, "notebook-*.dist-info")); len(found) > 0 {
			a.Version = strings.TrimSuffix(strings.TrimPrefix(filepath.Base(found[0]), "notebook-"), ".dist-info")
		}
		if major, _, _ := strings.Cut(a.Version, "."); len(major) == 1 && major < "7" {
			continue
		}
		return a
	}
	return nil
}

func hasLab(dir string) bool { return isFile(filepath.Join(dir, "static", "index.html")) }

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// part is chosen, or a folder of dir where there is one.
func part(chosen, dir, name string) string {
	if chosen == "" && dir != "" {
		return filepath.Join(dir, name)
	}
	return chosen
}

// union is a and what else b has.
func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, x := range b {
		if !slices.Contains(all, x) {
			all = append(all, x)
		}
	}
	return all
}
