package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
)

const (
	schemaExt  = ".json"
	noVersion  = "N/A" // what the peer says of a package that does not tell
	maxSchemas = 10_000
)

// schema is one plugin's description of its settings: a JSON schema with what JupyterLab adds (menus, toolbars,
// shortcuts). Its id is PACKAGE:PLUGIN.
type schema struct {
	ID      string
	Version string // of the package
	Raw     json.RawMessage
}

// schemaPlace is where a schema's file is.
type schemaPlace struct {
	root string // folder of schemas
	path string // PACKAGE/PLUGIN.json below it, with slashes
}

// schemas reads the schemas of an installation; what it has read it reads again only when the file has changed. Safe for
// concurrent use.
type schemas struct {
	log *slog.Logger

	mu   sync.Mutex
	read map[schemaPlace]readSchema // guarded by mu
}

// readSchema is a file at one time.
type readSchema struct {
	modified time.Time
	size     int64
	schema   *schema
	err      error
}

func newSchemas(log *slog.Logger) *schemas {
	return &schemas{log: log, read: map[schemaPlace]readSchema{}}
}

// places finds all schemas by id: those of prebuilt extensions win over JupyterLab's own, and among them the first
// folder does, as in jupyterlab_server.
func (s *schemas) places(in *installation) map[string]schemaPlace {
	all := map[string]schemaPlace{}
	for _, root := range schemaRoots(in) {
		for _, path := range schemaFiles(root) {
			id := idOf(path)
			if _, have := all[id]; !have && len(all) < maxSchemas {
				all[id] = schemaPlace{root, path}
			}
		}
	}
	return all
}

// schemaRoots are the folders of schemas, the most important first.
func schemaRoots(in *installation) (roots []string) {
	for _, dir := range extensionFolders(in.Extensions) {
		roots = append(roots, filepath.Join(dir, "schemas"))
	}
	return append(roots, in.Schemas)
}

// schemaDepth is how deep schemas lie at most: @ORG/PACKAGE/PLUGIN.json, and one to spare.
const schemaDepth = 4

// schemaFiles lists the .json files of the packages below root. Links are followed, as package managers make them.
func schemaFiles(root string) []string {
	var files []string
	var list func(dir string, depth int)
	list = func(dir string, depth int) {
		entries, err := os.ReadDir(filepath.Join(root, dir))
		if err != nil {
			return // most extensions have none
		}
		for _, e := range entries {
			path := filepath.ToSlash(filepath.Join(dir, e.Name()))
			switch {
			case strings.HasSuffix(path, schemaExt) && dir != "" && !e.IsDir():
				files = append(files, path)
			case depth < schemaDepth && (e.IsDir() || e.Type()&fs.ModeSymlink != 0):
				list(path, depth+1)
			}
		}
	}
	if root != "" {
		list("", 1)
	}
	return files
}

// idOf makes PACKAGE:PLUGIN of PACKAGE/PLUGIN.json.
func idOf(path string) string {
	i := strings.LastIndexByte(path, '/')
	return path[:i] + ":" + strings.TrimSuffix(path[i+1:], schemaExt)
}

// all reads every schema. Broken ones are left out with a note in the log: one extension must not take all settings away.
func (s *schemas) all(in *installation) []*schema {
	places := s.places(in)
	list := make([]*schema, 0, len(places))
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(places))) { // the peer's order
		sc, err := s.load(id, places[id])
		if err != nil {
			s.log.Warn("a settings schema is left out", "path", places[id].path, "err", err)
			continue
		}
		list = append(list, sc)
	}
	return list
}

// find reads one schema; an unknown one is NotFound.
func (s *schemas) find(in *installation, id string) (*schema, error) {
	pkg, plugin, ok := strings.Cut(id, ":")
	path := pkg + "/" + plugin + schemaExt
	if ok && !strings.Contains(plugin, "/") && fs.ValidPath(path) {
		for _, root := range schemaRoots(in) {
			if root != "" && isFile(filepath.Join(root, path)) {
				return s.load(id, schemaPlace{root, path})
			}
		}
	}
	return nil, fault.New(fault.NotFound, "there are no settings %.200q", id)
}

func (s *schemas) load(id string, at schemaPlace) (*schema, error) {
	info, err := os.Stat(filepath.Join(at.root, at.path))
	if err != nil {
		return nil, fault.OS(err, "the schema of "+id)
	}
	s.mu.Lock()
	have, ok := s.read[at]
	s.mu.Unlock()
	if ok && have.modified.Equal(info.ModTime()) && have.size == info.Size() {
		return have.schema, have.err
	}
	now := readSchema{modified: info.ModTime(), size: info.Size()}
	now.schema, now.err = readSchemaFile(id, at)
	s.mu.Lock()
	s.read[at] = now
	s.mu.Unlock()
	return now.schema, now.err
}

func readSchemaFile(id string, at schemaPlace) (*schema, error) {
	file := filepath.Join(at.root, at.path)
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fault.OS(err, "the schema of "+id)
	}
	var b bytes.Buffer
	if err = json.Compact(&b, raw); err == nil && !isObject(b.Bytes()) {
		err = errors.New("not a JSON object")
	}
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "the schema of %s is broken", id)
	}
	return &schema{ID: id, Version: versionBeside(file), Raw: b.Bytes()}, nil
}

// versionBeside is the version of the package whose schema file is: the build puts its package.json beside it.
func versionBeside(file string) string {
	raw, err := os.ReadFile(filepath.Join(filepath.Dir(file), "package.json.orig"))
	var pkg struct {
		Version string `json:"version"`
	}
	if err != nil || json.Unmarshal(raw, &pkg) != nil || pkg.Version == "" {
		return noVersion
	}
	return pkg.Version
}
