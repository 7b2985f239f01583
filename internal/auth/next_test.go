package auth

import (
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLoginLeadsInside_S4(t *testing.T) {
	for _, tt := range []struct{ base, next, want string }{
		{base, base, base},
		{base, "/a%40b", "/a%40b"},
		{base, base + "tree/", base + "tree/"},
		{base, base + "//" + base + "tree", base + "//" + base + "tree"},
		{base, base + "tree//something", base + "tree//something"},
		{base, base + "lab?reset&path=a/../b#x", base + "lab?reset&path=a/../b#x"},
		{base, base + "lab/tree/é x.ipynb", base + "lab/tree/%C3%A9%20x.ipynb"},
		{base, base + "lab/tree/100%25.ipynb", base + "lab/tree/100%25.ipynb"},
		{base, base + `a"<b>`, base + "a%22%3Cb%3E"},
		{"/", "/lab", "/lab"},
		{"/", "/lab?next=//evil", "/lab?next=//evil"},
		{base, "", base},
		{base, "/", base},
		{base, "tree", base},
		{base, `\\tree`, base},
		{base, "/absolute/not/base_url", base},
		{base, "/a%40bad", base},
		{base, "https:///a%40b/extra/slash", base},
		{base, "https://google.com", base},
		{base, "https:" + base, base},
		{base, "///google.com", base},
		{base, "//host" + base + "tree", base},
		{base, base + "../../evil", base},
		{base, base + "%2e%2e/%2E./evil", base},
		{base, base + "%252e%252e/evil", base},
		{base, base + "a\r\nSet-Cookie: x=y", base},
		{base, base + "a%0d%0aSet-Cookie:x=y", base},
		{base, base + "a\xff", base},
		{base, base + strings.Repeat("x", maxNext), base},
		{"/", "#x", "/"},
		{"/", "?x", "/"},
		{"/", "//evil.com", "/"},
		{"/", `/\evil.com`, "/"},
		{"/", "/%5Cevil.com", "/"},
		{"/", "/%2Fevil.com", "/"},
		{"/", "/%252Fevil.com", "/"},
		{"/", "/\t/evil.com", "/"},
		{"/", "/%09/evil.com", "/"},
		{"/", "\t//evil.com", "/"},
		{"/", " //evil.com", "/"},
		{"/", "https:evil.com", "/"},
		{"/", "HTTPS://evil.com", "/"},
		{"/", "javascript:alert(1)", "/"},
		{"/", "%2F%2Fevil.com", "/"},
		{"/", "/./" + "/evil.com", "/"},
		{"/", "/a/..//evil.com", "/"},
		{"/", "/\u0085/evil.com", "/"},
	} {
		require.Equal(t, tt.want, safeNext(tt.next, tt.base), "%q below %q", tt.next, tt.base)
	}
}

// FuzzSafeNext: wherever a browser would go, it is on this server and below the base (S4).
func FuzzSafeNext(f *testing.F) {
	for _, s := range []string{"/lab", "//evil", `/\evil`, "https:evil", "/%2Fevil", "/\t/evil", "/a%40b/../x", "/a%40b/%2e%2e/x", "\x00", "#", "/a%40b/?a#b", "/é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, next string) {
		for _, b := range []string{"/", base} {
			got := safeNext(next, b)
			require.False(t, strings.ContainsFunc(got, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' }))
			require.Equal(t, got, safeNext(got, b), "it is its own answer")
			// As browsers read it: backslashes are slashes, and dot segments go.
			u, err := url.Parse("http://host:1")
			require.NoError(t, err)
			ref, err := url.Parse(strings.ReplaceAll(got, `\`, "/"))
			if err != nil {
				require.True(t, strings.HasPrefix(got, "/") && !strings.HasPrefix(got, "//"), got)
				continue
			}
			to := u.ResolveReference(ref)
			require.Equal(t, "http://host:1", to.Scheme+"://"+to.Host, got)
			require.True(t, strings.HasPrefix(path.Clean(to.EscapedPath())+"/", path.Clean(b)), got)
		}
	})
}
