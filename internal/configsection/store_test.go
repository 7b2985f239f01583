package configsection

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/gorilla/mux"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newStore makes a Store whose first folder is the user's.
func newStore(dirs ...string) *Store {
	return New(slog.New(slog.DiscardHandler), dirs[0], func() []string { return dirs })
}

func section(t *testing.T, text string) Section {
	t.Helper()
	var s Section
	require.NoError(t, json.Unmarshal([]byte(text), &s))
	return s
}

func requireJSON(t *testing.T, want string, got Section) {
	t.Helper()
	raw, err := json.Marshal(got)
	require.NoError(t, err)
	require.JSONEq(t, want, string(raw))
}

func TestUpdateMergesAndNullDeletes(t *testing.T) {
	s := newStore(filepath.Join(t.TempDir(), "not", "yet"))
	require.NoError(t, s.Set("example", section(t, `{"foo":"bar","baz":73,"sub":{"a":6,"b":7},"sub2":{"c":8}}`)))
	got, err := s.Update("example", section(t, `{"foo":null,"baz":75,"wib":[1,2],"sub":{"a":8,"b":null,"d":9},"sub2":{"c":null}}`))
	require.NoError(t, err)
	requireJSON(t, `{"baz":75,"wib":[1,2],"sub":{"a":8,"d":9}}`, got)
	again, err := s.Get("example")
	require.NoError(t, err)
	requireJSON(t, `{"baz":75,"wib":[1,2],"sub":{"a":8,"d":9}}`, again)
}

func TestNumbersKeepTheirDigits(t *testing.T) {
	s := newStore(t.TempDir())
	_, err := s.Update("n", section(t, `{"big":12345678901234567890,"f":1.0,"e":{"x":1e5}}`))
	require.NoError(t, err)
	got, err := s.Get("n")
	require.NoError(t, err)
	require.Equal(t, "12345678901234567890", string(got["big"]))
	require.Equal(t, "1.0", string(got["f"]))
	require.Contains(t, string(got["e"]), "1e5")
}

func TestInstalledFilesAreDefaultsAndStayApart(t *testing.T) {
	user, system := t.TempDir(), t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(user, "n.d"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(user, "n.d", "pkg.json"), []byte(`{"a":1,"b":1}`), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(system, "n.json"), []byte(`{"a":0,"sys":true}`), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(system, "broken.json"), []byte(`{"a":`), 0o644))
	s := newStore(user, system)
	got, err := s.Update("n", section(t, `{"b":2}`))
	require.NoError(t, err)
	requireJSON(t, `{"a":1,"b":2,"sys":true}`, got)
	own, err := os.ReadFile(filepath.Join(user, "n.json"))
	require.NoError(t, err)
	require.JSONEq(t, `{"b":2}`, string(own))
	got, err = s.Get("broken")
	require.NoError(t, err)
	require.Empty(t, got)
}

// What the user had to say is not lost because of a comma too many, and the log says which file it is.
func TestBrokenFiles(t *testing.T) {
	var log bytes.Buffer
	user, system := t.TempDir(), t.TempDir()
	s := New(slog.New(slog.NewTextHandler(&log, nil)), user, func() []string { return []string{system, user} })
	write := func(dir, name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	write(system, "n.json", `{"system": 1}`)
	require.NoError(t, os.Mkdir(filepath.Join(system, "dir.json"), 0o755))
	require.NoError(t, syscall.Mkfifo(filepath.Join(system, "pipe.json"), 0o600))
	write(system, "none.json", ``)
	for _, name := range []string{"dir", "pipe", "none"} {
		got, err := s.Get(name)
		require.NoError(t, err)
		require.Empty(t, got)
	}
	require.Contains(t, log.String(), "dir.json")
	require.Contains(t, log.String(), "pipe.json")
	require.NotContains(t, log.String(), "none.json")

	for i, change := range []func() error{
		func() error { _, err := s.Update("n", section(t, `{"user": 2}`)); return err },
		func() error { return s.Set("n", section(t, `{"user": 2}`)) },
	} {
		mistyped := fmt.Sprintf(`{"precious": %d,, }`, i)
		write(user, "n.json", mistyped)
		got, err := s.Get("n")
		require.NoError(t, err)
		requireJSON(t, `{"system": 1}`, got)
		require.NoError(t, change())
		got, err = s.Get("n")
		require.NoError(t, err)
		requireJSON(t, `{"system": 1, "user": 2}`, got)
		kept, err := os.ReadFile(filepath.Join(user, "n.json.broken"))
		require.NoError(t, err)
		require.Equal(t, mistyped, string(kept))
	}
}

// A path may begin with an administrator's folder; what users change goes into their own.
func TestOnlyTheUsersFolderIsWritten(t *testing.T) {
	user, first := t.TempDir(), t.TempDir()
	s := New(slog.New(slog.DiscardHandler), user, func() []string { return []string{first, user} })
	require.NoError(t, os.WriteFile(filepath.Join(first, "n.json"), []byte(`{"a": "administrator"}`), 0o644))
	got, err := s.Update("n", section(t, `{"a": "user", "b": 1}`))
	require.NoError(t, err)
	requireJSON(t, `{"a": "administrator", "b": 1}`, got)
	raw, err := os.ReadFile(filepath.Join(first, "n.json"))
	require.NoError(t, err)
	require.JSONEq(t, `{"a": "administrator"}`, string(raw))
}

func TestConcurrentUpdatesAllLand(t *testing.T) {
	s := newStore(t.TempDir())
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			_, err := s.Update("n", Section{string(rune('a' + i)): json.RawMessage("1")})
			require.NoError(t, err)
		})
	}
	wg.Wait()
	got, err := s.Get("n")
	require.NoError(t, err)
	require.Len(t, got, 20)
}

// S12, S8: what is not an object is the client's mistake, and a section name is no path.
func TestBadRequests(t *testing.T) {
	dir := t.TempDir()
	r := mux.NewRouter().SkipClean(true)
	(&API{Store: newStore(filepath.Join(dir, "in"))}).Register(r)
	for _, c := range []struct {
		method, path, body string
		want               int
	}{
		{"PUT", "/api/config/n", `[1]`, 400},
		{"PUT", "/api/config/n", `null`, 400},
		{"PUT", "/api/config/n", ``, 400},
		{"PATCH", "/api/config/n", `{"a":`, 400},
		{"PUT", "/api/config/..%2Fout", `{}`, 404},
		{"PUT", "/api/config/a.b", `{}`, 404},
		{"PUT", "/api/config/n", `{"a":"` + strings.Repeat("x", maxSectionBytes) + `"}`, 413},
		{"PUT", "/api/config/n", `{"a":1}`, 204},
		{"GET", "/api/config/n", ``, 200},
	} {
		w := httptest.NewRecorder()
		r.ServeHTTP(w, httptest.NewRequest(c.method, c.path, strings.NewReader(c.body)))
		require.Equal(t, c.want, w.Code, "%s %s", c.method, c.path)
		require.NotContains(t, w.Body.String(), dir)
	}
	out, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(dir, "in")}, out)
}
