package contents

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
)

// Some promises can only be shown in another process: one that is killed, or one that is not root. The test
// binary is its own child: childEnv names what it does instead of running tests, rootEnv where.
const (
	childEnv = "NBSERV_CONTENTS_CHILD"
	rootEnv  = "NBSERV_CONTENTS_ROOT"
)

var children = map[string]func(*Dir) error{
	"save":     childSaves,
	"readonly": childMeetsReadOnly,
}

func runChild(name string) int {
	cfg := DefaultConfig()
	cfg.RootDir, cfg.TrashDir = os.Getenv(rootEnv), ""
	d, err := New(cfg)
	if err == nil {
		err = children[name](d)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func child(t *testing.T, name, root string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+name, rootEnv+"="+root)
	return cmd
}

const (
	killRounds = 12
	killBytes  = 3 << 20
)

// childSaves saves one file for ever, each time with another letter, and says when it begins and has ended.
func childSaves(d *Dir) error {
	for i := 0; ; i++ {
		letter := byte('a' + i%26)
		fmt.Printf("begin %c\n", letter)
		body := io.MultiReader(strings.NewReader(`{"type":"file","format":"text","content":"`),
			io.LimitReader(neverEnding(letter), killBytes), strings.NewReader(`"}`))
		if _, _, err := d.Save(context.Background(), mustPath("a.txt"), NewIncoming(body, 1<<30)); err != nil {
			return err
		}
		fmt.Printf("end %c\n", letter)
	}
}

// TestKillInTheMiddleOfASave_P7_P2: kill -9 at any time leaves one whole version, never older than the last
// that was acknowledged, and no other file.
func TestKillInTheMiddleOfASave_P7_P2(t *testing.T) {
	root := t.TempDir()
	name := filepath.Join(root, "a.txt")
	torn := 0
	for round := range killRounds {
		cmd := child(t, "save", root)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(out)
		var began, ended string
		for n := 0; n < 3+round%4 && lines.Scan(); n++ {
			if verb, letter, _ := strings.Cut(lines.Text(), " "); verb == "begin" {
				began = letter
			} else {
				ended = letter
			}
		}
		require.NoError(t, cmd.Process.Kill())
		for lines.Scan() { // what it said before it died
			if verb, letter, _ := strings.Cut(lines.Text(), " "); verb == "begin" {
				began = letter
			} else {
				ended = letter
			}
		}
		require.Error(t, cmd.Wait(), "it was killed")
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		require.Len(t, b, killBytes)
		require.Equal(t, strings.Repeat(string(b[:1]), killBytes), string(b), "one version, whole")
		require.Contains(t, []string{began, ended}, string(b[:1]))
		if began != ended {
			torn++
		}
		for _, other := range (&client{t: t, root: root}).names(".") {
			// Between the link of the new file and its rename over the old one it has a second name.
			require.True(t, other == "a.txt" || strings.HasPrefix(other, reservedPrefix), other)
		}
	}
	require.NotZero(t, torn, "no save was interrupted: the test shows nothing")
}

// childMeetsReadOnly expects Forbidden from every change of what it may not change.
func childMeetsReadOnly(d *Dir) error {
	ctx := context.Background()
	save := func(p string) error {
		_, _, err := d.Save(ctx, mustPath(p), NewIncoming(strings.NewReader(fileModel), 1<<20))
		return err
	}
	for what, err := range map[string]error{
		"save of a read-only file":  save("file.txt"),
		"save into a locked folder": save("locked/new.txt"),
		"save in a locked folder":   save("locked/a.txt"),
		"delete":                    d.Delete(ctx, mustPath("locked/a.txt")),
		"untitled":                  errOf(d.CreateUntitled(ctx, mustPath("locked"), "", "")),
		"mkdir":                     d.mkdir(mustPath("locked/dir")),
		"rename":                    errOf(d.Rename(ctx, mustPath("locked/a.txt"), mustPath("b.txt"))),
		"copy":                      errOf(d.Copy(ctx, mustPath("file.txt"), mustPath("locked"))),
		"upload":                    errUpload(d.Staging().Begin("1", mustPath("locked/u"), 1)),
		"read of a secret":          errOf(d.Get(ctx, mustPath("secret.txt"), GetOptions{Content: true})),
	} {
		if fault.KindOf(d.fault(err, Path{})) != fault.Forbidden {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	m, err := d.Get(ctx, mustPath("file.txt"), GetOptions{Content: true})
	if err != nil || m.Writable {
		return fmt.Errorf("a read-only file is read and said to be not writable: %v %w", m, err)
	}
	var list strings.Builder
	if m, err = d.Get(ctx, Path{}, GetOptions{Content: true}); err == nil {
		err = m.WriteJSON(&list)
	}
	if err != nil || strings.Count(list.String(), `"writable":false`) < 3 {
		return fmt.Errorf("the listing says so too: %s %w", list.String(), err)
	}
	return nil
}

func errOf(_ *Model, err error) error      { return err }
func errUpload(_ *Upload, err error) error { return err }

// TestReadOnlyIsForbidden: as a user that is not root, to whom modes mean something.
func TestReadOnlyIsForbidden(t *testing.T) {
	root := t.TempDir()
	c := &client{t: t, root: root}
	c.write("file.txt", "old")
	c.write("secret.txt", "old")
	c.write("locked/a.txt", "old")
	require.NoError(t, os.Chmod(filepath.Join(root, "file.txt"), 0o444))
	require.NoError(t, os.Chmod(filepath.Join(root, "secret.txt"), 0))
	require.NoError(t, os.Chmod(filepath.Join(root, "locked"), 0o555))
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(root, "locked"), 0o755) })
	cmd := child(t, "readonly", root)
	if os.Geteuid() == 0 {
		const nobody = 65534
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		cmd.Path = readableCopy(t)
		for dir := root; dir != "/"; dir = filepath.Dir(dir) {
			info, err := os.Stat(dir)
			require.NoError(t, err)
			if info.Mode()&0o005 != 0o005 {
				require.NoError(t, os.Chmod(dir, info.Mode()|0o005), "others may pass through")
			}
			if dir == os.TempDir() {
				break
			}
		}
	}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "old", c.read("file.txt"))
	require.Equal(t, "old", c.read("locked/a.txt"))
}

// readableCopy is the test binary where another user may run it.
func readableCopy(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "contents")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	b, err := os.ReadFile(os.Args[0])
	require.NoError(t, err)
	name := filepath.Join(dir, "child")
	require.NoError(t, os.WriteFile(name, b, 0o755))
	return name
}
