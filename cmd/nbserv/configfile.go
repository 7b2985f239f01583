package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// jupyterConfigName is the file that jupyter_server and its `jupyter server password` write.
const jupyterConfigName = "jupyter_server_config.json"

// A configuration file is one JSON object. Its keys are option names ("root-dir"), or Jupyter's classes
// ("ServerApp") with their traits; classes may also stand inside ServerApp, as traitlets allow.

// readFiles applies the configuration file to what neither flag nor variable has set.
func (c *Config) readFiles() (notes []string, err error) {
	path, chosen := c.ConfigFile, true
	if path == "" {
		path, chosen = filepath.Join(c.env.jupyterConfigDir(), jupyterConfigName), false
		if script := strings.TrimSuffix(path, ".json") + ".py"; exists(script) {
			notes = append(notes, script+" is a Python program and is not read: put its settings into "+path)
		}
	}
	raw, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !chosen:
		return notes, nil
	case errors.Is(err, fs.ErrNotExist) && filepath.Base(path) == jupyterConfigName:
		// Jupyter goes on without it, and so do scripts that were written for Jupyter.
		return []string{"--config: " + path + " does not exist"}, nil
	case err != nil:
		return nil, fmt.Errorf("--config: %w", err)
	}
	more, err := c.applyFile(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return append(notes, more...), nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// applyFile applies one file's contents; the notes name what nobody understood.
func (c *Config) applyFile(raw []byte) (notes []string, err error) {
	var top map[string]json.RawMessage
	if err := json.Unmarshal(raw, &top); err != nil {
		return nil, fmt.Errorf("not a JSON object: %w", err)
	}
	own, traits, inner := map[string]json.RawMessage{}, map[string]json.RawMessage{}, map[string]json.RawMessage{}
	for key, v := range top {
		if !isClass(key) {
			own[key] = v
			continue
		}
		if err := collectTraits(traits, inner, key, v); err != nil {
			return nil, err
		}
	}
	maps.Copy(traits, inner) // traitlets: what stands inside another class is more specific
	for _, o := range options {
		v, key, found := o.lookUp(own, traits)
		if !found || c.given[o.name] {
			continue
		}
		if err := o.setJSON(c, v); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		c.given[o.name] = true
	}
	return append(unknown(own), unknown(traits)...), nil
}

// isClass tells a traitlets class from an option's name.
func isClass(key string) bool { return key != "" && key[0] >= 'A' && key[0] <= 'Z' }

// collectTraits puts class's traits into here as "Class.trait", and those of classes inside it into inner.
func collectTraits(here, inner map[string]json.RawMessage, class string, raw json.RawMessage) error {
	var traits map[string]json.RawMessage
	if err := json.Unmarshal(raw, &traits); err != nil {
		return fmt.Errorf("%s: should be a JSON object", class)
	}
	for name, v := range traits {
		if isClass(name) {
			if err := collectTraits(inner, inner, name, v); err != nil {
				return err
			}
			continue
		}
		here[class+"."+name] = v
	}
	return nil
}

// lookUp finds the option's value, and takes what it understood out of both maps.
func (o option) lookUp(own, traits map[string]json.RawMessage) (v json.RawMessage, key string, found bool) {
	for _, t := range o.traits {
		if tv, ok := traits[t]; ok {
			v, key, found = tv, t, true
			delete(traits, t)
		}
	}
	if ov, ok := own[o.name]; ok {
		v, key, found = ov, o.name, true
		delete(own, o.name)
	}
	return v, key, found
}

// withoutEffect are traits that nbserv need not obey to do what they ask for. Language servers are read from this file
// and others of Jupyter's whenever somebody asks for them.
var withoutEffect = []string{"ServerApp.allow_root", "ServerApp.open_browser", "ServerApp.jpserver_extensions", "LanguageServerManager.language_servers"}

func unknown(settings map[string]json.RawMessage) []string {
	var notes []string
	for key := range settings {
		if !slices.Contains(withoutEffect, key) {
			notes = append(notes, "the setting "+strings.ToValidUTF8(key, "?")+" is not known and has no effect")
		}
	}
	slices.Sort(notes)
	return notes
}
