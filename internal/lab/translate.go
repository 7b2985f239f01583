package lab

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

const (
	i18nKey         = "jupyter.lab.internationalization" // of a schema: its domain, and what else is to be translated
	defaultDomain   = "jupyterlab"
	schemaContext   = "schema"
	settingsContext = "settings"
)

// selector is where in a schema a text for people stands, and its context among the translations.
type selector struct {
	path    *regexp.Regexp
	context string
}

// selectors are those of every schema, by jupyterlab_server's list.
var selectors = []selector{
	{regexp.MustCompile(`^/properties/.*/title$`), settingsContext},
	{regexp.MustCompile(`^/properties/.*/description$`), settingsContext},
	{regexp.MustCompile(`^/definitions/.*/properties/.*/title$`), settingsContext},
	{regexp.MustCompile(`^/definitions/.*/properties/.*/description$`), settingsContext},
	{regexp.MustCompile(`^/title$`), schemaContext},
	{regexp.MustCompile(`^/description$`), schemaContext},
	{regexp.MustCompile(`^/jupyter\.lab\.setting-icon-label$`), settingsContext},
	{regexp.MustCompile(`^/jupyter\.lab\.menus/.*/label$`), "menu"},
	{regexp.MustCompile(`^/jupyter\.lab\.toolbars/.*/label$`), "toolbar"},
}

// domainOf is the domain of a schema's translations and what it has of selectors of its own. Those that Go's regular
// expressions cannot say are left out.
func domainOf(sc object) (domain string, own []selector) {
	i18n := sc.object(i18nKey)
	domain = strings.ReplaceAll(i18n.text("domain"), "-", "_")
	if domain == "" {
		domain = defaultDomain
	}
	var patterns []string
	_ = json.Unmarshal(i18n.get("selectors"), &patterns) // none
	for _, p := range patterns {
		if re, err := regexp.Compile("^/(?:" + p + ")$"); err == nil {
			own = append(own, selector{re, schemaContext})
		}
	}
	return domain, own
}

// translate puts texts in place of a schema's, at all paths that are for people.
func translate(o object, prefix string, where []selector, texts map[string][]string) object {
	for i, m := range o {
		path := prefix + "/" + m.key
		switch m.value[0] {
		case '"':
			o[i].value = translateText(m.value, path, where, texts)
		case '{':
			if sub, err := parseObject(m.value); err == nil {
				o[i].value = translate(sub, path, where, texts).raw()
			}
		case '[':
			o[i].value = translateList(m.value, path, where, texts)
		}
	}
	return o
}

func translateList(raw json.RawMessage, path string, where []selector, texts map[string][]string) json.RawMessage {
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil {
		return raw
	}
	for i, item := range items {
		if sub, err := parseObject(item); err == nil {
			items[i] = translate(sub, fmt.Sprintf("%s[%d]", path, i), where, texts).raw()
		}
	}
	return mustJSON(items)
}

func translateText(raw json.RawMessage, path string, where []selector, texts map[string][]string) json.RawMessage {
	for _, s := range where {
		if !s.path.MatchString(path) {
			continue
		}
		var text string
		if json.Unmarshal(raw, &text) != nil {
			return raw
		}
		// gettext's separator between context and text
		if forms := texts[s.context+"\x04"+text]; len(forms) > 0 && forms[0] != "" {
			return mustJSON(forms[0])
		}
		return raw
	}
	return raw
}
