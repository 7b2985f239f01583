package lab

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// extension is one prebuilt ("federated") extension: a folder with a package.json, a built script and often schemas and
// themes. https://jupyterlab.readthedocs.io/en/stable/extension/extension_dev.html#prebuilt-extensions
type extension struct {
	Dir     string          // its folder
	Package manifest        // its package.json
	Install json.RawMessage // its install.json, for the extension manager; nil when there is none
}

// manifest is what of a package.json matters here.
type manifest struct {
	Name        string          `json:"name"`
	Version     looseText       `json:"version"`
	Description looseText       `json:"description"`
	License     looseText       `json:"license"` // in old packages an object with a type
	Homepage    looseText       `json:"homepage"`
	Author      json.RawMessage `json:"author"`     // a name, or an object with one
	Bugs        json.RawMessage `json:"bugs"`       // an address, or an object with one
	Repository  json.RawMessage `json:"repository"` // the same
	JupyterLab  struct {
		Build              *build          `json:"_build"`
		DisabledExtensions stringSet       `json:"disabledExtensions"`
		Discovery          json.RawMessage `json:"discovery"` // an object with what else the extension needs
	} `json:"jupyterlab"`
}

// build is what JupyterLab's builder notes: how the page loads the extension.
type build struct {
	Load          string          `json:"load"`
	Extension     json.RawMessage `json:"extension"`
	MimeExtension json.RawMessage `json:"mimeExtension"`
	Style         json.RawMessage `json:"style"`
	Entrypoints   json.RawMessage `json:"entrypoints"`
}

// looseText is a JSON string or the type in an object. Anything else is no text: what a package says of itself for people
// must not keep its extension from the page.
type looseText string

func (t *looseText) UnmarshalJSON(raw []byte) error {
	*t = looseText(valueIn(raw, "type"))
	return nil
}

// stringSet is a JSON list of strings, or an object whose true members are meant.
type stringSet []string

func (s *stringSet) UnmarshalJSON(raw []byte) error {
	if !isObject(raw) {
		return json.Unmarshal(raw, (*[]string)(s))
	}
	o, err := parseObject(raw)
	for _, m := range o {
		if truthy(m.value) {
			*s = append(*s, m.key)
		}
	}
	return err
}

// truthy decides as Python does.
func truthy(raw json.RawMessage) bool {
	return !slices.Contains([]string{"", "false", "null", "0", "0.0", `""`, "[]", "{}"}, string(raw))
}

// findExtensions lists what is installed in dirs, by name: the first folder that has one wins. What cannot be read is
// left out with a note in the log.
func findExtensions(dirs []string, log *slog.Logger) []extension {
	var all []extension
	for _, dir := range extensionFolders(dirs) {
		raw, err := os.ReadFile(filepath.Join(dir, "package.json"))
		if os.IsNotExist(err) {
			continue // a folder of schemas or themes only
		}
		e := extension{Dir: dir}
		if err == nil {
			err = json.Unmarshal(raw, &e.Package)
		}
		if err != nil || e.Package.Name == "" {
			log.Warn("an extension is left out: its package.json cannot be used", "path", dir, "err", err)
			continue
		}
		if slices.ContainsFunc(all, func(have extension) bool { return have.Package.Name == e.Package.Name }) {
			continue
		}
		if install, err := os.ReadFile(filepath.Join(dir, "install.json")); err == nil && json.Valid(install) {
			e.Install = install
		}
		all = append(all, e)
	}
	return all
}

// extensionFolders are the folders in dirs that can be extensions: those at the top, and one level deeper in those of an
// organisation, which begin with @. They may be links, as `jupyter labextension develop` makes them.
func extensionFolders(dirs []string) (folders []string) {
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // most of the places are not there
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if !strings.HasPrefix(e.Name(), "@") {
				folders = append(folders, path)
				continue
			}
			inner, _ := os.ReadDir(path) // what cannot be read has nothing
			for _, i := range inner {
				folders = append(folders, filepath.Join(path, i.Name()))
			}
		}
	}
	return folders
}

// federated is an extension as the page loads it.
type federated struct {
	Name          string          `json:"name"`
	Load          string          `json:"load"`
	Extension     json.RawMessage `json:"extension,omitempty"`
	MimeExtension json.RawMessage `json:"mimeExtension,omitempty"`
	Style         json.RawMessage `json:"style,omitempty"`
	Entrypoints   json.RawMessage `json:"entrypoints"`
}

// federatedOf lists what the page is to load.
func federatedOf(all []extension) []federated {
	list := []federated{}
	for _, e := range all {
		b := e.Package.JupyterLab.Build
		if b == nil || b.Load == "" {
			continue // not a built one
		}
		list = append(list, federated{e.Package.Name, b.Load, b.Extension, b.MimeExtension, b.Style, b.Entrypoints})
	}
	return list
}
