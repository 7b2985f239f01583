package lab

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"
)

// expression is evaluated with a template's variables.
type expression func(vars map[string]any) (any, error)

// An expression is a text in quotes, or a name and what is done to it: .name, ["name"], .copy(), .update(name=expression, …).
var (
	quotedText = regexp.MustCompile(`^(?:'([^'\\]*)'|"([^"\\]*)")$`)
	nameOnly   = regexp.MustCompile(`^\w+`)
	step       = regexp.MustCompile(`^(?:\.(\w+)(\()?|\[\s*['"](\w+)['"]\s*\])`)
)

func parseExpression(text string) (expression, error) {
	text = strings.TrimSpace(text)
	if m := quotedText.FindStringSubmatch(text); m != nil {
		return func(map[string]any) (any, error) { return m[1] + m[2], nil }, nil
	}
	name := nameOnly.FindString(text)
	if name == "" {
		return nil, fmt.Errorf("the expression %q is not understood", text)
	}
	e := func(vars map[string]any) (any, error) { return vars[name], nil }
	for rest := strings.TrimSpace(text[len(name):]); rest != ""; {
		m := step.FindStringSubmatch(rest)
		if m == nil {
			return nil, fmt.Errorf("the expression %q is not understood", text)
		}
		rest = rest[len(m[0]):]
		if m[2] == "" {
			e = attribute(e, m[1]+m[3])
			continue
		}
		args, after, ok := strings.Cut(rest, ")")
		if !ok {
			return nil, fmt.Errorf("the call in %q does not end", text)
		}
		call, err := method(e, m[1], args)
		if err != nil {
			return nil, err
		}
		e, rest = call, strings.TrimSpace(after)
	}
	return e, nil
}

func attribute(of expression, name string) expression {
	return func(vars map[string]any) (any, error) {
		v, err := of(vars)
		m, _ := v.(map[string]any)
		return m[name], err
	}
}

// method is one of those of Python's dictionaries that pages use.
func method(of expression, name, args string) (expression, error) {
	changes := map[string]expression{}
	for arg := range strings.SplitSeq(args, ",") {
		key, text, ok := strings.Cut(arg, "=")
		if !ok {
			if strings.TrimSpace(arg) == "" {
				continue
			}
			return nil, fmt.Errorf("the argument %q is not understood", arg)
		}
		value, err := parseExpression(text)
		if err != nil {
			return nil, err
		}
		changes[strings.TrimSpace(key)] = value
	}
	if name != "update" && (name != "copy" || len(changes) > 0) {
		return nil, fmt.Errorf("the method %s is not understood", name)
	}
	return func(vars map[string]any) (any, error) {
		v, err := of(vars)
		m, ok := v.(map[string]any)
		if err != nil || !ok {
			return nil, errors.Join(err, fmt.Errorf("%s of what is no dictionary", name))
		}
		if name == "copy" {
			return maps.Clone(m), nil
		}
		for key, value := range changes {
			if m[key], err = value(vars); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}, nil
}
