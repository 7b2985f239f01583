package lab

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTranslations(t *testing.T) {
	s := newSite(t, nil)
	require.Equal(t, map[string]any{
		"en":     map[string]any{"displayName": "English", "nativeName": "English"},
		"fr_FR":  map[string]any{"displayName": "French (France)", "nativeName": "Français (France)"},
		"ach_UG": map[string]any{"displayName": "Pseudo-language", "nativeName": "to translate the UI"},
	}, s.json("/lab/api/translations/")["data"])

	fr := s.json("/lab/api/translations/fr_FR")
	require.Empty(t, fr["message"])
	domains := fr["data"].(map[string]any)
	require.Equal(t, []any{"Pousser"}, domains["git_panel"].(map[string]any)["Push"], "an extension's own")
	lab := domains["jupyterlab"].(map[string]any)
	require.Equal(t, []any{"Dossier"}, lab["File"], "the extension's texts are newer: 4.10 is more than 4.5")
	require.Equal(t, []any{"Aspect"}, lab["menu\x04Look"])

	for locale, message := range map[string]string{"es_AR": "Language pack 'es_AR' not installed!", "foo_BAR": "Language pack 'foo_BAR' not valid!", "default": "", "en": ""} {
		m := s.json("/lab/api/translations/" + locale)
		require.Empty(t, m["data"], locale)
		require.Equal(t, message, m["message"])
	}
}

// The settings editor speaks the language that the user chose, the server's without a choice.
func TestSchemasAreTranslated(t *testing.T) {
	s := newSite(t, nil)
	titles := func() []any {
		sc := s.json("/lab/api/settings/" + themesID)["schema"].(map[string]any)
		item := sc["jupyter.lab.menus"].(map[string]any)["main"].([]any)[0].(map[string]any)["items"].([]any)[0]
		theme := sc["properties"].(map[string]any)["theme"].(map[string]any)
		return []any{sc["title"], theme["title"], item.(map[string]any)["label"], theme["default"]}
	}
	require.Equal(t, []any{"Theme", "Selected", "Look", "JupyterLab Light"}, titles())
	code, message := s.put(localeID, `{locale: "fr_FR"}`)
	require.Equal(t, 204, code, message)
	require.Equal(t, []any{"Thème", "Choisi", "Aspect", "JupyterLab Light"}, titles())
	require.Equal(t, "Français (France)", s.json("/lab/api/translations")["data"].(map[string]any)["fr_FR"].(map[string]any)["displayName"])
	code, _ = s.put(localeID, `{locale: "xx_not_there"}`)
	require.Equal(t, 204, code)
	require.Equal(t, "Theme", titles()[0])

	s = newSite(t, func(s *site) { s.server.Env["LC_ALL"] = "fr_FR.UTF-8@euro" })
	require.Equal(t, "Thème", titles()[0])
	require.NotEmpty(t, s.json("/lab/api/translations/default")["data"])
	write(t, filepath.Join(s.prefix, "lib/python3.12/site-packages/jupyterlab_language_pack_fr_FR/locale/fr_FR/LC_MESSAGES/jupyterlab.json"), `{"schema\u0004Theme": ["Nouveau"]`)
	require.Equal(t, "Theme", titles()[0], "broken")
	require.Contains(t, s.log.String(), "translations cannot be used")
}

func TestLanguageName(t *testing.T) {
	for _, c := range [][3]string{{"fr_FR", "en", "French (France)"}, {"en", "fr_FR", "Anglais"}, {"pl_pl", "en", "Polish (Poland)"}, {"en", "zza", "English"}} {
		tag, ok := parseLocale(c[0])
		require.True(t, ok)
		in, ok := parseLocale(c[1])
		require.True(t, ok)
		require.Equal(t, c[2], languageName(tag, in), "%v", c)
	}
}

func TestEntryPoints(t *testing.T) {
	const text = "[a]\nx = one\n[g]\n# c = d\n y=two.three:thing [extra]\nz = four [e]\n\nbroken\n[h]\nv = five\n"
	require.Equal(t, map[string]string{"y": "two.three", "z": "four"}, parseEntryPoints(text, "g"))
}

func TestNewer(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{{"4.10", "4.9.1", true}, {"4.9", "4.10", false}, {"1.0", "1.0.0", false}, {"1.0.1", "1.0", true}, {"v2", "1.9", true}, {"2.0rc1", "2.0", false}, {"", "1", false}} {
		require.Equal(t, c.want, newer(c.a, c.b), "%s > %s", c.a, c.b)
	}
}

func TestSystemLocale(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"LANG": "de_DE.UTF-8"}, "de_DE"}, {map[string]string{"LANG": "C.UTF-8"}, "en"}, {map[string]string{"LANG": "POSIX"}, "en"}, {nil, "en"},
		{map[string]string{"LC_ALL": "C", "LANG": "de_DE"}, "en"}, {map[string]string{"LC_CTYPE": "sr_RS@latin", "LANG": "de_DE"}, "sr_RS"},
	} {
		require.Equal(t, c.want, systemLocale(c.env), "%v", c.env)
	}
}
