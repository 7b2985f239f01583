package rserver

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
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

	"github.com/nbserv/nbserv/internal/auth"
	"github.com/nbserv/nbserv/internal/httpx"
	"github.com/nbserv/nbserv/internal/store"
	"github.com/nbserv/nbserv/kernel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	patience = 60 * time.Second
	tick     = 5 * time.Millisecond

	token    = "0123456789abcdef0123456789abcdef"
	password = "correct horse"
)

// kernelspec is the installed kernelspec of a runtime.
var kernelspec = map[*runtime]string{runtimeR: "ir", runtimePython: "python3"}

// realHost runs the installed kernels. The test is skipped without the runtimes' ones, or fails where
// NBSERV_REQUIRE_KERNELS says that they must be there.
func realHost(t testing.TB, need ...*runtime) *kernel.Manager {
	t.Helper()
	specs := kernel.NewSpecs(kernel.SpecsConfig{Environ: os.Environ(), DefaultName: "ir"})
	for _, r := range need {
		if _, err := specs.Find(kernelspec[r]); err != nil {
			for required := range strings.SplitSeq(os.Getenv("NBSERV_REQUIRE_KERNELS"), ",") {
				require.NotEqual(t, kernelspec[r], strings.TrimSpace(required), "kernel %s is required: %v", kernelspec[r], err)
			}
			t.Skipf("kernel %s is not installed: %v", kernelspec[r], err)
		}
	}
	prov, err := kernel.NewLocal(kernel.LocalConfig{Environ: os.Environ()})
	require.NoError(t, err)
	host := kernel.NewManager(kernel.Config{RootDir: t.TempDir()}, specs, prov, nil)
	t.Cleanup(func() { require.NoError(t, host.Close(context.Background())) })
	return host
}

// site is a whole adapter behind authentication, with the users ann and bob.
type site struct {
	t      testing.TB
	host   kernel.Host
	dir    string
	db     *store.DB
	srv    *Server
	h      http.Handler
	tokens map[string]string // access tokens by user
	stop   func()
}

// people are the accounts ann and bob: a database that knows them, and what they logged in with. All sites begin with a copy,
// for hashing passwords takes long.
var people struct {
	once   sync.Once
	db     []byte
	tokens map[string]string
}

func newSite(t testing.TB, host kernel.Host) *site {
	t.Helper()
	s := &site{t: t, host: host, dir: t.TempDir(), tokens: map[string]string{"": token}}
	database := filepath.Join(s.dir, "state.db")
	people.once.Do(func() {
		s.start()
		for _, name := range []string{"ann", "bob"} {
			require.NoError(t, auth.NewAccounts(s.db, slog.New(slog.DiscardHandler)).Add(t.Context(), name, password))
			var grant accessTokenResponse
			s.as("").json(200, "POST", "/login", loginRequest{name, password}, &grant)
			s.tokens[name] = grant.AccessToken
		}
		s.stop()
		var err error
		people.db, err = os.ReadFile(database)
		require.NoError(t, err)
		people.tokens = s.tokens
	})
	s.tokens = maps.Clone(people.tokens)
	require.NoError(t, os.WriteFile(database, people.db, 0o600))
	s.start()
	t.Cleanup(func() { s.stop() })
	return s
}

// start opens the folder, a second time after stop.
func (s *site) start() {
	s.t.Helper()
	var err error
	s.db, err = store.Open(context.Background(), filepath.Join(s.dir, "state.db"), slog.New(slog.DiscardHandler), Schema, auth.AccountSchema)
	require.NoError(s.t, err)
	writeError := func(w http.ResponseWriter, r *http.Request, err error) { WriteError(w, r, Prefix, err) }
	a, err := auth.New(auth.Config{
		BaseURL: "/", StateDir: s.dir, Token: token, Accounts: auth.NewAccounts(s.db, slog.New(slog.DiscardHandler)),
		Dialects: []auth.Dialect{{Has: Has, Public: Public, Accounts: true, WriteError: writeError}},
	}, slog.New(slog.DiscardHandler))
	require.NoError(s.t, err)
	s.srv, err = New(context.Background(), Config{Dir: filepath.Join(s.dir, "rserver"), MaxFile: 1 << 20, MaxSnapshot: 1 << 20,
		DrainTime: 100 * time.Millisecond, AllowUnconfined: true, Hide: []string{s.dir}, Logger: slog.New(slog.NewTextHandler(testWriter{s.t}, nil))}, s.host, s.db)
	require.NoError(s.t, err)
	r := mux.NewRouter().SkipClean(true)
	(&API{Server: s.srv, Auth: a, Base: Prefix}).Register(r)
	s.h = httpx.Chain(a.Wrap(r), httpx.AccessLog(httpx.LogConfig{Logger: slog.New(slog.DiscardHandler)}), httpx.Recover)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.srv.Run(ctx) })
	s.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		require.NoError(s.t, s.db.Close())
	})
}

// testWriter shows the log of a test that failed.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimSpace(p))
	return len(p), nil
}

// user is a client of a site's.
type user struct {
	*site
	name string
}

func (s *site) as(name string) user { return user{s, name} }

// ask sends a request with header lines "Name: value".
func (u user) ask(method, path string, body io.Reader, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://localhost"+Prefix+path, body)
	r.RemoteAddr = "127.0.0.1:5555"
	if u.name != "nobody" {
		r.Header.Set("Authorization", "Bearer "+u.tokens[u.name])
	}
	for _, line := range headers {
		k, v, _ := strings.Cut(line, ": ")
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	u.h.ServeHTTP(w, r)
	return w
}

// json sends a JSON body, wants a status, and decodes the answer into v, unless v is nil. It gives the answer's text.
func (u user) json(status int, method, path string, body, v any) string {
	u.t.Helper()
	var raw []byte
	switch b := body.(type) {
	case nil:
	case string:
		raw = []byte(b)
	default:
		var err error
		raw, err = json.Marshal(body)
		require.NoError(u.t, err)
	}
	w := u.ask(method, path, bytes.NewReader(raw))
	text := w.Body.String()
	require.Equal(u.t, status, w.Code, "%s %s: %s", method, path, text)
	if v != nil {
		require.NoError(u.t, json.Unmarshal(w.Body.Bytes(), v), "%s %s: %s", method, path, text)
	}
	return text
}

// refused wants an error, and checks its body.
func (u user) refused(status int, method, path string, body any) apiError {
	u.t.Helper()
	var e apiError
	u.json(status, method, path, body, &e)
	require.NotEmpty(u.t, e.Message)
	require.Equal(u.t, Prefix+"/swagger.json", e.Link)
	require.Regexp(u.t, `^[A-Z]\w+Exception$`, e.ExceptionType)
	require.NotContains(u.t, e.Message, u.dir, "S12")
	return e
}

// session makes a session and gives its path.
func (u user) session(r *runtime) string {
	u.t.Helper()
	var made createSessionResponse
	u.json(201, "POST", "/sessions", createSessionRequest{Name: "s", RuntimeType: r.name}, &made)
	return "/sessions/" + made.SessionID
}

// execute runs code in a session.
func (u user) execute(session, code string, outputs ...string) executeResponse {
	u.t.Helper()
	var got executeResponse
	u.json(200, "POST", session+"/execute", executeRequest{Code: code, OutputParameters: outputs}, &got)
	return got
}

// mustExecute is execute of code that does not fail.
func (u user) mustExecute(session, code string, outputs ...string) executeResponse {
	u.t.Helper()
	got := u.execute(session, code, outputs...)
	require.True(u.t, got.Success, got.ErrorMessage)
	return got
}

// snapshot makes a snapshot of a session and gives its id.
func (u user) snapshot(session string) string {
	u.t.Helper()
	var made createSnapshotResponse
	u.json(201, "POST", session+"/snapshot", createSnapshotRequest{"snap"}, &made)
	return made.SnapshotID
}

func ptr[T any](v T) *T { return &v }

// definitions reads "x numeric, y data.frame".
func definitions(text string) *[]parameterDefinition {
	all := []parameterDefinition{}
	for part := range strings.SplitSeq(text, ",") {
		if name, kind, ok := strings.Cut(strings.TrimSpace(part), " "); ok {
			all = append(all, parameterDefinition{name, kind})
		}
	}
	return &all
}

// publish publishes a service and gives the path to call it.
func (u user) publish(name string, req publishRequest) string {
	u.t.Helper()
	u.json(201, "POST", "/services/"+name+"/v1", req, nil)
	return "/api/" + url.PathEscape(name) + "/v1"
}

// call calls a service.
func (u user) call(path, args string) webServiceResult {
	u.t.Helper()
	var got struct {
		webServiceResult
		OutputParameters map[string]json.RawMessage `json:"outputParameters"`
	}
	u.json(200, "POST", path, args, &got)
	result := got.webServiceResult
	for name, value := range got.OutputParameters {
		result.OutputParameters = append(result.OutputParameters, named{name, value})
	}
	return result
}

// mustCall is call of a service that does not fail; it gives the output parameters.
func (u user) mustCall(path, args string) map[string]string {
	u.t.Helper()
	got := u.call(path, args)
	require.True(u.t, got.Success, got.ErrorMessage)
	all := map[string]string{}
	for _, v := range got.OutputParameters {
		all[v.Name] = string(v.Value)
	}
	return all
}

// newWorker starts a kernel with the helper.
func newWorker(t testing.TB, host kernel.Host, r *runtime) *worker {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "w")
	require.NoError(t, makeFolders(dir))
	st, err := host.Start(t.Context(), kernel.StartOptions{Spec: kernelspec[r], Cwd: dir})
	require.NoError(t, err)
	require.NoError(t, host.Ready(t.Context(), st.ID))
	w := &worker{host: host, kernelID: st.ID, runtime: r, dir: dir}
	require.NoError(t, w.inject(t.Context()))
	return w
}
