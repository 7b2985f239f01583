package e2e

import (
	"io"
	"net"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// connect opens a bare connection to the server.
func (s *server) connect(t *testing.T) net.Conn {
	t.Helper()
	u, err := url.Parse(s.url)
	require.NoError(t, err)
	conn, err := net.Dial("tcp", u.Host)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	return conn
}

// Connections that never get to the end of their request's head are cut, while others are served.
func TestSlowConnectionsAreCut_S10(t *testing.T) {
	t.Parallel() // it waits
	s := start(t)
	var wg sync.WaitGroup
	beginnings := []string{"", "G", "GET /api HTTP/1.1\r\n", "GET /api HTTP/1.1\r\nHost: localhost\r\nX-A: b"}
	for i := range 200 {
		conn := s.connect(t)
		_, err := io.WriteString(conn, beginnings[i%len(beginnings)])
		require.NoError(t, err)
		wg.Go(func() {
			if _, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
				t.Errorf("connection %d was not cut: %v", i, err)
			}
		})
	}
	require.Equal(t, 200, s.call("GET", "api/status", nil, nil).StatusCode)
	wg.Wait()
	require.Equal(t, 200, s.call("GET", "api/status", nil, nil).StatusCode)
	require.Less(t, strings.Count(s.log.String(), "\n"), 100, "nobody fills the log by doing nothing")
}

// Out of descriptors the server waits for some, quietly, and then goes on.
func TestOutOfDescriptors_S10(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("it sets limits as Linux has them")
	}
	s := prepare(t)
	s.wrap = []string{"sh", "-c", `ulimit -n 64; exec "$0" "$@"`}
	s.run()
	conns := make([]net.Conn, 128)
	for i := range conns {
		conns[i] = s.connect(t)
	}
	s.eventually(func() bool { return strings.Contains(s.log.String(), "too many open files") })
	for _, c := range conns {
		c.Close()
	}
	require.Equal(t, 200, s.call("GET", "api/status", nil, nil).StatusCode)
	require.Less(t, strings.Count(s.log.String(), "\n"), 100, "the log is bounded")
}

// Names, values and kernelspecs from clients are data: nothing in them is a template, a path or a command, and
// nothing of them changes how programs are loaded.
func TestClientsValuesAreData_S11(t *testing.T) {
	s := startSynth(t)
	start := func(body map[string]any) (status int, id, message string) {
		var model struct{ ID, Message string }
		status = s.call("POST", "api/kernels", body, &model).StatusCode
		return status, model.ID, model.Message
	}
	for _, name := range []string{"LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "DYLD_INSERT_LIBRARIES", "GCONV_PATH", "BASH_ENV", "ENV", "PYTHONSTARTUP",
		"PYTHONHOME", "NODE_OPTIONS", "PERL5OPT", "NBSERV_TOKEN", "JPY_PARENT_PID", "a b", "a=b", "", "x\x00y", "\n", "$(id)"} {
		status, _, message := start(map[string]any{"name": "synth", "env": map[string]string{name: "/tmp/evil.so"}})
		require.Equal(t, 400, status, name)
		require.Contains(t, message, "env")
	}
	const value = `$(touch pwned) ${HOME} {connection_file} %s; echo "x" | sh $E2E_MARK`
	status, id, message := start(map[string]any{"name": "synth", "env": map[string]string{"E2E_DATA": value, "IFS2": ";"}})
	require.Equal(t, 201, status, message)
	require.Equal(t, value+"\n", s.dial(t, id).execute("env E2E_DATA").text)
	for _, name := range []string{"../synth", "synth/../synth", "/bin/sh", "synth;id", "$(id)", "{connection_file}", "synth\x00", "synth -x", strings.Repeat("a", 10_000)} {
		status, _, message := start(map[string]any{"name": name})
		require.Contains(t, []int{400, 404, 501}, status, name)
		for _, tell := range s.tells() {
			require.NotContains(t, message, tell)
		}
	}
	for _, id := range []string{"../../x", "a/b", "x\x00", " ", "a b", "..", strings.Repeat("a", 65), "é"} {
		status, _, _ := start(map[string]any{"name": "synth", "kernel_id": id})
		require.Equal(t, 400, status, id)
	}
	for _, path := range []string{"../..", "/etc", "no/such/folder", "$(id)"} { // where there is no such folder it starts in the root
		status, id, message := start(map[string]any{"name": "synth", "path": path})
		require.Contains(t, []int{201, 400}, status, message)
		if status == 201 {
			require.Equal(t, s.root+"\n", s.dial(t, id).execute("cwd").text)
		}
	}
	entries, err := os.ReadDir(s.root)
	require.NoError(t, err)
	require.Empty(t, entries)
}
