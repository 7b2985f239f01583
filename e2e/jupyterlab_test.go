package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// dayTime bounds a day in the browser, which takes half a minute where nothing else runs.
const dayTime = 5 * time.Minute

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
	s := prepare(t)
	s.env = env
	s.run()
	script(t, node, "services.mjs", s.url, s.token)
}

// TestDayInJupyterLab does a day's work in a browser on a JupyterLab that nbserv serves: no error in the browser's
// console, and none in the server's log.
func TestDayInJupyterLab(t *testing.T) {
	node, env := requireLab(t)
	if os.Getenv("NBSERV_TEST_CHROMIUM") == "" {
		t.Skip("NBSERV_TEST_CHROMIUM is not set: make test prepares it")
	}
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
