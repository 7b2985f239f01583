package imagestore

import (
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/contents"
	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

func mustPath(s string) contents.Path {
	p, err := parsePath(s)
	if err != nil {
		panic(err)
	}
	return p
}

// The wire format of every answer is on one page.
func TestAnswersAreGolden(t *testing.T) {
	when := time.Date(2026, 2, 3, 4, 5, 6, 7_000_000, time.FixedZone("", 3600))
	file := contents.FileInfo{Path: mustPath("App/code.bin"), Size: math.MaxInt64, Modified: when}
	folder := contents.FolderInfo{Path: mustPath("App"), Files: 3, Bytes: 12}
	one := session{mustPath("a/b"), "6b29fc40-ca47-1067-b31d-00dd010662da", 5 << 30, when, []contents.Range{{From: 0, To: 1}, {From: 9, To: 5 << 30}}}
	done := session{mustPath("c"), "6b29fc40-ca47-1067-b31d-00dd010662db", 0, when, nil}
	var b strings.Builder
	golden(t, &b, "content", contentOf([]contents.FileInfo{file}, []contents.FolderInfo{folder}))
	golden(t, &b, "empty content", contentOf(nil, nil))
	golden(t, &b, "sessions", sessionsOf([]session{one, done}))
	golden(t, &b, "no sessions", sessionsOf(nil))
	golden(t, &b, "folder size", sizeOf(folder))
	golden(t, &b, "size of the store", sizeOf(contents.FolderInfo{}))
	golden(t, &b, "info", infoOf(1<<40, 1<<39, folder, 2, 7))
	w := httptest.NewRecorder()
	WriteError(w, httptest.NewRequest(http.MethodGet, "/ImageStore/x", nil), fault.New(fault.NotFound, "file or directory %q does not exist", "<x>"))
	b.WriteString("error\n" + w.Body.String())
	const name = "testdata/answers.golden"
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(name, []byte(b.String()), 0o644))
	}
	want, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, string(want), b.String())
}

func golden(t *testing.T, b *strings.Builder, name string, v any) {
	t.Helper()
	text, err := json.MarshalIndent(v, "", " ")
	require.NoError(t, err)
	b.WriteString(name + "\n" + string(text) + "\n")
}

func TestVersionsOfFiles(t *testing.T) {
	now := time.Now()
	a := versionOf(contents.FileInfo{Modified: now})
	require.NotEqual(t, a, versionOf(contents.FileInfo{Modified: now.Add(1)}))
}

func FuzzContentPath(f *testing.F) {
	for _, s := range []string{"a/b", `a\b`, `\a\\b\`, "", "/", "$", "a/$/b", "..", `a\..\b`, `..\..\etc`, "C:", `C:\x`, `\\host\share`, "a\x00b", "\xff", "a%2Fb",
		".hidden", "_.dir", strings.Repeat("a/", 3000), strings.Repeat("a", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePath(s)
		if err != nil {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			return
		}
		text := p.String()
		require.NotContains(t, text, `\`)
		require.NotContains(t, text, "\x00")
		for segment := range strings.SplitSeq(text, "/") {
			require.NotContains(t, []string{".", "..", "$"}, segment)
		}
		require.False(t, strings.HasPrefix(text, "/"))
		again, err := parsePath(text)
		require.NoError(t, err)
		require.Equal(t, p, again)
	})
}

func FuzzCopyDescription(f *testing.F) {
	for _, s := range []string{`{"RemoteSource":"a","RemoteDestination":"b"}`, `{"RemoteSource":"a\\b","RemoteDestination":"b","SkipFiles":["x"],"CheckMarkFile":true}`,
		`null`, `{}`, `[]`, `{"RemoteSource":1}`, `{"RemoteSource":"..","RemoteDestination":"b"}`, `{"SkipFiles":null}`, `{"SkipFiles":{"a":1}}`, "\xff",
		`{"RemoteSource":"a","RemoteDestination":""}`, `{"CheckMarkFile":"true"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var d *copyDescription
		if err := httpx.DecodeJSON(body, &d); err != nil {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			return
		}
		from, to, o, err := copyOf(d)
		if err != nil {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			return
		}
		require.False(t, from.IsRoot())
		require.False(t, to.IsRoot())
		require.Len(t, o.Skip, len(d.SkipFiles))
		require.Equal(t, d.CheckMarkFile, o.Mark == markFile)
	})
}
