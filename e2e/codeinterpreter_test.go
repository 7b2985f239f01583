package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// execution is the answer of the executions route.
type execution struct {
	ID, Identifier, Status string
	Result                 *struct {
		Stdout, Stderr  string
		ExecutionResult json.RawMessage
	}
	Error *struct{ Code, Message string }
}

// exec runs code in a session of a pool. It may be used by any goroutine.
func (s *server) exec(pool, identifier string, body map[string]any, header http.Header) (execution, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return execution{}, err
	}
	h := s.bearer()
	for name, v := range header {
		h[name] = v
	}
	a, err := s.ask("POST", "aca/pools/"+pool+"/executions?api-version=2025-10-02-preview&identifier="+identifier, raw, h)
	if err != nil {
		return execution{}, err
	}
	var e execution
	if a.StatusCode >= 300 {
		return e, fmt.Errorf("%s: %s", a.Status, a.body)
	}
	return e, json.Unmarshal(a.body, &e)
}

// needPython skips where no kernel python3 is required: the tests' own environment has one.
func needPython(t *testing.T) {
	t.Helper()
	if !strings.Contains(os.Getenv("NBSERV_REQUIRE_KERNELS"), "python3") {
		t.Skip("NBSERV_REQUIRE_KERNELS does not name python3: make test prepares it")
	}
}

// endpoint is a further address that the server has announced.
func (s *server) endpoint(name string) string {
	s.t.Helper()
	s.eventually(func() bool { return strings.Contains(s.log.String(), "Stop with") })
	_, rest, ok := strings.Cut(s.log.String(), name+" at ")
	require.True(s.t, ok, s.log.String())
	return strings.Fields(rest)[0]
}

// The API's own examples, by curl, at the root of an address of its own.
func TestCodeInterpreterByItsDocument(t *testing.T) {
	needPython(t)
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	s := start(t, "--token=", "--codeinterpreter-listen=127.0.0.1:0")
	base := s.endpoint("Code interpreter")
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "README.md"), bytes.Repeat([]byte("x"), 5045), 0o600))
	curl := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "curl", append([]string{"-sS", "--fail-with-body"}, args...)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "curl %s: %s", args, out)
		return string(out)
	}
	const query = "?api-version=2024-08-02-preview&identifier=test-identifier"
	execute := func(code string) string {
		return curl("-i", "-X", "POST", base+"/code/execute"+query, "-H", "Content-Type: application/json", "-d", `{
    "properties": {
        "identifier": "test-identifier",
        "codeInputType": "inline",
        "executionType": "Synchronous",
        "code": "`+code+`",
        "timeoutInSeconds": 100
    }
}`)
	}
	out := execute(`print(\"inline-synchronous\")`)
	require.Contains(t, out, "HTTP/1.1 202 Accepted")
	for _, header := range []string{"Operation-Id", "X-Ms-Container-Execution-Duration", "X-Ms-Execution-Request-Time", "X-Ms-Overall-Execution-Time", "X-Ms-Session-Guid"} {
		require.Regexp(t, "(?m)^"+header+": \\S+\r$", out)
	}
	require.Regexp(t, `\{"properties":\{"\$id":"[-0-9a-f]{36}",.*"status":"Success","stdout":"inline-synchronous\\n","stderr":"","result":"","executionResult":"","executionTimeInMilliseconds":\d+\}\}`, out)
	out = execute(`import time \ntime.sleep(5) \nprint(\"Done Sleeping\")`)
	require.Regexp(t, `"stdout":"Done Sleeping\\n".*"executionTimeInMilliseconds":\d{4,}`, out)

	entry := regexp.MustCompile(`^\[\{"name":"README.md","type":"file","filename":"README.md","size":5045,"last_modified_time":"[-0-9T:.]+Z","mime_type":"text/markdown; charset=utf-8"\}\]\s*$`)
	require.Regexp(t, entry, curl("-X", "POST", "-F", "file=@README.md", base+"/upload"))
	require.Regexp(t, entry, curl("-X", "POST", "-F", "file=@README.md", base+"/upload"+query))
	require.NoError(t, os.Rename(filepath.Join(dir, "README.md"), filepath.Join(dir, "original")))
	out = curl("-v", "-o", "README.md", "-X", "GET", base+"/files/content/README.md/content"+query)
	require.Contains(t, out, "Accept-Ranges: bytes")
	require.Contains(t, out, "Content-Type: text/markdown; charset=utf-8")
	original, err := os.ReadFile(filepath.Join(dir, "original"))
	require.NoError(t, err)
	downloaded, err := os.ReadFile(filepath.Join(dir, "README.md"))
	require.NoError(t, err)
	require.Equal(t, original, downloaded)
	require.Regexp(t, entry, curl("-X", "GET", base+"/files"+query))
	require.Regexp(t, `^\{"value":\[\{"\$id":"","properties":\{"\$id":"","filename":"README.md","size":5045,"lastModifiedTime":"[-0-9T:.]+Z"\}\}\]\}`,
		curl("-X", "GET", base+"/files/README.md"+query))
	require.JSONEq(t, `{"message": "file deleted successfully"}`, curl("-X", "DELETE", base+"/files/README.md"+query))
	require.Equal(t, "[]\n", curl(base+"/files"+query))
}

// agentsPython is the interpreter with the clients' packages.
func agentsPython(t *testing.T) string {
	t.Helper()
	exe := os.Getenv("NBSERV_TEST_AGENTS_PYTHON")
	if exe == "" {
		require.Empty(t, os.Getenv("NBSERV_REQUIRE_AGENTS"), "the agents' clients are required")
		t.Skip("NBSERV_TEST_AGENTS_PYTHON is not set: make test prepares it, where their packages can be installed")
	}
	return exe
}

// Unmodified clients: langchain-azure-dynamic-sessions, and semantic-kernel, which wants https.
func TestCodeInterpreterClients(t *testing.T) {
	needPython(t)
	exe := agentsPython(t)
	certificate, key := testCertificate(t)
	s := prepare(t, "--certfile="+certificate, "--keyfile="+key, "--codeinterpreter-ready=1")
	s.run()
	cmd := exec.CommandContext(t.Context(), exe, filepath.Join("clients", "agents.py"), certificate)
	cmd.Env = append(os.Environ(), "NBSERV_URL="+s.url, "NBSERV_TOKEN="+s.token)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "ok agents")
}

// testCertificate writes a certificate of localhost, and its key.
func testCertificate(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	certificate, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), 0o600))
	return certificate, key
}

// Tools for agents, the description and the API's own errors, below the prefix and at the root of an address of its own.
func TestCodeInterpreterTools(t *testing.T) {
	needPython(t)
	s := start(t, "--codeinterpreter-listen=127.0.0.1:0")
	root := s.endpoint("Code interpreter")
	ask := func(method, url, body string, headers ...string) (int, http.Header, []byte) {
		req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		for i := 0; i+1 < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, resp.Header, raw
	}
	refused := func(status int, code, method, url string, headers ...string) {
		got, h, raw := ask(method, url, "{}", headers...)
		require.Equal(t, status, got, "%s %s: %s", method, url, raw)
		require.Equal(t, code, h.Get("x-ms-error-code"))
		var e struct {
			Error struct{ Code, Message string }
		}
		require.NoError(t, json.Unmarshal(raw, &e))
		require.Equal(t, code, e.Error.Code)
		require.NotEmpty(t, e.Error.Message)
	}
	key := []string{"x-ms-apikey", s.token}
	for i, base := range []string{s.url + "aca/pools/python/", root + "/"} {
		_, _, raw := ask("POST", base+"mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"launchPythonEnvironment","arguments":{}}}`, key...)
		var launched struct {
			Result struct {
				StructuredContent struct{ EnvironmentID string }
			}
		}
		require.NoError(t, json.Unmarshal(raw, &launched), "%s", raw)
		require.NotEmpty(t, launched.Result.StructuredContent.EnvironmentID, "%s", raw)
		const code = `from IPython.display import Image, display; display(Image(data=b'\x89PNG\r\n\x1a\n', format='png')); 'drawn'`
		call, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": map[string]any{
			"name":      "runPythonCodeInRemoteEnvironment",
			"arguments": map[string]any{"environmentId": launched.Result.StructuredContent.EnvironmentID, "pythonCode": code},
		}})
		require.NoError(t, err)
		_, _, raw = ask("POST", base+"mcp", string(call), "Authorization", "Bearer "+s.token)
		require.Contains(t, string(raw), `"type":"image"`)
		require.Contains(t, string(raw), `"mimeType":"image/png"`)
		require.Contains(t, string(raw), `"data":"iVBORw0KGgo="`)

		described := []string{s.url + "aca/openapi.json", root + "/openapi.json"}[i]
		status, _, raw := ask("GET", described, "", key...)
		require.Equal(t, http.StatusOK, status)
		require.Contains(t, string(raw), `"openapi": "3.1.0"`)

		refused(http.StatusUnauthorized, "Unauthorized", "POST", base+"mcp")
		refused(http.StatusUnauthorized, "Unauthorized", "GET", base+"files", "x-ms-apikey", "wrong")
		refused(http.StatusNotFound, "NotFound", "GET", base+"nothing", key...)
		refused(http.StatusMethodNotAllowed, "MethodNotAllowed", "PATCH", base+"executions", key...)
		refused(http.StatusBadRequest, "InvalidIdentifier", "GET", base+"files?identifier=abc", key...)
	}
}

// together runs f for 0 to n-1 at the same time and reports what failed.
func together(t *testing.T, n int, f func(i int) error) {
	t.Helper()
	errs := make(chan error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs <- f(i) })
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
}

// 20 identifiers at once, three calls each at the same time: each has one session, in a folder of its own.
func TestCodeInterpreterManyAtOnce_P1(t *testing.T) {
	pools := filepath.Join(t.TempDir(), "pools.json")
	require.NoError(t, os.WriteFile(pools, []byte(`{"pools": {"many": {"kernel": "synth", "isolation": "none", "ready": 2}}}`), 0o600))
	s := startSynth(t, "--codeinterpreter-pools="+pools, "--codeinterpreter-default-pool=many")
	folders := make([]string, 60)
	together(t, len(folders), func(i int) error {
		e, err := s.exec("many", fmt.Sprintf("many-%02d", i%20), map[string]any{"code": "cwd"}, nil)
		if err == nil && e.Status != "Succeeded" {
			err = fmt.Errorf("%d: %+v", i, e)
		}
		if err == nil {
			folders[i] = e.Result.Stdout
		}
		return err
	})
	require.False(t, t.Failed())
	seen := map[string]bool{}
	for i, folder := range folders {
		require.Equal(t, folders[i%20], folder, "one identifier, one session")
		seen[folder] = true
	}
	require.Len(t, seen, 20)
	var all []struct{ Path string }
	s.call("GET", "api/sessions", nil, &all)
	require.Len(t, all, 20)
}

// Pythons at once: nobody sees another's variables and files.
func TestCodeInterpreterPythonsAtOnce(t *testing.T) {
	needPython(t)
	s := start(t, "--codeinterpreter-ready=1")
	together(t, 3, func(i int) error {
		id := fmt.Sprintf("many-%02d", i)
		_, err := s.exec("python", id, map[string]any{"code": fmt.Sprintf("mine = %d; open('/mnt/data/mine', 'w').write(str(mine))", i)}, nil)
		if err != nil {
			return err
		}
		e, err := s.exec("python", id, map[string]any{"code": "import os; [mine, open('/mnt/data/mine').read(), os.listdir('/mnt/data')]"}, nil)
		if want := fmt.Sprintf(`[%d,"%d",["mine"]]`, i, i); err == nil && strings.ReplaceAll(string(e.Result.ExecutionResult), " ", "") != want {
			err = fmt.Errorf("%s: %s is not %s", id, e.Result.ExecutionResult, want)
		}
		return err
	})
}

// kill -9 of the server: a confined session, what runs in it, its files and the outcomes are there again.
func TestCodeInterpreterOverAKill_P2_P3(t *testing.T) {
	needPython(t)
	s := start(t, "--kernel-host=spawn", "--codeinterpreter-ready=1")
	e, err := s.exec("python", "survivor", map[string]any{"code": "kept = 6; open('/mnt/data/f', 'w').write('x')"}, http.Header{"Operation-Id": {"op-before"}})
	require.NoError(t, err)
	require.Equal(t, "Succeeded", e.Status, "%+v", e)
	_, err = s.exec("python", "survivor", map[string]any{"code": "import time\nprint('a', flush=True)\ntime.sleep(3)\nprint('b')\nkept + 1", "executionType": "Asynchronous"},
		http.Header{"Operation-Id": {"op-during"}})
	require.NoError(t, err)
	_, err = s.exec("python", "survivor", map[string]any{"code": "kept + 2", "executionType": "Asynchronous"}, http.Header{"Operation-Id": {"op-waiting"}})
	require.NoError(t, err)
	get := func(id string) (e execution) {
		s.call("GET", "aca/pools/python/executions/"+id+"?identifier=survivor", nil, &e)
		return e
	}
	s.eventually(func() bool { return get("op-during").Status == "Running" })
	s.stop(syscall.SIGKILL)
	s.run()
	again, err := s.exec("python", "survivor", map[string]any{"code": "kept = 6; open('/mnt/data/f', 'w').write('x')"}, http.Header{"Operation-Id": {"op-before"}})
	require.NoError(t, err)
	require.Equal(t, e, again, "a retry is the same execution")
	s.eventually(func() bool { return get("op-during").Status == "Succeeded" && get("op-waiting").Status == "Succeeded" })
	require.Equal(t, "a\nb\n", get("op-during").Result.Stdout)
	require.JSONEq(t, "7", string(get("op-during").Result.ExecutionResult))
	require.JSONEq(t, "8", string(get("op-waiting").Result.ExecutionResult))
	e, err = s.exec("python", "survivor", map[string]any{"code": "import os; [kept, os.listdir('/mnt/data')]"}, nil)
	require.NoError(t, err)
	require.JSONEq(t, `[6, ["f"]]`, string(e.Result.ExecutionResult))

	// It is confined as before, and can be interrupted and ended.
	e, err = s.exec("python", "survivor", map[string]any{"code": "import time; time.sleep(60)", "timeoutInSeconds": 1}, nil)
	require.NoError(t, err)
	require.Equal(t, "ExecutionTimeout", e.Error.Code)
	e, err = s.exec("python", "survivor", map[string]any{"code": "[kept, '" + s.token + "' in open('/proc/1/environ').read() + open('/proc/1/cmdline').read(), os.path.exists('" + s.state + "')]"}, nil)
	require.NoError(t, err)
	require.JSONEq(t, `[6, false, false]`, string(e.Result.ExecutionResult))
	require.Equal(t, http.StatusNoContent, s.call("DELETE", "aca/pools/python/session?identifier=survivor", nil, nil).StatusCode)
	s.eventually(func() bool {
		left, err := filepath.Glob(filepath.Join(s.state, "codeinterpreter", "*", "*"))
		require.NoError(t, err)
		return len(left) == 2 // the ready ones of this server, one of each pool: those of the server before are gone
	})
}

// An address beyond loopback is refused where sessions cannot be confined, unless that is allowed.
func TestCodeInterpreterRefusesToListen(t *testing.T) {
	bin := t.TempDir() // a PATH without bubblewrap
	run := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), binary, append([]string{"--port=0", "--root-dir=" + t.TempDir(), "--state-dir=" + t.TempDir(), "--token=x",
			"--codeinterpreter-listen=0.0.0.0:0"}, args...)...)
		cmd.Env = append(os.Environ(), "PATH="+bin)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := run()
	require.Error(t, err)
	require.Contains(t, out, "--codeinterpreter-listen")
	require.Contains(t, out, "bubblewrap")
	require.Contains(t, out, "--codeinterpreter-allow-unconfined")
}
