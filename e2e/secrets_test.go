package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever a client does with the token, and wherever the server was told it, it is in no log line, no metric, no
// answer, no command line and no kernel's environment; nor are the cookies and the kernels' keys.
func TestSecretsStaySecret_S6(t *testing.T) {
	const token, password = "e2e-token-that-nobody-may-see", "e2e-password-of-somebody"
	s := prepareSynth(t, "--log-level=debug")
	s.token = token
	s.tokenByEnv = true
	s.env = append(s.env, "JUPYTER_TOKEN="+token, "JPY_API_TOKEN="+token, "JUPYTERHUB_API_TOKEN="+token)
	s.run()
	b := s.login()
	made := s.create("f.ipynb", "synth")
	c := s.dial(t, made.Kernel.ID)
	for _, name := range []string{"NBSERV_TOKEN", "JUPYTER_TOKEN", "JPY_API_TOKEN", "JUPYTERHUB_API_TOKEN"} {
		require.Equal(t, "\n", c.execute("env "+name).text, "a kernel asks for %s", name)
	}
	var said strings.Builder // all that was answered, but to those who sent the secret in a body
	escaped := url.QueryEscape("/?token=" + token)
	for _, r := range routes(t) {
		if r.path == "api/shutdown" || r.path == "logout" {
			continue
		}
		path := fill(r.path, "sessions/{id}", "sessions/nobody", "kernels/{id}", "kernels/nobody")
		for _, query := range []string{"", "?token=" + token, "?x=1&token=" + token + "&next=" + escaped, "?password=" + password, "?TOKEN=%20&token=" + strings.Replace(token, "-", "%2d", 1)} {
			for _, header := range []http.Header{
				{"Authorization": {"token " + token}}, {"Authorization": {"Bearer " + token}, "Referer": {s.url + "lab?token=" + token}},
				b.header(http.Header{"X-Xsrftoken": {b.xsrf}, "Referer": {s.url + "?token=" + token}}),
				{"Cookie": {"other=" + password}, "User-Agent": {"browser"}, "X-Request-Id": {"plain"}},
			} {
				a, err := s.ask(r.method, path+query, nil, header)
				require.NoError(t, err)
				if !strings.Contains(query, "next=") && !strings.Contains(query, "password=") { // a login leads to them, as they came
					fmt.Fprintf(&said, "%s %v\n%s\n", a.Status, a.Header["Location"], a.body)
				}
			}
		}
	}
	s.submit(b, "/", password) // a wrong one
	conn, _, err := s.upgrade(made.Kernel.ID+"/channels?token="+token, nil)
	require.NoError(t, err)
	conn.Close()
	_, _, err = s.upgrade("nobody/channels?token="+token, nil)
	require.Error(t, err)

	metrics, err := s.ask("GET", "metrics", nil, s.bearer())
	require.NoError(t, err)
	cookie := strings.Split(b.cookies, "; ")
	places := map[string]string{"an answer": said.String(), "the metrics": string(metrics.body), "the log": loggedAfterStart(t, s.log.String())}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", s.cmd.Process.Pid))
	if err == nil {
		kernel := s.kernelProcess(made.Kernel.ID)
		places["the server's command line"] = string(cmdline)
		places["the kernel's command line"], places["the kernel's environment"] = kernel.cmdline, kernel.environ
	}
	for place, content := range places {
		require.NotEmpty(t, content)
		for _, secret := range []string{token, strings.Replace(token, "-", "%2d", 1), password} {
			if at := strings.Index(content, secret); at >= 0 {
				require.Fail(t, "a secret is in "+place, content[max(0, at-200):at+len(secret)])
			}
		}
		for _, c := range cookie {
			name, value, _ := strings.Cut(c, "=")
			if name != "" && (name != "_xsrf" || place != "an answer") { // forms carry that one
				require.NotContains(t, content, value, "%s has a cookie", place)
			}
		}
	}
}

// loggedAfterStart is the log without the address that is printed, token and all, for who started the server.
func loggedAfterStart(t *testing.T, log string) string {
	t.Helper()
	_, after, found := strings.Cut(log, "Stop with Control-C")
	require.True(t, found)
	return after
}
