package contents

import (
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
)

func TestParsePath(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "/": "", "//": "", "a": "a", "/a/b/": "a/b", "a//b": "a/b", "å b/ç d.ipynb": "å b/ç d.ipynb",
		"a..b": "a..b", "...": "...", ".a": ".a", "a:b.csv": "a:b.csv", "%2e%2e/x": "%2e%2e/x", `a\b`: `a\b`, "a\nb": "a\nb",
		strings.Repeat("x", 255): strings.Repeat("x", 255),
	} {
		p, err := ParsePath(in)
		require.NoError(t, err, in)
		require.Equal(t, want, p.String())
	}
}

// TestUnsafePathsAreRefused_S8: no form of a parent, of a drive or of another machine gets through.
func TestUnsafePathsAreRefused_S8(t *testing.T) {
	for _, in := range []string{
		"..", "../x", "a/../b", "a/..", ".", "./a", "a/./b", "/..", `..\x`, `a\..\b`, `a/..\..\b`, "a\x00b", "\x00", "C:", `C:\x`,
		`c:\windows`, `\\host\share`, `a/\\host\share`, "a\xffb", "\xc0\xae\xc0\xae/x", strings.Repeat("x", 256),
		strings.Repeat("x/", 2049),
	} {
		_, err := ParsePath(in)
		require.Equal(t, fault.Invalid, fault.KindOf(err), "%q", in)
	}
}

func TestPathParts(t *testing.T) {
	p, err := ParsePath("a/.b/c.tar.gz")
	require.NoError(t, err)
	require.Equal(t, "c.tar.gz", p.Name())
	require.Equal(t, "a/.b", p.Parent().String())
	require.True(t, p.Parent().Parent().Parent().IsRoot())
	require.True(t, p.Hidden())
	require.False(t, p.reserved())
	require.True(t, p.Parent().Contains(p))
	require.False(t, p.Contains(p.Parent()))
	ab, _ := ParsePath("ab")
	a, _ := ParsePath("a")
	require.False(t, a.Contains(ab), "a sibling that shares a prefix")
	for _, name := range []string{"", "..", "x/y", "/x", "a\x00"} {
		_, err := p.Join(name)
		require.Error(t, err, name)
	}
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"", "a/b", "../x", `a\..\b`, "a//b/", "C:x", "\xff", ".h/.nbserv-x", strings.Repeat("a/", 100)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePath(s)
		if err != nil {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			return
		}
		require.True(t, filepath.IsLocal(p.local()))
		require.True(t, utf8.ValidString(p.rel))
		root := "/root/dir"
		joined := filepath.Join(root, p.rel)
		require.True(t, joined == root || strings.HasPrefix(joined, root+"/"), "%q leaves the root", s)
		again, err := ParsePath(p.rel)
		require.NoError(t, err)
		require.Equal(t, p, again)
		if !p.IsRoot() {
			require.Equal(t, p, p.Parent().join(p.Name()))
		}
	})
}
