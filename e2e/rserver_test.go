package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// rServer is a server with the R Server API on an address of its own, and users.
type rServer struct {
	*server
	address string
}

const rPassword = "the password of a user"

func startRServer(t *testing.T, users ...string) *rServer {
	t.Helper()
	requireSpec(t, "ir")
	flags := []string{"--rserver-listen=127.0.0.1:0"}
	if os.Getenv("NBSERV_REQUIRE_SANDBOX") == "" { // where accounts' code cannot be confined it may run all the same
		flags = append(flags, "--rserver-allow-unconfined")
	}
	s := &rServer{server: prepare(t, flags...)}
	for _, name := range users {
		s.user(rPassword+"\n", "add", name)
	}
	s.run()
	return s
}

// requireSpec skips without a kernelspec, or fails where the environment says that it must be there.
func requireSpec(t *testing.T, name string) {
	t.Helper()
	if !strings.Contains(","+os.Getenv("NBSERV_REQUIRE_KERNELS")+",", ","+name+",") {
		t.Skipf("kernel %s is not required here: make test prepares it", name)
	}
}

// run starts the process, once more after a kill.
func (s *rServer) run() {
	s.t.Helper()
	s.server.run()
	s.eventually(func() bool { return strings.Contains(s.log.String(), "Stop with") })
	_, rest, ok := strings.Cut(s.log.String(), "R Server at ")
	require.True(s.t, ok, s.log.String())
	s.address = strings.Fields(rest)[0]
}

// user runs nbserv user beside the server, or without it.
func (s *rServer) user(stdin string, args ...string) string {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), binary, append([]string{"user", "--state-dir=" + s.state, "--root-dir=" + s.root}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	require.NoError(s.t, err, "%s", out)
	return string(out)
}

// person is somebody who has logged in.
type person struct {
	s     *rServer
	token string
	fresh string // the refresh token
}

func (s *rServer) logIn(name, password string) person {
	s.t.Helper()
	var grant struct{ AccessToken, RefreshToken string }
	p := person{s: s}
	status, text := p.ask("POST", "/login", fmt.Sprintf(`{"username":%q,"password":%q}`, name, password))
	require.Equal(s.t, 200, status, text)
	var raw map[string]any
	require.NoError(s.t, json.Unmarshal([]byte(text), &raw))
	grant.AccessToken, grant.RefreshToken = raw["access_token"].(string), raw["refresh_token"].(string)
	return person{s, grant.AccessToken, grant.RefreshToken}
}

// ask may be used by any goroutine.
func (p person) ask(method, path, body string) (int, string) {
	req, err := http.NewRequestWithContext(p.s.t.Context(), method, p.s.address+path, strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	if p.token != "" {
		req.Header.Set("Authorization", "Bearer "+p.token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(text)
}

// must is ask that is answered with status; it decodes the answer into v, unless v is nil.
func (p person) must(status int, method, path, body string, v any) string {
	p.s.t.Helper()
	got, text := p.ask(method, path, body)
	require.Equal(p.s.t, status, got, "%s %s: %s", method, path, text)
	if v != nil {
		require.NoError(p.s.t, json.Unmarshal([]byte(text), v), text)
	}
	return text
}

// The documents' example, from a session to a snapshot to a service to a client that a generator makes of the service's
// swagger.json. In between the server is killed.
func TestRServerWithGeneratedClients(t *testing.T) {
	s := startRServer(t, "ann", "bob")
	t.Setenv("NBSERV_CLIENT_DIR", t.TempDir())
	require.Contains(t, s.python("rserver_client.py", "author", s.address, "ann", rPassword), "published "+s.address+"/api/transmission/v1.0.0")
	s.stop(syscall.SIGKILL)
	s.run()
	for _, address := range []string{s.address, s.url + "rserver"} {
		require.Contains(t, s.python("rserver_client.py", "reader", address, "bob", rPassword), "answer 0.64181252")
	}
	log := s.log.String()
	for _, secret := range []string{rPassword, "eyJ"} {
		require.NotContains(t, log, secret, "S6")
	}
}

// What people see of each other, and how their tokens end.
func TestRServerUsers(t *testing.T) {
	s := startRServer(t, "ann", "bob")
	ann, bob := s.logIn("ann", rPassword), s.logIn("bob", rPassword)
	admin, token := s.logIn("admin", s.token), person{s: s, token: s.token}
	var session struct{ SessionID string }
	ann.must(201, "POST", "/sessions", `{"name":"hers"}`, &session)
	path := "/sessions/" + session.SessionID
	for _, other := range []person{bob, admin, token} {
		require.Contains(t, other.must(404, "GET", path+"/files", "", nil), `"exceptionType":"NotFoundException"`)
		require.Equal(t, "[]\n", other.must(200, "GET", "/sessions", "", nil))
	}
	person{s: s}.must(401, "GET", "/sessions", "", nil)
	require.Contains(t, ann.must(200, "GET", "/sessions", "", nil), session.SessionID)
	ann.must(200, "POST", path+"/execute", `{"code":"secret <- 1"}`, nil)
	resp, err := s.ask("GET", "api/contents", nil, http.Header{"Authorization": {"Bearer " + ann.token}})
	require.NoError(t, err)
	require.Equal(t, 403, resp.StatusCode, "an account is for this API alone")

	next := person{s: s}
	var grant map[string]any
	next.must(200, "POST", "/login/refreshToken", `{"refreshToken":"`+bob.fresh+`"}`, &grant)
	next.token = grant["access_token"].(string)
	next.must(200, "GET", "/sessions", "", nil)
	next.must(401, "POST", "/login/refreshToken", `{"refreshToken":"`+bob.fresh+`"}`, nil) // a copy
	next.must(401, "GET", "/sessions", "", nil)

	require.Equal(t, "ann: password changed\n", s.user("another password\n", "passwd", "ann"))
	s.eventually(func() bool { status, _ := ann.ask("GET", "/sessions", ""); return status == 401 })
	person{s: s}.must(401, "POST", "/login", fmt.Sprintf(`{"username":"ann","password":%q}`, rPassword), nil)
	ann = s.logIn("ann", "another password")
	require.Contains(t, ann.must(200, "GET", path+"/workspace", "", nil), "secret")
	ann.must(200, "DELETE", path+"/force", "", nil)
	require.NotContains(t, s.log.String(), "another password", "S6")
	require.NotContains(t, s.log.String(), bob.fresh, "S6")
}

// 32 people call one service at once; a kernel that is killed in a call is an error for that call; a server that is killed
// is for none, and sessions are there again with what they had.
func TestRServerConsumers(t *testing.T) {
	s := startRServer(t, "ann")
	ann := s.logIn("ann", rPassword)
	ann.must(201, "POST", "/services/sum/v1", `{"code":"if (x < 0) tools::pskill(Sys.getpid(), 9); r <- x + y",
		"inputParameterDefinitions":[{"name":"x","type":"numeric"},{"name":"y","type":"numeric"}],"outputParameterDefinitions":[{"name":"r","type":"numeric"}]}`, nil)
	all := func() {
		var wg sync.WaitGroup
		var mu sync.Mutex
		var wrong bytes.Buffer
		for i := range 32 {
			wg.Go(func() {
				status, text := ann.ask("POST", "/api/sum/v1", fmt.Sprintf(`{"x":%d,"y":1000}`, i))
				if status != 200 || !strings.Contains(text, fmt.Sprintf(`"outputParameters":{"r":%d}`, 1000+i)) {
					mu.Lock()
					defer mu.Unlock()
					fmt.Fprintln(&wrong, i, status, text)
				}
			})
		}
		wg.Wait()
		require.Empty(t, wrong.String())
	}
	all()
	require.Contains(t, ann.must(200, "POST", "/api/sum/v1", `{"x":-1,"y":1}`, nil), `"success":false,"errorMessage":"R ended during the call: `)
	all()
	var session struct{ SessionID string }
	ann.must(201, "POST", "/sessions", `{}`, &session)
	ann.must(200, "POST", "/sessions/"+session.SessionID+"/execute", `{"code":"v <- 42; writeLines(\"kept\", \"f\")"}`, nil)
	s.stop(syscall.SIGKILL)
	s.run()
	all()
	path := "/sessions/" + session.SessionID
	s.eventually(func() bool { status, _ := ann.ask("GET", path+"/workspace", ""); return status == 200 })
	require.Contains(t, ann.must(200, "POST", path+"/execute", `{"code":"cat(v, readLines(\"f\"))"}`, nil), `"consoleOutput":"42 kept"`)
	ann.must(200, "DELETE", path, "", nil)
}
