package lab

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// ownDefaults are the server's: it asks nobody for news, so the page need not ask the user whether it should.
var ownDefaults = object{{"@jupyterlab/apputils-extension:notification", json.RawMessage(`{"fetchNews":"false","checkForUpdates":false}`)}}

// overrides reads the defaults that administrators set instead of the packages', by schema id: the files of overrides.d
// beside JupyterLab in their order, then overrides.json and overrides.json5 there, then default_setting_overrides.json in
// labconfig on Jupyter's configuration path.
// https://jupyterlab.readthedocs.io/en/stable/user/directories.html#overrides-json
func (l *Lab) overrides(in *installation) object {
	var files []string
	for _, pattern := range []string{"*.json", "*.json5"} {
		found, _ := filepath.Glob(filepath.Join(in.AppSettings, "overrides.d", pattern)) // the pattern is well-formed
		files = append(files, found...)
	}
	slices.Sort(files)
	var all object
	all.merge(ownDefaults)
	for _, file := range append(files, filepath.Join(in.AppSettings, "overrides.json"), filepath.Join(in.AppSettings, "overrides.json5")) {
		some, err := readJSON5(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			l.log.Warn("a file of overrides cannot be used", "path", file, "err", err)
		}
		all.merge(some)
	}
	section, err := l.labConfig(in, "default_setting_overrides")
	if err != nil {
		l.log.Warn("default_setting_overrides cannot be used", "err", err)
	}
	for id, defaults := range section {
		all.merge(object{{id, defaults}})
	}
	return all
}

// readJSON5 reads a file that holds one object.
func readJSON5(file string) (object, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if raw, err = fromJSON5(raw); err != nil {
		return nil, err
	}
	return parseObject(raw)
}

// withDefaults is a schema with other defaults for some of its properties. A default that is an object is merged with
// the schema's.
func withDefaults(raw json.RawMessage, defaults object) (json.RawMessage, error) {
	if len(defaults) == 0 {
		return raw, nil
	}
	sc, err := parseObject(raw)
	if err != nil {
		return nil, err
	}
	properties := sc.object("properties")
	for _, d := range defaults {
		property := properties.object(d.key)
		value := d.value
		if old := property.get("default"); isObject(old) && isObject(value) {
			merged := property.object("default")
			change, err := parseObject(value)
			if err != nil {
				return nil, err
			}
			merged.merge(change)
			value = merged.raw()
		}
		property.set("default", value)
		properties.set(d.key, property.raw())
	}
	sc.set("properties", properties.raw())
	return sc.raw(), nil
}
