package lab

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

func TestFromJSON5(t *testing.T) {
	for src, want := range map[string]string{
		`{}`:              `{}`,
		"\uFEFF [ ] // x": `[]`,
		`{a: 1, 'b': "c", $d_1: [1, 2,], /* x
		*/ "e": null,}`: `{"a":1,"b":"c","$d_1":[1,2],"e":null}`,
		`{ünï: true, a\u0062: false}`:               `{"ünï":true,"ab":false}`,
		`[1.0, 1e5, 12345678901234567890, -0.5E-3]`: `[1.0,1e5,12345678901234567890,-0.5e-3]`,
		`[.5, 5., +1, -.5, 5.e3, 0xfF, -0X10]`:      `[0.5,5,1,-0.5,5e3,255,-16]`,
		`'it\'s "so"'`:                              `"it's \"so\""`,
		`"\x41\u00e9\0\v\a\/"`:                      "\"\\u0041\\u00e9\\u0000\\u000ba/\"",
		"'a\\\nb\\\r\nc\\\u2028d\u2028'":            "\"abcd\u2028\"",
		`"\ud83d\ude00 \ud800"`:                     `"\ud83d\ude00 \ud800"`,
		"'\t'":                                      `"\t"`,
		"// nothing else\n1":                        `1`,
		`/**/"/* no comment */ // either"`:          `"/* no comment */ // either"`,
	} {
		got, err := fromJSON5([]byte(src))
		require.NoError(t, err, src)
		require.Equal(t, want, string(got), src)
		require.True(t, json.Valid(got), src)
	}
}

func TestFromJSON5SaysWhatIsWrong(t *testing.T) {
	for src, want := range map[string]string{
		"":                               "line 1: it ends too early",
		"{\n\n  a: }":                    "line 3: unexpected '}'",
		"{a 1}":                          "unexpected '1'",
		"{a: 1 b: 2}":                    "unexpected 'b'",
		"[1,,2]":                         "unexpected ','",
		"{":                              "it ends too early",
		"[1":                             "it ends too early",
		"{} x":                           "'x' follows the end",
		"'a":                             "a text does not end",
		"'a\nb'":                         "a text does not end before its line does",
		`"\1"`:                           `\1`,
		`"\u12g4"`:                       "hexadecimal digits",
		`"\`:                             "it ends too early",
		"/* a":                           "a comment does not end",
		"/ a":                            "unexpected '/'",
		"012":                            "begins with 0",
		"+":                              "it ends too early",
		"-.":                             "it ends too early",
		"1e":                             "it ends too early",
		"0x":                             "hexadecimal number",
		"NaN":                            "no number that settings can hold",
		"-Infinity":                      "no number that settings can hold",
		"-true":                          "a sign without a number",
		"yes":                            `"yes" is no value`,
		"\"\xff\"":                       "not UTF-8",
		strings.Repeat("[", 9999):        "nests deeper",
		"0x" + strings.Repeat("f", 9999): "hexadecimal number",
	} {
		_, err := fromJSON5([]byte(src))
		require.ErrorContains(t, err, want, "%.40q", src)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
	}
}

// What comes out is JSON, and JSON goes through with its values.
func FuzzFromJSON5(f *testing.F) {
	f.Add([]byte(`{a: [1, .5, 0x10, 'x\u0041'], /* c */ "b": {}, } // end`))
	f.Add([]byte(`{"a": 1.0, "b": [true, null, "\ud800"], "c": 1e400}`))
	f.Add([]byte("'\\\r\n\u2028' "))
	f.Add([]byte("{"))
	f.Fuzz(func(t *testing.T, src []byte) {
		out, err := fromJSON5(src)
		var before, after any
		if err != nil {
			require.False(t, json.Valid(src) && utf8.Valid(src) && len(src) < httpx.MaxDepth, "JSON is refused: %v", err)
			return
		}
		require.True(t, json.Valid(out), "%q", out)
		if json.Unmarshal(src, &before) == nil {
			require.NoError(t, json.Unmarshal(out, &after))
			require.Equal(t, before, after)
		}
	})
}
