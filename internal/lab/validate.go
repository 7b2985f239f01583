package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/nbserv/nbserv/internal/fault"
)

// errUncheckable says that a schema is not one that can be checked against.
var errUncheckable = errors.New("the schema cannot be used")

// validate checks settings (JSON) against a schema. Settings that do not fit are Invalid, with what is wrong where; a
// schema that cannot be used gives errUncheckable.
func validate(sc, settings json.RawMessage) error {
	compiled, err := compile(sc)
	if err != nil {
		return errors.Join(errUncheckable, err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(settings))
	if err != nil {
		return fault.Wrap(fault.Invalid, err, "the settings are not JSON")
	}
	var wrong *jsonschema.ValidationError
	if err := compiled.Validate(value); errors.As(err, &wrong) {
		return fault.New(fault.Invalid, "%s", explain(wrong))
	} else if err != nil {
		return fault.Wrap(fault.Invalid, err, "the settings do not fit their schema")
	}
	return nil
}

// compile reads a schema of draft 7, JupyterLab's. It may refer to itself only: nothing is fetched.
func compile(sc json.RawMessage) (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(sc))
	if err != nil {
		return nil, err
	}
	const here = "urn:nbserv:settings"
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft7)
	c.UseLoader(nothing{})
	if err := c.AddResource(here, doc); err != nil {
		return nil, err
	}
	return c.Compile(here)
}

// nothing is a loader that loads nothing.
type nothing struct{}

func (nothing) Load(url string) (any, error) { return nil, errors.New("not loaded: " + url) }

// explain says what is wrong first, deepest down, and where: "theme: got number, want string".
func explain(e *jsonschema.ValidationError) string {
	for len(e.Causes) > 0 {
		e = e.Causes[0]
	}
	text := e.ErrorKind.LocalizedString(message.NewPrinter(language.English))
	if len(e.InstanceLocation) == 0 {
		return "the settings do not fit their schema: " + text
	}
	return strings.Join(e.InstanceLocation, ".") + ": " + text
}
