package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUserCommand(t *testing.T) {
	home := t.TempDir()
	env := readEnvironment([]string{"HOME=" + home, "NBSERV_STATE_DIR=" + filepath.Join(home, "state"), "NBSERV_ROOT_DIR=" + home})
	user := func(stdin string, args ...string) (string, error) {
		var out, errs bytes.Buffer
		cfg := defaultConfig(env)
		cmd := userCommand(&cfg, env, &out, &errs)
		cmd.SetArgs(args)
		cmd.SetIn(strings.NewReader(stdin))
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		err := cmd.Execute()
		require.NotContains(t, out.String()+errs.String(), "correct horse", "S6")
		return out.String(), err
	}
	mustRun := func(stdin string, args ...string) string {
		t.Helper()
		out, err := user(stdin, args...)
		require.NoError(t, err)
		return out
	}
	require.Equal(t, "ann: added\n", mustRun("correct horse\n", "add", "ann"))
	require.Equal(t, "bob: added\n", mustRun("correct horse", "add", "bob"))
	require.Regexp(t, `^ann  \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ\nbob  .*\n$`, mustRun("", "list"))
	require.Equal(t, "ann: password changed\n", mustRun("another one\n", "passwd", "ann"))
	require.Equal(t, "bob: removed\n", mustRun("", "remove", "bob"))
	require.NotContains(t, mustRun("", "list"), "bob")
	for name, args := range map[string][]string{
		"user ann already exists":        {"add", "ann"},
		"there is no user bob":           {"passwd", "bob"},
		"admin is whoever has":           {"add", "admin"},
		"accepts 1 arg(s), received 2":   {"add", "carl", "correct horse"},
		"accepts 0 arg(s), received 1":   {"list", "x"},
		"a user's name has 1 to 64":      {"add", "a/b"},
		"no password on standard input":  {"add", "carl"},
		"--port: 70000 is not between 0": {"list", "--port=70000"},
	} {
		stdin := "correct horse\n"
		if strings.HasPrefix(name, "no password") {
			stdin = ""
		}
		_, err := user(stdin, args...)
		require.ErrorContains(t, err, name)
	}
}
