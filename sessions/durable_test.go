package sessions_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gorilla/mux"
	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/store"
	"github.com/nbserv/nbserv/sessions"
)

// childDatabase makes this test binary a server with the database it names.
const childDatabase = "NBSERV_TEST_SESSIONS_DB"

// serveUntilKilled serves the API on a port that it prints. It ends when its parent does, at the latest.
func serveUntilKilled(path string) {
	db, err := store.Open(context.Background(), path, slog.Default(), sessions.Schema)
	if err != nil {
		panic(err)
	}
	m, err := sessions.New(context.Background(), sessions.Config{}, newFakeHost(), sessions.NewSQLite(db))
	if err != nil {
		panic(err)
	}
	r := mux.NewRouter()
	(&sessions.API{Sessions: m, BaseURL: "/"}).Register(r)
	_, _ = os.Stdout.WriteString(httptest.NewServer(r).URL + "\n")
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// child runs a server until kill.
func child(t *testing.T, path string) (url string, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDatabase+"="+path)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	kill = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = in.Close()
	}
	t.Cleanup(kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(line), kill
}

// ask gives the status and the body, read to the last byte.
func ask(t *testing.T, method, url, body string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	var v map[string]any
	if len(b) > 0 && b[0] == '{' {
		require.NoError(t, json.Unmarshal(b, &v))
	}
	return res.StatusCode, v
}

func TestWhatWasAnsweredSurvivesAKill_P2(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")

	url, kill := child(t, path)
	code, made := ask(t, "POST", url+"/api/sessions", `{"path":"a.ipynb","name":"a.ipynb","type":"notebook"}`)
	kill()
	require.Equal(t, http.StatusCreated, code)
	id := made["id"].(string)

	url, kill = child(t, path)
	code, got := ask(t, "GET", url+"/api/sessions/"+id, "")
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, "a.ipynb", got["path"])
	require.Equal(t, made["kernel"].(map[string]any)["id"], got["kernel"].(map[string]any)["id"])
	require.Equal(t, "dead", got["kernel"].(map[string]any)["execution_state"])
	code, _ = ask(t, "PATCH", url+"/api/sessions/"+id, `{"path":"b.ipynb","name":"b"}`)
	kill()
	require.Equal(t, http.StatusOK, code)

	url, kill = child(t, path)
	code, got = ask(t, "POST", url+"/api/sessions", `{"path":"b.ipynb","type":"notebook","kernel":{"name":"ir"}}`)
	kill()
	require.Equal(t, http.StatusCreated, code)
	require.Equal(t, id, got["id"])
	require.Equal(t, "b", got["name"])

	url, kill = child(t, path)
	code, _ = ask(t, "DELETE", url+"/api/sessions/"+id, "")
	kill()
	require.Equal(t, http.StatusNoContent, code)

	url, kill = child(t, path)
	code, _ = ask(t, "GET", url+"/api/sessions/"+id, "")
	kill()
	require.Equal(t, http.StatusNotFound, code)
}

func TestADamagedDatabaseStillStarts_P16(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db, err := store.Open(t.Context(), path, slog.New(slog.DiscardHandler), sessions.Schema)
	require.NoError(t, err)
	m, err := sessions.New(t.Context(), sessions.Config{}, newFakeHost(), sessions.NewSQLite(db))
	require.NoError(t, err)
	ids := map[string]string{}
	for _, p := range []string{"a", "b", "c"} {
		ids[p] = create(t, m, notebook(p)).ID
	}
	require.NoError(t, db.Close())
	sound, err := os.ReadFile(path)
	require.NoError(t, err)
	for at := 0; at < len(sound); at += 331 {
		bad := append([]byte{}, sound...)
		bad[at] ^= 0xff
		path := filepath.Join(t.TempDir(), "state.db")
		require.NoError(t, os.WriteFile(path, bad, 0o600))
		m, err := sessions.New(t.Context(), sessions.Config{}, newFakeHost(), sqlite(t, path))
		require.NoError(t, err, "byte %d", at)
		aside, err := filepath.Glob(path + ".damaged-*")
		require.NoError(t, err)
		for p, id := range ids {
			require.Equal(t, len(aside) == 0, create(t, m, notebook(p)).ID == id, "byte %d", at)
		}
		create(t, m, notebook("d"))
	}
}
