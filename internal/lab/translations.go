package lab

import (
	"net/http"
	"strings"

	"github.com/gorilla/mux"
	"golang.org/x/text/language"

	"github.com/nbserv/nbserv/internal/httpx"
)

// translationsModel is what pages read of translations: languages or catalogs by name, and why there are none.
type translationsModel struct {
	Data    map[string]any `json:"data"`
	Message string         `json:"message"`
}

func (l *Lab) getLanguages(w http.ResponseWriter, _ *http.Request) error {
	type names struct {
		Display string `json:"displayName"`
		Native  string `json:"nativeName"`
	}
	v := l.view()
	m := translationsModel{Data: map[string]any{}}
	packs := l.packs.languages(v.in)
	in := language.English
	if packs[v.locale] != "" {
		in, _ = parseLocale(v.locale) // locale gives only what can be read
	}
	m.Data[english] = names{languageName(language.English, in), languageName(language.English, language.English)}
	for locale := range packs {
		switch tag, ok := parseLocale(locale); {
		case locale == pseudo:
			m.Data[locale] = names{"Pseudo-language", "to translate the UI"}
		case ok:
			m.Data[locale] = names{languageName(tag, in), languageName(tag, tag)}
		}
	}
	return httpx.WriteJSON(w, http.StatusOK, m)
}

func (l *Lab) getTranslations(w http.ResponseWriter, r *http.Request) error {
	locale := mux.Vars(r)["locale"]
	if locale == "default" {
		locale = systemLocale(l.env)
	}
	m := translationsModel{Data: map[string]any{}}
	_, ok := parseLocale(locale)
	if ok {
		for domain, c := range l.packs.load(l.finder.known(), locale) {
			m.Data[domain] = c
		}
	}
	switch {
	case len(m.Data) > 0, strings.HasPrefix(locale, english): // the page is in English
	case ok:
		m.Message = "Language pack '" + locale + "' not installed!"
	default:
		m.Message = "Language pack '" + locale + "' not valid!"
	}
	return httpx.WriteJSON(w, http.StatusOK, m)
}
