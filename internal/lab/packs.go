package lab

import (
	"encoding/json"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The groups of Python's entry points that lead to translations: packages of one language, and extensions with
// languages of their own. https://jupyterlab.readthedocs.io/en/stable/extension/internationalization.html
const (
	packGroup    = "jupyterlab.languagepack"
	packageGroup = "jupyterlab.locale"
)

// entryPoints are those of a group of the Python packages in sites: the folders of their modules by name, the first
// site's first.
func (p *packs) entryPoints(sites []string, group string) map[string]string {
	all := map[string]string{}
	for _, site := range sites {
		for name, dir := range p.installed(site)[group] {
			if all[name] == "" {
				all[name] = dir
			}
		}
	}
	return all
}

// installed reads the entry points of one folder of packages, by group. It reads them again when something was installed
// or removed there.
func (p *packs) installed(site string) map[string]map[string]string {
	info, err := os.Stat(site)
	if err != nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if have, ok := p.sites[site]; ok && have.modified.Equal(info.ModTime()) && time.Since(have.modified) > settle {
		return have.groups
	}
	groups := readEntryPoints(site)
	p.sites[site] = siteEntries{info.ModTime(), groups}
	return groups
}

// readEntryPoints leaves out packages that are installed as links to their sources.
func readEntryPoints(site string) map[string]map[string]string {
	all := map[string]map[string]string{packGroup: {}, packageGroup: {}}
	for _, kind := range []string{"*.dist-info", "*.egg-info"} {
		files, _ := filepath.Glob(filepath.Join(site, kind, "entry_points.txt")) // the pattern is well-formed
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				continue
			}
			for group, names := range all {
				for name, module := range parseEntryPoints(string(raw), group) {
					dir := filepath.Join(site, filepath.FromSlash(strings.ReplaceAll(module, ".", "/")))
					if info, err := os.Stat(dir); err == nil && info.IsDir() {
						names[name] = dir
					}
				}
			}
		}
	}
	return all
}

// parseEntryPoints reads "name = module:object [extras]" lines below [group].
// https://packaging.python.org/en/latest/specifications/entry-points/
func parseEntryPoints(text, group string) map[string]string {
	found := map[string]string{}
	in := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			in = line == "["+group+"]"
			continue
		}
		name, module, ok := strings.Cut(line, "=")
		if !in || !ok || strings.HasPrefix(line, "#") {
			continue
		}
		module = strings.TrimSpace(module)
		if i := strings.IndexAny(module, ": ["); i >= 0 {
			module = module[:i]
		}
		found[strings.TrimSpace(name)] = module
	}
	return found
}

// catalog is a domain's translations: lists of texts by key, and about itself under "".
type catalog = json.RawMessage

// packs reads what translations are installed. Safe for concurrent use.
type packs struct {
	log *slog.Logger

	mu    sync.Mutex
	sites map[string]siteEntries // guarded by mu
	last  texts                  // guarded by mu
}

// siteEntries are the entry points of a folder of packages at one time: folders by name by group.
type siteEntries struct {
	modified time.Time
	groups   map[string]map[string]string
}

// settle is how old a change must be before its time tells it from the next one: file systems count in steps of up to
// two seconds.
const settle = 2 * time.Second

// texts is a catalog that has been read for use by the server itself.
type texts struct {
	path     string
	modified time.Time
	byKey    map[string][]string
}

// languages are the installed language packs.
func (p *packs) languages(in *installation) map[string]string {
	return p.entryPoints(in.Sites, packGroup)
}

// load gives the catalogs of a locale by domain: those of its language pack, and those that extensions bring, where
// they are newer or the pack has none.
func (p *packs) load(in *installation, locale string) map[string]catalog {
	all := map[string]catalog{}
	if dir, ok := p.languages(in)[locale]; ok {
		p.readAll(dir, all)
	}
	for domain, dir := range p.entryPoints(in.Sites, packageGroup) {
		own, ok := p.readOwn(dir, domain, locale)
		if !ok {
			continue
		}
		if theirs, have := all[domain]; have {
			own = mergeCatalogs(theirs, own)
		}
		all[domain] = own
	}
	return all
}

// readAll reads every .json file below dir into all.
func (p *packs) readAll(dir string, all map[string]catalog) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".json" {
			return nil // what cannot be read has no texts
		}
		if c, ok := p.read(path); ok {
			all[strings.TrimSuffix(d.Name(), ".json")] = c
		}
		return nil
	})
}

// readOwn reads the catalog that a package has of its own, in DIR/locale/LOCALE/LC_MESSAGES/DOMAIN.json. The case of the
// locale does not matter.
func (p *packs) readOwn(dir, domain, locale string) (catalog, bool) {
	entries, err := os.ReadDir(filepath.Join(dir, "locale"))
	if err != nil {
		return nil, false
	}
	for _, e := range entries {
		path := filepath.Join(dir, "locale", e.Name(), "LC_MESSAGES", domain+".json")
		if strings.EqualFold(e.Name(), locale) && isFile(path) {
			return p.read(path)
		}
	}
	return nil, false
}

func (p *packs) read(path string) (catalog, bool) {
	raw, err := os.ReadFile(path)
	if err != nil || !isObject(raw) || !json.Valid(raw) {
		p.log.Warn("translations cannot be used", "path", path, "err", err)
		return nil, false
	}
	return raw, true
}

// mergeCatalogs adds a package's own texts to those of a language pack if they are of the same domain and newer.
func mergeCatalogs(pack, own catalog) catalog {
	var both, mine map[string]json.RawMessage
	if json.Unmarshal(pack, &both) != nil || json.Unmarshal(own, &mine) != nil {
		return pack
	}
	var theirs, ours struct{ Domain, Version string }
	_ = json.Unmarshal(both[""], &theirs) // none says nothing
	_ = json.Unmarshal(mine[""], &ours)
	if theirs.Domain != ours.Domain || theirs.Version == "" || !newer(ours.Version, theirs.Version) {
		return pack
	}
	maps.Copy(both, mine)
	return mustJSON(both)
}

// newer compares versions number by number.
func newer(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(as), len(bs)) {
		if x, y := numberAt(as, i), numberAt(bs, i); x != y {
			return x > y
		}
	}
	return false
}

// numberAt is the i-th part of a version as a number: 0 when there is none.
func numberAt(parts []string, i int) int {
	if i >= len(parts) {
		return 0
	}
	digits := strings.TrimLeft(parts[i], "v")
	if end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		digits = digits[:end]
	}
	n, _ := strconv.Atoi(digits) // none is 0
	return n
}

// texts gives the texts of a domain in a locale for the server's own use, or nil. The last that was asked for is kept.
func (p *packs) texts(in *installation, locale, domain string) map[string][]string {
	dir, ok := p.languages(in)[locale]
	if !ok {
		return nil
	}
	path := filepath.Join(dir, "locale", locale, "LC_MESSAGES", domain+".json")
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	p.mu.Lock()
	last := p.last
	p.mu.Unlock()
	if last.path == path && last.modified.Equal(info.ModTime()) {
		return last.byKey
	}
	raw, ok := p.read(path)
	if !ok {
		return nil
	}
	var c map[string]json.RawMessage
	if json.Unmarshal(raw, &c) != nil {
		return nil
	}
	byKey := make(map[string][]string, len(c))
	for key, value := range c {
		var forms []string
		if json.Unmarshal(value, &forms) == nil { // "" is about the catalog itself
			byKey[key] = forms
		}
	}
	p.mu.Lock()
	p.last = texts{path, info.ModTime(), byKey}
	p.mu.Unlock()
	return byKey
}
