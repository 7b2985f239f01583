package lab

import "encoding/json"

// settingsModel is one plugin's settings as pages read them.
type settingsModel struct {
	ID       string          `json:"id"`
	Schema   json.RawMessage `json:"schema"`
	Version  string          `json:"version"`
	Raw      string          `json:"raw"`
	Settings json.RawMessage `json:"settings"`
	Modified *string         `json:"last_modified"`
	Created  *string         `json:"created"`
}

// listedSettings are a plugin's settings in the list, which says what is wrong with them.
type listedSettings struct {
	settingsModel
	Warning *string `json:"warning"`
}

// settingsView is what all the models of one answer have in common.
type settingsView struct {
	in        *installation
	overrides object
	locale    string
}

func (l *Lab) view() settingsView {
	v := settingsView{in: l.finder.find()}
	v.overrides = l.overrides(v.in)
	v.locale = l.locale(v)
	return v
}

// locale is the one that the user chose in JupyterLab's settings, or the system's.
func (l *Lab) locale(v settingsView) string {
	const id = "@jupyterlab/translation-extension:plugin"
	var set struct {
		Locale string `json:"locale"`
	}
	if sc, err := l.schemas.find(v.in, id); err == nil {
		_ = json.Unmarshal(l.settings.get(id, sc.Raw).Parsed, &set) // it fits the schema
	}
	if _, ok := parseLocale(set.Locale); !ok || set.Locale == "default" {
		return systemLocale(l.env)
	}
	return set.Locale
}

// schemaOf is a plugin's schema with the administrator's defaults.
func (v settingsView) schemaOf(sc *schema) (json.RawMessage, error) {
	return withDefaults(sc.Raw, v.overrides.object(sc.ID))
}

func (l *Lab) model(v settingsView, sc *schema) (listedSettings, error) {
	raw, err := v.schemaOf(sc)
	if err != nil {
		return listedSettings{}, err
	}
	u := l.settings.get(sc.ID, raw)
	if v.locale != english {
		if o, err := parseObject(raw); err == nil {
			domain, own := domainOf(o)
			if texts := l.packs.texts(v.in, v.locale, domain); texts != nil {
				raw = translate(o, "", append(own, selectors...), texts).raw()
			}
		}
	}
	return listedSettings{settingsModel{sc.ID, raw, sc.Version, u.Raw, u.Parsed, u.Modified, u.Created}, u.Problem}, nil
}
