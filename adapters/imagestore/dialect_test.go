package imagestore

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

// Every kind of fault has a code and a status; no success, and no disk that is full, looks like another's.
func TestEveryKindHasACode(t *testing.T) {
	require.Len(t, codes, len(fault.Kinds()))
	for _, k := range fault.Kinds() {
		require.NotEmpty(t, codes[k], k)
		w := httptest.NewRecorder()
		WriteError(w, httptest.NewRequest(http.MethodGet, "/ImageStore", nil), fault.New(k, "why"))
		require.GreaterOrEqual(t, w.Code, 400)
		require.Contains(t, w.Body.String(), `"Code":"`+codes[k]+`"`)
		require.Equal(t, k == fault.NoSpace, w.Code == http.StatusInsufficientStorage)
		require.Equal(t, k == fault.NoSpace, codes[k] == codeDiskFull)
		if k != fault.Gone {
			require.Equal(t, httpx.Status(k), w.Code)
		}
	}
	require.Equal(t, codeRange, codeOf(codeFor(fault.New(fault.Conflict, "x"), fault.Conflict, codeRange)))
	require.Equal(t, codeInvalid, codeOf(codeFor(fault.New(fault.Invalid, "x"), fault.Conflict, codeRange)))
	require.NoError(t, codeFor(nil, fault.Internal, codeRange))
}

func TestVersions(t *testing.T) {
	for text, c := range map[string]struct{ old, new bool }{
		"6.0": {true, false}, "6.2": {true, false}, "6.4-preview": {true, false}, "6.5": {true, true}, "7.0": {true, true}, "8.2": {true, true},
		"": {}, "5.9": {}, "6": {}, "6.": {}, "6.0.1": {}, "v6.0": {}, "1.0": {}, " 6.0": {}, "6.0-x": {}, "99999.0": {},
	} {
		require.Equal(t, c.old, checkVersion(text, version60) == nil, text)
		require.Equal(t, c.new, checkVersion(text, version65) == nil, text)
	}
}

func TestTimeouts(t *testing.T) {
	for text, want := range map[string]time.Duration{"": time.Minute, "1": time.Second, "4294967295": 4294967295 * time.Second} {
		got, err := parseTimeout(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, text := range []string{"0", "-1", "4294967296", "1.5", "x", "99999999999999999999"} {
		_, err := parseTimeout(text)
		require.Equal(t, fault.Invalid, fault.KindOf(err), text)
	}
}

func TestSessionIDs(t *testing.T) {
	const want = "6b29fc40-ca47-1067-b31d-00dd010662da"
	for _, text := range []string{want, "6B29FC40-CA47-1067-B31D-00DD010662DA", "{6B29FC40-CA47-1067-B31D-00DD010662DA}", "6b29fc40ca471067b31d00dd010662da"} {
		got, err := parseSession(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, text := range []string{"", "x", want + "0", "00000000-0000-0000-0000-000000000000", "urn:uuid:" + want, "../" + want} {
		_, err := parseSession(text)
		require.Equal(t, fault.Invalid, fault.KindOf(err), text)
	}
}
