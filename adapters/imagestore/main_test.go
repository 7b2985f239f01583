package imagestore

import (
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gorilla/mux"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nbserv/nbserv/contents"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// store is a server of the API over a fresh folder.
type store struct {
	t     *testing.T
	root  string
	files *contents.Dir
	url   string
	http  *http.Client
}

func newStore(t *testing.T, change ...func(*contents.Config)) *store {
	t.Helper()
	c := contents.DefaultConfig()
	c.RootDir, c.StagingDir = t.TempDir(), t.TempDir()
	c.ForPrograms, c.AlwaysDeleteDir, c.FollowSymlinks, c.DeleteToTrash = true, true, false, false
	for _, f := range change {
		f(&c)
	}
	d, err := contents.New(c)
	require.NoError(t, err)
	r := mux.NewRouter().SkipClean(true)
	(&API{Files: d, MaxFile: c.MaxUpload}).Register(r)
	s := httptest.NewServer(r)
	t.Cleanup(func() {
		s.Close()
		require.NoError(t, d.Close())
	})
	return &store{t, c.RootDir, d, s.URL, s.Client()}
}

// ask sends a request; path is as it goes over the wire, without api-version and timeout. headers are pairs.
func (s *store) ask(method, path string, body io.Reader, headers ...string) (int, string) {
	s.t.Helper()
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	return s.raw(method, path+sep+"api-version=6.5&timeout=60", body, headers...)
}

func (s *store) raw(method, path string, body io.Reader, headers ...string) (int, string) {
	s.t.Helper()
	req, err := http.NewRequest(method, s.url+path, body)
	require.NoError(s.t, err)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := s.http.Do(req)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	require.NotContains(s.t, string(text), s.root, "S12")
	return resp.StatusCode, string(text)
}

// ok sends a request that must be answered with exactly 200.
func (s *store) ok(method, path, body string, headers ...string) string {
	s.t.Helper()
	status, text := s.ask(method, path, strings.NewReader(body), headers...)
	require.Equal(s.t, 200, status, "%s %s: %s", method, path, text)
	return text
}

// fails sends a request that must be answered with a FabricError of this code; it gives the message.
func (s *store) fails(status int, code, method, path, body string, headers ...string) string {
	s.t.Helper()
	got, text := s.ask(method, path, strings.NewReader(body), headers...)
	require.Equal(s.t, status, got, "%s %s: %s", method, path, text)
	return s.code(code, text)
}

func (s *store) code(code, text string) string {
	s.t.Helper()
	var e fabricError
	require.NoError(s.t, json.Unmarshal([]byte(text), &e), text)
	require.Equal(s.t, code, e.Error.Code, text)
	require.NotEmpty(s.t, e.Error.Message)
	return e.Error.Message
}

func (s *store) read(name string) string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.root, name))
	require.NoError(s.t, err)
	return string(text)
}
