package lab

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/language"
	"golang.org/x/text/language/display"
)

const (
	english = "en"
	// pseudo is the language of translators: every text shows its key.
	pseudo = "ach_UG"
	// maxLocale bounds what is looked at as a name of a locale; the longest real ones have a dozen characters.
	maxLocale = 35
)

// parseLocale reads a name such as fr_FR.
func parseLocale(name string) (language.Tag, bool) {
	if name == "" || len(name) > maxLocale {
		return language.Und, false
	}
	tag, err := language.Parse(strings.ReplaceAll(name, "_", "-"))
	return tag, err == nil
}

// languageName is what a locale is called in another one, in English where that one is not known: "French (France)".
func languageName(locale, in language.Tag) string {
	namer := display.Tags(in)
	if namer == nil {
		namer = display.English.Tags()
	}
	return capital(namer.Name(locale))
}

func capital(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[n:]
}

// systemLocale is the locale of the server's environment, the default of its pages.
func systemLocale(env map[string]string) string {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		value, _, _ := strings.Cut(env[name], ".")
		value, _, _ = strings.Cut(value, "@")
		if _, ok := parseLocale(value); ok {
			return value
		}
		if value != "" {
			break // C, POSIX
		}
	}
	return english
}
