package nbformat

import (
	"fmt"
	"strconv"
	"strings"
)

// The rules of nbformat 4.0 to 4.5, as their schemas have them. A notebook of a later minor version may have
// more fields, cell types and output types, and is held to the rest.

// ValidationError is the first rule that a notebook breaks.
type ValidationError struct {
	Where string // like cells[3].outputs[0].data
	Msg   string
}

func (e *ValidationError) Error() string {
	if e.Where == "" {
		return e.Msg
	}
	return e.Where + ": " + e.Msg
}

// rule checks a value. A rule is only asked about values that are there.
type rule func(v *validator, n *node, at string) error

// fields are an object's members.
type fields map[string]rule

type validator struct {
	minor  int
	future bool // newer than the rules
}

// Validate says what is wrong with the notebook, nil when nothing is.
func (nb *Notebook) Validate() error {
	if nb.older {
		return nil
	}
	v := &validator{minor: nb.minor, future: nb.minor > Minor}
	if err := v.notebook(&nb.root); err != nil {
		return err
	}
	if nb.nans > 0 {
		return &ValidationError{Msg: fmt.Sprintf("the file has %d numbers that JSON cannot hold (NaN or Infinity), shown as null", nb.nans)}
	}
	return nil
}

func broken(at, format string, args ...any) error {
	return &ValidationError{Where: at, Msg: fmt.Sprintf(format, args...)}
}

func (v *validator) notebook(n *node) error {
	meta := fields{
		"kernelspec":    record([]string{"name", "display_name"}, fields{"name": isString, "display_name": isString}),
		"orig_nbformat": atLeast(1, false),
		"language_info": record([]string{"name"}, fields{
			"name": isString, "codemirror_mode": oneKind(str, object), "file_extension": isString,
			"mimetype": isString, "pygments_lexer": isString,
		}),
	}
	if v.minor >= 2 {
		meta["title"], meta["authors"] = isString, oneKind(array)
	}
	return v.object(n, "", []string{"metadata", "nbformat_minor", "nbformat", "cells"}, fields{
		"metadata": record(nil, meta), "nbformat": atLeast(4, false), "nbformat_minor": atLeast(0, false),
		"cells": each((*validator).cell),
	}, true)
}

func (v *validator) cell(n *node, at string) error {
	if n.kind != object {
		return broken(at, "should be an object, not %s", kindNames[n.kind])
	}
	required := []string{"cell_type", "metadata", "source"}
	f := fields{"cell_type": isString, "source": isMultiline}
	meta := fields{"name": isName, "tags": areTags}
	if v.minor >= 3 {
		meta["jupyter"] = oneKind(object)
	}
	if v.minor >= 5 {
		required, f["id"] = append(required, "id"), isID
	}
	switch t := n.get("cell_type"); t.text() {
	case "raw":
		meta["format"], f["attachments"] = isString, values(isBundle)
	case "markdown":
		f["attachments"] = values(isBundle)
	case "code":
		required = append(required, "outputs", "execution_count")
		f["outputs"], f["execution_count"] = each((*validator).output), atLeast(0, true)
		meta["collapsed"], meta["scrolled"] = oneKind(boolean), isScrolled
		if v.minor >= 4 {
			meta["execution"] = values(isString)
		}
	default:
		if !v.future || t == nil {
			return wrongType(at, "cell_type", t, "code, markdown or raw")
		}
		required, f = []string{"cell_type", "metadata"}, fields{}
		meta = fields{"name": isName, "tags": areTags}
	}
	f["metadata"] = record(nil, meta)
	return v.object(n, at, required, f, true)
}

func wrongType(at, key string, t *node, want string) error {
	if t == nil {
		return broken(at, "%s is missing", key)
	}
	return broken(at+"."+key, "%s should be %s", t.raw, want)
}

func (v *validator) output(n *node, at string) error {
	if n.kind != object {
		return broken(at, "should be an object, not %s", kindNames[n.kind])
	}
	f := fields{"output_type": isString}
	var required []string
	switch t := n.get("output_type"); t.text() {
	case "execute_result":
		required = []string{"data", "metadata", "execution_count"}
		f["data"], f["metadata"], f["execution_count"] = isBundle, oneKind(object), atLeast(0, true)
	case "display_data":
		required = []string{"data", "metadata"}
		f["data"], f["metadata"] = isBundle, oneKind(object)
	case "stream":
		required = []string{"name", "text"}
		f["name"], f["text"] = isString, isMultiline
	case "error":
		required = []string{"ename", "evalue", "traceback"}
		f["ename"], f["evalue"], f["traceback"] = isString, isString, each(isString)
	default:
		if !v.future || t == nil {
			return wrongType(at, "output_type", t, "execute_result, display_data, stream or error")
		}
	}
	return v.object(n, at, required, f, true)
}

// object checks an object's members. closed refuses those that no rule names.
func (v *validator) object(n *node, at string, required []string, f fields, closed bool) error {
	if n.kind != object {
		return broken(at, "should be an object, not %s", kindNames[n.kind])
	}
	for _, key := range required {
		if n.get(key) == nil {
			return broken(at, "%s is missing", key)
		}
	}
	for i := range n.kids {
		kid := &n.kids[i]
		check, ok := f[kid.key]
		if !ok && closed && !v.future {
			return broken(at, "%q does not belong there", kid.key)
		}
		if !ok {
			continue
		}
		if err := check(v, kid, strings.TrimPrefix(at+"."+kid.key, ".")); err != nil {
			return err
		}
	}
	return nil
}

// record is an object that may have more members than its rules name.
func record(required []string, f fields) rule {
	return func(v *validator, n *node, at string) error { return v.object(n, at, required, f, false) }
}

// values is an object all of whose members follow one rule.
func values(check rule) rule {
	return func(v *validator, n *node, at string) error {
		if n.kind != object {
			return broken(at, "should be an object, not %s", kindNames[n.kind])
		}
		for i := range n.kids {
			if err := check(v, &n.kids[i], at+"."+n.kids[i].key); err != nil {
				return err
			}
		}
		return nil
	}
}

// each is an array all of whose elements follow one rule.
func each(check rule) rule {
	return func(v *validator, n *node, at string) error {
		if n.kind != array {
			return broken(at, "should be an array, not %s", kindNames[n.kind])
		}
		if n.flat() {
			return broken(at+"[0]", "should not be a number, a boolean or null")
		}
		for i := range n.kids {
			if err := check(v, &n.kids[i], at+"["+strconv.Itoa(i)+"]"); err != nil {
				return err
			}
		}
		return nil
	}
}

func oneKind(kinds ...kind) rule {
	return func(_ *validator, n *node, at string) error {
		var names []string
		for _, k := range kinds {
			if n.kind == k {
				return nil
			}
			names = append(names, kindNames[k])
		}
		return broken(at, "should be %s, not %s", strings.Join(names, " or "), kindNames[n.kind])
	}
}

func isString(v *validator, n *node, at string) error { return oneKind(str)(v, n, at) }

// atLeast is a whole number; 1.0 is one.
func atLeast(low float64, nullable bool) rule {
	return func(_ *validator, n *node, at string) error {
		if nullable && n.kind == null {
			return nil
		}
		f, err := strconv.ParseFloat(string(n.raw), 64)
		if n.kind != number || err != nil || f != float64(int64(f)) && f < 1<<62 {
			return broken(at, "should be a whole number, not %s", kindNames[n.kind])
		}
		if f < low {
			return broken(at, "should be at least %g, not %s", low, n.raw)
		}
		return nil
	}
}

// isMultiline is a string or its lines.
func isMultiline(_ *validator, n *node, at string) error {
	if n.kind == str || n.allStrings() {
		return nil
	}
	return broken(at, "should be a string or an array of strings, not %s", kindNames[n.kind])
}

func isBundle(v *validator, n *node, at string) error {
	if n.kind != object {
		return broken(at, "should be an object, not %s", kindNames[n.kind])
	}
	for i := range n.kids {
		if kid := &n.kids[i]; !isJSONType(kid.key) && !v.future {
			if err := isMultiline(v, kid, at+"."+kid.key); err != nil {
				return err
			}
		}
	}
	return nil
}

const maxIDLength = 64

func isID(_ *validator, n *node, at string) error {
	id := n.text()
	ok := n.kind == str && id != "" && len(id) <= maxIDLength
	for _, c := range id {
		ok = ok && (c == '-' || c == '_' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z')
	}
	if !ok {
		return broken(at, "should be 1 to %d letters, digits, dashes and underscores", maxIDLength)
	}
	return nil
}

func isName(_ *validator, n *node, at string) error {
	if name := n.text(); name == "" || strings.Contains(name, "\n") {
		return broken(at, "should be one line that is not empty")
	}
	return nil
}

func areTags(_ *validator, n *node, at string) error {
	if !n.allStrings() {
		return broken(at, "should be an array of strings")
	}
	seen := map[string]bool{}
	for i := range n.kids {
		tag := n.kids[i].text()
		switch {
		case tag == "" || strings.Contains(tag, ","):
			return broken(at, "%q is not a tag: empty, or with a comma", tag)
		case seen[tag]:
			return broken(at, "%q is there twice", tag)
		}
		seen[tag] = true
	}
	return nil
}

func isScrolled(_ *validator, n *node, at string) error {
	if n.kind == boolean || n.text() == "auto" {
		return nil
	}
	return broken(at, `should be true, false or "auto"`)
}
