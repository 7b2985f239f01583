package rserver

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
)

// The code of an account sees its own folder and nothing of the server's or of others'; Admin's is the server's own.
func TestCodeOfAccountsIsConfined_S13(t *testing.T) {
	t.Parallel()
	if err := kernel.CheckSandbox(t.Context(), os.Getenv("PATH")); err != nil {
		require.Empty(t, os.Getenv("NBSERV_REQUIRE_SANDBOX"), "a sandbox is required: %v", err)
		t.Skipf("kernels cannot be confined here: %v", err)
	}
	s := newSite(t, realHost(t, runtimeR))
	s.srv.cfg.AllowUnconfined, s.srv.sandbox = false, func() error { return nil }
	ann, bob, admin := s.as("ann"), s.as("bob"), s.as("")
	mine, other := ann.session(runtimeR), bob.session(runtimeR)
	bob.mustExecute(other, `writeLines("secret", "bob.txt")`)
	bobs, err := s.srv.session("bob", strings.TrimPrefix(other, "/sessions/"))
	require.NoError(t, err)
	look := func(u user, session string) string {
		u.t.Helper()
		code := `cat(file.exists(c(` + jsonText(filepath.Join(s.dir, "state.db")) + `, ` + jsonText(filepath.Join(bobs.worker.workDir(), "bob.txt")) + `)))`
		return u.mustExecute(session, code).ConsoleOutput
	}
	require.Equal(t, "FALSE FALSE", look(ann, mine))
	require.Equal(t, "FALSE TRUE", look(bob, other))
	got := ann.mustExecute(mine, `plot(1:3); writeLines("x", "f"); for (i in 1:2) cat("printed\n"); x <- Sys.getenv("HOME")`, "x")
	require.Equal(t, "printed\nprinted\n", got.ConsoleOutput)
	require.Equal(t, []string{"f", "plot001.png"}, got.ChangedFiles)
	require.Contains(t, ann.execute(mine, `writeLines("x", "/usr/evil")`).ErrorMessage, "cannot open")

	snap := ann.snapshot(mine)
	path := ann.publish("confined", publishRequest{SnapshotID: &snap, OutputParameterDefinitions: definitions("r logical"),
		Code: ptr(`r <- file.exists(c("f", ` + jsonText(filepath.Join(s.dir, "state.db")) + `))`)})
	require.JSONEq(t, `[true,false]`, bob.mustCall(path, `{}`)["r"])
	require.Equal(t, "TRUE TRUE", look(admin, admin.session(runtimeR)))

	s.srv.sandbox = func() error { return errors.New("no bubblewrap") }
	require.Contains(t, ann.refused(501, "POST", "/sessions", `{}`).Message, "bubblewrap")
	admin.session(runtimeR)
}
