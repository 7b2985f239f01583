package main

import (
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/nbserv/nbserv/internal/jupyterpath"
)

// environment is the process's environment: read once, here, and nowhere below.
type environment struct {
	vars map[string]string
	list []string // as the operating system gave it

	exe       string       // this program's file; "" if unknown
	inherited *inheritance // from the program that this one has replaced; nil if there was none
}

func readEnvironment(list []string) environment {
	e := environment{vars: make(map[string]string, len(list)), list: list}
	for _, kv := range list {
		if k, v, ok := strings.Cut(kv, "="); ok {
			e.vars[k] = v
		}
	}
	return e
}

// or is the first of the named variables that is set and not empty, else fallback.
func (e environment) or(fallback string, names ...string) string {
	for _, n := range names {
		if v := e.vars[n]; v != "" {
			return v
		}
	}
	return fallback
}

func (e environment) home() string {
	if h := e.vars["HOME"]; h != "" {
		return h
	}
	return os.TempDir()
}

// jupyterConfigDir is where Jupyter keeps a user's configuration.
// https://docs.jupyter.org/en/stable/use/jupyter-directories.html
func (e environment) jupyterConfigDir() string { return jupyterpath.UserConfig(e.jupyter()) }

// jupyter is the environment as Jupyter's own tools would see it: with a home.
func (e environment) jupyter() map[string]string {
	vars := maps.Clone(e.vars)
	if vars == nil {
		vars = map[string]string{}
	}
	vars["HOME"] = e.home()
	return vars
}

// stateHome is the user's folder for what programs remember, by the XDG base directory specification.
func (e environment) stateHome() string {
	return e.or(filepath.Join(e.home(), ".local", "state"), "XDG_STATE_HOME")
}

// dataHome is the user's folder for data, by the same specification.
func (e environment) dataHome() string {
	return e.or(filepath.Join(e.home(), ".local", "share"), "XDG_DATA_HOME")
}
