package e2e

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// dayTime bounds a day in the browser, which takes half a minute where nothing else runs: only a failing one takes so long.
const dayTime = 15 * time.Minute

// oddBase is a base URL as hubs make them of their users' names: pages and libraries have to get along with it, too.
const oddBase = "--base-url=/us er/é@x/"

// requireLab gives what the tests in a browser need: the Node that runs them, and an environment with JupyterLab first.
func requireLab(t *testing.T) (node string, env []string) {
	t.Helper()
	node, venv := os.Getenv("NBSERV_TEST_NODE"), os.Getenv("NBSERV_TEST_LAB")
	if node == "" || venv == "" {
		t.Skip("NBSERV_TEST_NODE and NBSERV_TEST_LAB are not set: make test prepares them")
	}
	return node, []string{
		"PATH=" + filepath.Join(venv, "bin") + ":" + os.Getenv("PATH"),
		"JUPYTER_PATH=" + filepath.Join(venv, "share", "jupyter"),
		"HOME=" + t.TempDir(),
	}
}

func requireChromium(t *testing.T) {
	t.Helper()
	if os.Getenv("NBSERV_TEST_CHROMIUM") == "" {
		t.Skip("NBSERV_TEST_CHROMIUM is not set: make test prepares it where Chromium may be installed")
	}
}

// script runs one of e2e/browser's scripts to its end and fails with what it says.
func script(t *testing.T, node, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), dayTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, append([]string{name}, args...)...)
	cmd.Dir = "browser"
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("%s", out)
}

// TestJupyterLabServices has JupyterLab's own library of services, in Node, use every part of the API.
func TestJupyterLabServices(t *testing.T) {
	node, env := requireLab(t)
	s := prepare(t, oddBase)
	s.env = env
	s.run()
	script(t, node, "services.mjs", s.url, s.token)
}

// TestDayInJupyterLab does a day's work in a browser on a JupyterLab that nbserv serves: no error in the browser's
// console, and none in the server's log.
func TestDayInJupyterLab(t *testing.T) {
	node, env := requireLab(t)
	requireChromium(t)
	s := prepare(t)
	s.env = env
	s.run()
	args := []string{s.url, s.token}
	if dir := os.Getenv("NBSERV_TEST_SHOTS"); dir != "" {
		args = append(args, dir)
	}
	script(t, node, "day.mjs", args...)
	require.NotContains(t, s.log.String(), "level=ERROR")
}

// TestNotebookInJupyterLabWithAGateway is the notebook's part of that day on an unmodified `jupyter lab` whose kernels are
// nbserv's.
func TestNotebookInJupyterLabWithAGateway(t *testing.T) {
	node, env := requireLab(t)
	requireChromium(t)
	s := prepare(t)
	s.env = env
	s.run()
	lab := startJupyterLab(t, env, "--gateway-url="+s.url, "--GatewayClient.auth_token="+s.token)
	t.Setenv("DAY", "notebook")
	script(t, node, "day.mjs", lab, s.token)
	require.NotContains(t, s.log.String(), "level=ERROR")
}

// labURL is the address that a `jupyter lab` tells in its log.
var labURL = regexp.MustCompile(`http://127\.0\.0\.1:\d+/`)

// startJupyterLab runs a `jupyter lab` in an empty folder, with s's token, and gives its address.
func startJupyterLab(t *testing.T, env []string, args ...string) string {
	t.Helper()
	jupyter := filepath.Join(os.Getenv("NBSERV_TEST_LAB"), "bin", "jupyter-lab")
	cmd := exec.Command(jupyter, append([]string{"--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=18900",
		"--ServerApp.port_retries=50", "--IdentityProvider.token=e2e-token", "--ServerApp.root_dir=" + t.TempDir()}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	out := &logBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	require.NoError(t, cmd.Start())
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-done:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-done
		}
		if t.Failed() {
			t.Logf("jupyter lab's log:\n%s", tail(out.String(), 20_000))
		}
	})
	// It says where it listens before it does: the port it was told may be taken.
	url := ""
	require.Eventually(t, func() bool {
		if url = labURL.FindString(out.String()); url == "" {
			return false
		}
		res, err := client.Get(url + "api")
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	}, 3*patience, 50*time.Millisecond)
	return url
}

// TestReloadInJupyterLabWhileCellsRun_P4 reloads a page in the middle of a run: what was printed is there, what follows
// appears where it belongs, and a prompt can be answered.
func TestReloadInJupyterLabWhileCellsRun_P4(t *testing.T) {
	node, env := requireLab(t)
	requireChromium(t)
	s := prepare(t, oddBase)
	s.env = env
	s.run()
	script(t, node, "live.mjs", s.url, s.token)
	require.NotContains(t, s.log.String(), "level=ERROR")
}

// TestRichOutputsInJupyterLab shows what notebooks have beside text: ipympl, plotly, tqdm, widgets with bytes, attachments,
// the variable inspector, exports.
func TestRichOutputsInJupyterLab(t *testing.T) {
	node, env := requireLab(t)
	requireChromium(t)
	s := prepare(t, "--nbconvert-browser="+os.Getenv("NBSERV_TEST_CHROMIUM")) // a TeX that is here, too, does not decide
	venv := os.Getenv("NBSERV_TEST_LAB")
	s.env = append(env, "JUPYTER_PATH="+filepath.Join(venv, "share", "jupyter")+":"+filepath.Join(venv, "more", "share", "jupyter"))
	s.run()
	script(t, node, "rich.mjs", s.url, s.token)
	require.NotContains(t, s.log.String(), "level=ERROR")
	text := s.python("pdftext.py", filepath.Join(s.root, "rich.pdf"))
	require.Contains(t, text, "from tqdm import tqdm", "the PDF of the menu has the notebook's code")
	require.Contains(t, text, "Look:", "and its text")
}

// TestClosedBrowser closes pages of an unmodified JupyterLab while their cells run, and opens them again.
func TestClosedBrowser(t *testing.T) {
	node, env := requireLab(t)
	requireChromium(t)
	s := prepare(t, "--lab-live=false")
	s.env = env
	s.run()
	args := []string{s.url, s.token}
	if dir := os.Getenv("NBSERV_TEST_SHOTS"); dir != "" {
		args = append(args, dir)
	}
	script(t, node, "closing.mjs", args...)
	require.NotContains(t, s.log.String(), "level=ERROR")
}

// TestOwnPages looks at the pages that are the server's own in a browser.
func TestOwnPages(t *testing.T) {
	node, env := requireLab(t)
	requireChromium(t)
	s := prepare(t, "--lab-dir="+t.TempDir(), "--base-url=/my/base/")
	s.env = env
	s.run()
	args := []string{s.url, s.token}
	if dir := os.Getenv("NBSERV_TEST_SHOTS"); dir != "" {
		args = append(args, dir)
	}
	script(t, node, "pages.mjs", args...)
	require.NotContains(t, s.log.String(), "level=ERROR")
}

// TestDayInJupyterNotebook_P4 does a day's work on the pages of Jupyter Notebook: its list of files, a notebook, an editor, a
// console and a terminal, each in a tab of its own; and goes to JupyterLab and back.
func TestDayInJupyterNotebook_P4(t *testing.T) {
	node, env := requireLab(t)
	requireChromium(t)
	s := prepare(t)
	s.env = env
	s.run()
	args := []string{s.url, s.token}
	if dir := os.Getenv("NBSERV_TEST_SHOTS"); dir != "" {
		args = append(args, dir)
	}
	script(t, node, "tree.mjs", args...)
	require.NotContains(t, s.log.String(), "level=ERROR")
}
