package auth

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCookieHeaderIsReadAsBrowsersWriteIt(t *testing.T) {
	for line, want := range map[string][]string{
		"a=1":                          {"1"},
		"b=0; a=1; c=2":                {"1"},
		"a=1; a=2":                     {"1", "2"},
		`a="1"`:                        {"1"},
		" a=1 ;\ta=2":                  {"1", "2"},
		"a=b=c==":                      {"b=c=="},
		"aa=1; xa=1; A=1; a":           nil,
		"":                             nil,
		"a=":                           {""},
		strings.Repeat("a=1;", 100):    {"1", "1", "1", "1"},
		"a=1; HttpOnly; Path=/,b=2; x": {"1"}, // a Set-Cookie sent back whole, as some programs do
	} {
		require.Equal(t, want, slices.Collect(cookies([]string{line}, "a")), line)
	}
}

func TestCookieEndsAfterItsLife_S5(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		cookie, _ := s.login()
		time.Sleep(cookieLife - time.Second)
		require.Equal(t, 200, s.get("/api/status", cookie).StatusCode)
		time.Sleep(2 * time.Second)
		require.Equal(t, 403, s.get("/api/status", cookie).StatusCode)
	})
}

func FuzzCookies(f *testing.F) {
	for _, s := range []string{"a=1", `a="`, "a=1; a=2", ";;=;a", "a=\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		got := slices.Collect(cookies([]string{line}, "a"))
		require.LessOrEqual(t, len(got), maxSameName)
		for _, v := range got {
			require.NotContains(t, v, ";")
			require.Contains(t, line, v)
		}
	})
}

// FuzzOpen: nothing opens that was not sealed, and what was sealed opens to itself.
func FuzzOpen(f *testing.F) {
	c, err := newCredentials([]byte("secret"), "token", "")
	require.NoError(f, err)
	now := time.Unix(1_800_000_000, 0)
	u := User{Username: "somebody"} // the same in every fuzzing process
	seal := func(u *User) string { return strings.TrimPrefix(c.seal("n", u, now, ""), "n=") }
	sealed := seal(&u)
	f.Add(sealed, "name")
	f.Add("", "")
	f.Add(".", "x")
	f.Add(sealed+"=", "\xff")
	f.Add(sealed[:len(sealed)-1], "\x00")
	f.Fuzz(func(t *testing.T, value, name string) {
		if _, ok := c.open("n", value, now); ok && value != sealed {
			t.Fatalf("%q opened", value)
		}
		in := User{Username: "u", Name: strings.ToValidUTF8(name, "?"), Color: &name}
		*in.Color = in.Name
		v := seal(&in)
		out, ok := c.open("n", v, now)
		require.Equal(t, len(v) <= maxCookieValue, ok)
		if ok {
			require.Equal(t, in, out)
		}
	})
}
