package events

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/nbserv/nbserv/internal/fault"
)

// The schemas of the server's own events: the names and fields of jupyter_server's, and what that does not tell.
const (
	ContentsSchema   = "https://events.jupyter.org/jupyter_server/contents_service/v1"
	KernelSchema     = "https://events.jupyter.org/jupyter_server/kernel_actions/v1"
	KernelEndsSchema = "urn:nbserv:kernel_ends:v1"
)

//go:embed schemas/*.yaml
var own embed.FS

// schema is one kind of event.
type schema struct {
	id      string
	version string
	rules   *jsonschema.Schema
}

// parseSchema reads a schema file.
func parseSchema(raw []byte) (schema, error) {
	var doc any
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return schema{}, err
	}
	plain, err := json.Marshal(doc) // a YAML map with keys that are no strings has no JSON
	if err != nil {
		return schema{}, err
	}
	var head struct {
		ID      string `json:"$id"`
		Version any    `json:"version"`
	}
	if err := json.Unmarshal(plain, &head); err != nil {
		return schema{}, err
	}
	if head.ID == "" || head.Version == nil {
		return schema{}, errors.New("an event's schema needs $id and version")
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(plain))
	if err != nil {
		return schema{}, err
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft7)
	c.UseLoader(noLoader{})
	if err := c.AddResource(head.ID, value); err != nil {
		return schema{}, err
	}
	rules, err := c.Compile(head.ID)
	return schema{id: head.ID, version: fmt.Sprint(head.Version), rules: rules}, err
}

// noLoader keeps schemas from reading files and the network.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("%s: a schema cannot refer to another", url)
}

// load reads the server's own schemas, and those in dir (*.yaml, *.yml, *.json) unless it is "".
func load(dir string) (map[string]schema, error) {
	all := map[string]schema{}
	files, err := own.ReadDir("schemas")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		raw, err := own.ReadFile("schemas/" + f.Name())
		if err != nil {
			return nil, err
		}
		s, err := parseSchema(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		all[s.id] = s
	}
	if dir == "" {
		return all, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(e.Name())) {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		s, err := parseSchema(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		all[s.id] = s
	}
	return all, nil
}

// check says whether data is an event of s; else it is Invalid, and the message names the first field that is not.
func (s schema) check(data json.RawMessage) error {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return fault.Wrap(fault.Invalid, err, "data: should be a JSON object")
	}
	if _, ok := value.(map[string]any); !ok {
		return fault.New(fault.Invalid, "data: should be a JSON object")
	}
	if err := s.rules.Validate(value); err != nil {
		return fault.Wrap(fault.Invalid, err, "data: %s", reason(err))
	}
	return nil
}

// reason is the innermost first finding of a failed validation.
func reason(err error) string {
	var v *jsonschema.ValidationError
	if !errors.As(err, &v) {
		return "it does not have the form that its schema asks for"
	}
	for len(v.Causes) > 0 {
		v = v.Causes[0]
	}
	unit := v.BasicOutput()
	for len(unit.Errors) > 0 {
		unit = &unit.Errors[0]
	}
	if unit.Error == nil {
		return "it does not have the form that its schema asks for"
	}
	return fmt.Sprintf("%s: %s", "/"+joinPath(v.InstanceLocation), unit.Error)
}

func joinPath(parts []string) string {
	var b bytes.Buffer
	for i, p := range parts {
		if i > 0 {
			b.WriteByte('/')
		}
		b.WriteString(p)
	}
	return b.String()
}
