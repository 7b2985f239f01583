package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"regexp"
	"strings"
)

// pageTemplate is a page as JupyterLab's build leaves it: HTML with a few of Jinja's constructs, of which these are
// understood: {# comments #}, {{ a.b | filter }}, {% set a = b %}, {% if [not] a %} … {% else %} … {% endif %}, and
// {% block %}, which nothing replaces here. https://jinja.palletsprojects.com/en/stable/templates/
type pageTemplate struct{ nodes []node }

// node is one piece of a template: it writes to out, and may change vars.
type node func(out *strings.Builder, vars map[string]any) error

// token is a piece of a template between its marks.
var token = regexp.MustCompile(`(?s)\{#.*?#\}|\{\{.*?\}\}|\{%.*?%\}`)

// parseTemplate refuses what it does not understand.
func parseTemplate(text string) (*pageTemplate, error) {
	p := &templateParser{}
	for _, at := range token.FindAllStringIndex(text, -1) {
		p.tokens = append(p.tokens, text[p.end:at[0]], text[at[0]:at[1]])
		p.end = at[1]
	}
	p.tokens = append(p.tokens, text[p.end:])
	nodes, last, err := p.until()
	if err == nil && last != "" {
		err = fmt.Errorf("{%% %s %%} ends nothing", last)
	}
	if err != nil {
		return nil, err
	}
	return &pageTemplate{nodes}, nil
}

func (t *pageTemplate) render(vars map[string]any) (string, error) {
	var out strings.Builder
	err := runAll(t.nodes, &out, vars)
	return out.String(), err
}

func runAll(nodes []node, out *strings.Builder, vars map[string]any) error {
	for _, n := range nodes {
		if err := n(out, vars); err != nil {
			return err
		}
	}
	return nil
}

type templateParser struct {
	tokens []string
	end    int
}

// until reads nodes up to a statement that ends a part, which it gives back, or to the end of the text.
func (p *templateParser) until() (nodes []node, last string, err error) {
	for len(p.tokens) > 0 {
		t := p.tokens[0]
		p.tokens = p.tokens[1:]
		var n node
		switch {
		case strings.HasPrefix(t, "{#"):
			continue
		case strings.HasPrefix(t, "{{"):
			n, err = output(inside(t))
		case strings.HasPrefix(t, "{%"):
			word, rest, _ := strings.Cut(inside(t), " ")
			switch word {
			case "else", "endif", "endblock":
				return nodes, word, nil
			case "set":
				n, err = assignment(rest)
			case "if":
				n, err = p.condition(rest)
			case "block":
				n, err = p.block()
			default:
				err = fmt.Errorf("{%% %s %%} is not understood", inside(t))
			}
		default:
			n = func(out *strings.Builder, _ map[string]any) error {
				out.WriteString(t)
				return nil
			}
		}
		if err != nil {
			return nil, "", err
		}
		nodes = append(nodes, n)
	}
	return nodes, "", nil
}

// inside is a token without its marks.
func inside(t string) string {
	return strings.TrimSpace(strings.Trim(t[2:len(t)-2], "-")) // the dashes only take away white space
}

func (p *templateParser) block() (node, error) {
	nodes, last, err := p.until()
	if err == nil && last != "endblock" {
		err = errors.New("a block does not end")
	}
	return func(out *strings.Builder, vars map[string]any) error { return runAll(nodes, out, vars) }, err
}

func (p *templateParser) condition(text string) (node, error) {
	text, negated := strings.CutPrefix(strings.TrimSpace(text), "not ")
	cond, err := parseExpression(text)
	if err != nil {
		return nil, err
	}
	then, last, err := p.until()
	var other []node
	if err == nil && last == "else" {
		other, last, err = p.until()
	}
	if err == nil && last != "endif" {
		err = errors.New("an if does not end")
	}
	return func(out *strings.Builder, vars map[string]any) error {
		v, err := cond(vars)
		if err != nil {
			return err
		}
		if isTrue(v) != negated {
			return runAll(then, out, vars)
		}
		return runAll(other, out, vars)
	}, err
}

func isTrue(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case string:
		return v != ""
	case json.RawMessage:
		return truthy(v)
	}
	return true
}

func assignment(text string) (node, error) {
	name, expr, ok := strings.Cut(text, "=")
	if !ok {
		return nil, fmt.Errorf("set %s is not understood", text)
	}
	value, err := parseExpression(expr)
	return func(_ *strings.Builder, vars map[string]any) error {
		v, err := value(vars)
		vars[strings.TrimSpace(name)] = v
		return err
	}, err
}

// output writes an expression: as JSON that may stand in a script element with the filter tojson, else escaped for HTML,
// as Jupyter's environment does on its own.
func output(text string) (node, error) {
	expr, filters, _ := strings.Cut(text, "|")
	value, err := parseExpression(expr)
	if err != nil {
		return nil, err
	}
	asJSON := false
	for f := range strings.SplitSeq(filters, "|") {
		switch strings.TrimSpace(f) {
		case "", "e", "escape":
		case "tojson":
			asJSON = true
		default:
			return nil, fmt.Errorf("the filter %s is not understood", f)
		}
	}
	return func(out *strings.Builder, vars map[string]any) error {
		v, err := value(vars)
		if err != nil {
			return err
		}
		if !asJSON {
			out.WriteString(template.HTMLEscapeString(textOf(v)))
			return nil
		}
		raw, err := json.Marshal(v) // it escapes <, > and & too
		out.Write(raw)
		return err
	}, nil
}

// textOf is a value as text. What is undefined is nothing.
func textOf(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.RawMessage:
		var s string
		if json.Unmarshal(v, &s) == nil {
			return s
		}
		return string(v)
	}
	return ""
}
