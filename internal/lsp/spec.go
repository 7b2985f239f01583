package lsp

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
)

// specVersion is the version of jupyter_lsp's schema.
const specVersion = 2

// Spec describes a language server, in the words of jupyter_lsp's schema: how it is started and what for.
type Spec struct {
	Argv      []string          `json:"argv"`
	Env       map[string]string `json:"env,omitempty"` // added to the environment; ${NAME} is a variable of that
	Languages []string          `json:"languages"`
	Version   int               `json:"version"`

	DisplayName     string            `json:"display_name,omitempty"`
	MIMETypes       []string          `json:"mime_types,omitempty"`
	URLs            map[string]string `json:"urls,omitempty"`
	Install         map[string]string `json:"install,omitempty"` // by package manager
	Troubleshoot    string            `json:"troubleshoot,omitempty"`
	OnDisk          *bool             `json:"requires_documents_on_disk,omitempty"` // nil: true
	ConfigSchema    json.RawMessage   `json:"config_schema,omitempty"`
	Extend          json.RawMessage   `json:"extend,omitempty"`
	WorkspaceConfig json.RawMessage   `json:"workspace_configuration,omitempty"`
}

// check says what a configured spec lacks. One without a command is no error: it takes a known server out.
func (s Spec) check() error {
	switch {
	case len(s.Argv) > 0 && s.Argv[0] == "":
		return errors.New("argv begins with an empty text")
	case len(s.Argv) > 0 && len(s.Languages) == 0:
		return errors.New("languages is missing")
	case s.Version != specVersion && len(s.Argv) > 0:
		return errors.New("version should be 2")
	}
	return nil
}

// shown is the spec as pages may see it: commands and environments are not theirs to know.
func (s Spec) shown() Spec {
	s.Argv = []string{""}
	if s.Env != nil {
		s.Env = map[string]string{}
	}
	return s
}

// environ is the environment of the process: base ("NAME=value"), and what the spec adds.
func (s Spec) environ(base []string) []string {
	value := func(name string) string {
		if name == "$" {
			return name
		}
		for _, line := range slices.Backward(base) {
			if v, ok := strings.CutPrefix(line, name+"="); ok {
				return v
			}
		}
		return "${" + name + "}"
	}
	all := slices.Clone(base)
	for name, text := range s.Env {
		all = append(all, name+"="+os.Expand(text, value))
	}
	return all
}
