package codeinterpreter

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/mux"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nbserv/nbserv/internal/store"
	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/kernel/kerneltest"
	"github.com/nbserv/nbserv/sessions"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what another goroutine does, and tick how often it looks.
const (
	patience = 30 * time.Second
	tick     = 2 * time.Millisecond
)

// machine is what outlives a server: kernels, the database, folders.
type machine struct {
	t       *testing.T
	kernels *kernel.Manager
	prov    *kerneltest.Provisioner // nil for real kernels
	dir     string
	db      string
}

// scripted is a machine with scripted kernels, of the kernelspec "synth".
func scripted(t *testing.T, options func(kernel.Launch) (kerneltest.Options, error)) *machine {
	t.Helper()
	data := t.TempDir()
	kerneltest.WriteSpec(t, data, "synth", map[string]any{
		"argv": []string{"synth", "{connection_file}"}, "metadata": map[string]any{"nbserv": map[string]any{"transport": "ipc"}},
	})
	if options == nil {
		options = func(kernel.Launch) (kerneltest.Options, error) { return kerneltest.Options{}, nil }
	}
	prov := kerneltest.NewProvisionerFunc(t, options)
	specs := kernel.NewSpecs(kernel.SpecsConfig{DataDirs: []string{data}, DefaultName: "synth"})
	return newMachine(t, specs, prov, prov)
}

func newMachine(t *testing.T, specs *kernel.Specs, prov kernel.Provisioner, scripted *kerneltest.Provisioner) *machine {
	t.Helper()
	run, err := os.MkdirTemp("", "n") // t.TempDir's paths are too long for unix sockets
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(run)) })
	host := kernel.NewManager(kernel.Config{RootDir: t.TempDir(), RuntimeDir: run, RestartLimit: -1, ShutdownWait: 2 * time.Second}, specs, prov, nil)
	t.Cleanup(func() { require.NoError(t, host.Close(context.Background())) })
	return &machine{t: t, kernels: host, prov: scripted, dir: t.TempDir(), db: filepath.Join(t.TempDir(), "state.db")}
}

// server is one server on a machine.
type server struct {
	*machine
	*Interpreter
	sessions *sessions.Manager
	url      string
	stop     func() // ends it as a crash does: kernels and database stay
}

// serve starts a server with a pool "test" of scripted kernels, or with what change makes of it.
func (m *machine) serve(change func(*Config)) *server {
	m.t.Helper()
	cfg := Config{
		Dir: m.dir, Pools: []PoolConfig{{Name: "test", Kernel: "synth", Isolation: isolationNone}},
		Grace: 200 * time.Millisecond, SweepEvery: 5 * time.Millisecond,
	}
	if change != nil {
		change(&cfg)
	}
	db, err := store.Open(m.t.Context(), m.db, slog.New(slog.DiscardHandler), sessions.Schema, Schema)
	require.NoError(m.t, err)
	sm, err := sessions.New(m.t.Context(), sessions.Config{}, m.kernels, sessions.NewSQLite(db))
	require.NoError(m.t, err)
	i, err := New(m.t.Context(), cfg, sm, m.kernels, db)
	require.NoError(m.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { i.Run(ctx) })
	r := mux.NewRouter().SkipClean(true)
	NewAPI(i, cfg.Pools[0].Name).Register(r)
	srv := httptest.NewServer(r)
	var once sync.Once
	s := &server{machine: m, Interpreter: i, sessions: sm, url: srv.URL, stop: func() {
		once.Do(func() {
			cancel()
			wg.Wait()
			srv.Close()
			i.closeFiles()
			require.NoError(m.t, db.Close())
		})
	}}
	m.t.Cleanup(s.stop)
	return s
}

// closeFiles gives up what New has opened, as the end of a process does.
func (i *Interpreter) closeFiles() {
	for _, p := range i.pools {
		for _, s := range p.list() {
			if s.hasBegun() {
				_ = s.files.Close()
			}
		}
	}
}

// answer is a response, read.
type answer struct {
	code   int
	header http.Header
	body   string
}

// ask sends a request to the first pool; path is as it goes over the wire, below the pool. headers are pairs.
func (s *server) ask(method, path, body string, headers ...string) answer {
	s.t.Helper()
	a, err := s.try(s.t.Context(), method, path, body, headers...)
	require.NoError(s.t, err)
	return a
}

func (s *server) try(ctx context.Context, method, path, body string, headers ...string) (answer, error) {
	if !strings.HasPrefix(path, "/") {
		path = prefix + s.names[0] + "/" + path
	}
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(text)}, err
}

// run executes code in the session of an identifier.
func (s *server) run(identifier, code string, headers ...string) resource {
	s.t.Helper()
	return s.execute(identifier, map[string]any{"code": code}, headers...)
}

func (s *server) execute(identifier string, body map[string]any, headers ...string) resource {
	s.t.Helper()
	raw, err := json.Marshal(body)
	require.NoError(s.t, err)
	a := s.ask("POST", "executions?identifier="+url.QueryEscape(identifier), string(raw), headers...)
	require.True(s.t, a.code == http.StatusOK || a.code == http.StatusAccepted, "%d %s", a.code, a.body)
	return decode[resource](s.t, a.body)
}

func decode[T any](t *testing.T, text string) (v T) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), &v), text)
	return v
}

// refused asks for an error of the API's own shape.
func refused(t *testing.T, a answer, status int, code string) string {
	t.Helper()
	require.Equal(t, status, a.code, a.body)
	e := decode[errorAnswer](t, a.body).Error
	require.Equal(t, code, e.Code, a.body)
	require.Equal(t, code, a.header.Get("x-ms-error-code"))
	require.NotEmpty(t, e.Message)
	return e.Message
}

// golden compares JSON with a file.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, json.Indent(&b, got, "", "  "))
	file := filepath.Join("testdata", name+".json")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, append(b.Bytes(), '\n'), 0o644))
		return
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), b.String()+"\n")
}

// realMachine is a machine with the installed kernels. The test is skipped without the kernelspec name, or fails where
// NBSERV_REQUIRE_KERNELS says that it must be there.
func realMachine(t *testing.T, name string) *machine {
	t.Helper()
	specs := kernel.NewSpecs(kernel.SpecsConfig{Environ: os.Environ()})
	if _, err := specs.Find(name); err != nil {
		for required := range strings.SplitSeq(os.Getenv("NBSERV_REQUIRE_KERNELS"), ",") {
			require.NotEqual(t, name, strings.TrimSpace(required), "kernel %s is required: %v", name, err)
		}
		t.Skipf("kernel %s is not installed: %v", name, err)
	}
	prov, err := kernel.NewLocal(kernel.LocalConfig{Environ: os.Environ()})
	require.NoError(t, err)
	return newMachine(t, specs, prov, nil)
}

// sandbox looks for bubblewrap; without it the test is skipped, or fails where NBSERV_REQUIRE_SANDBOX is set.
func sandbox(t *testing.T) func() error {
	t.Helper()
	check := func() error { return kernel.CheckSandbox(context.Background(), os.Getenv("PATH")) }
	if err := check(); err != nil {
		require.Empty(t, os.Getenv("NBSERV_REQUIRE_SANDBOX"), "a sandbox is required: %v", err)
		t.Skipf("sessions cannot be confined here: %v", err)
	}
	return check
}

func noSandbox() error { return errors.New("there is none") }
