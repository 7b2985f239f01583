package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// The words of files that no request may reach.
const outside, hidden = "words outside", "hidden words"

// maze puts things into the root and around it that are not for clients.
func (s *server) maze() (sibling string) {
	s.t.Helper()
	sibling = s.root + "-sibling" // shares the root's prefix
	write := func(path, content string) {
		require.NoError(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(s.t, os.WriteFile(path, []byte(content), 0o644))
	}
	write(filepath.Join(sibling, "secret.txt"), outside)
	write(filepath.Join(filepath.Dir(s.root), "secret.txt"), outside)
	write(filepath.Join(s.root, "f.txt"), "kept")
	write(filepath.Join(s.root, "d", "f.txt"), "kept")
	write(filepath.Join(s.root, ".hidden.txt"), hidden)
	write(filepath.Join(s.root, ".hidden", "f.txt"), hidden)
	require.NoError(s.t, os.Symlink(sibling, filepath.Join(s.root, "link")))
	require.NoError(s.t, os.Symlink(filepath.Join(sibling, "secret.txt"), filepath.Join(s.root, "link.txt")))
	require.NoError(s.t, os.Symlink("../../"+filepath.Base(sibling)+"/secret.txt", filepath.Join(s.root, "d", "up.txt")))
	return sibling
}

// traversals lead outside or to what is hidden, as they stand in a URL.
func (s *server) traversals(sibling string) []string {
	name := filepath.Base(sibling)
	list := []string{
		"../secret.txt", "../" + name + "/secret.txt", "d/../../secret.txt", "d/../../" + name + "/secret.txt", ".." + strings.TrimPrefix(sibling, s.root) + "/secret.txt",
		"%2e%2e/secret.txt", "%2e%2e%2fsecret.txt", "..%2fsecret.txt", "..%5csecret.txt", `..%5c..%5csecret.txt`, "%252e%252e/secret.txt", "%c0%ae%c0%ae/secret.txt",
		"..%00/secret.txt", "f.txt%00.ipynb", "..;/secret.txt", "....//secret.txt", ".%2e/secret.txt", "d/%2e%2e/%2e%2e/secret.txt",
		"/" + sibling + "/secret.txt", "//" + sibling + "/secret.txt", url.PathEscape(sibling + "/secret.txt"), "file:" + sibling + "/secret.txt",
		"C:%5csecret.txt", "C:/secret.txt", "%5c%5chost%5cshare%5cx", "//host/share/x", "%ff%fe", "~root/secret.txt", "~/secret.txt",
		".hidden.txt", ".hidden/f.txt", ".hidden", "d/../.hidden.txt", "%2ehidden.txt", ".%68idden.txt", ".hidden%2ff.txt", "./.hidden/f.txt", "d//..//.hidden.txt",
		"link/secret.txt", "link.txt", "link", "d/up.txt", "link/new.txt", "f.txt/../link.txt", strings.Repeat("../", 1000) + "secret.txt", strings.Repeat("a", 10_000),
	}
	return append(list, ".nbserv-x", ".ipynb_checkpoints/f-checkpoint.txt")
}

// No path leads outside the root or to what is hidden: in the URL, in a body, on any verb, with any credentials.
func TestPathsStayInside_S8_S12(t *testing.T) {
	s := startSynth(t, "--follow-symlinks=false")
	sibling := s.maze()
	before := s.snapshot(sibling)
	refuse := func(method, path string, body any) {
		t.Helper()
		var raw []byte
		if body != nil {
			var err error
			raw, err = json.Marshal(body)
			require.NoError(t, err)
		}
		a, err := s.ask(method, path, raw, s.bearer())
		var bad *url.Error
		if errors.As(err, &bad) && bad.Op == "parse" {
			return // no client can send it
		}
		require.NoError(t, err)
		what := method + " " + path
		require.NotContains(t, string(a.body), outside, what)
		require.NotContains(t, string(a.body), hidden, what)
		if strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") {
			return // a page of JupyterLab's, which reads no file, or the one that says how to install it
		}
		if a.StatusCode != http.StatusFound && a.StatusCode != http.StatusMethodNotAllowed && a.StatusCode != http.StatusMovedPermanently {
			a.body = bytes.ReplaceAll(a.body, []byte(sibling), []byte("what was asked for"))
			requireClear(t, s.server, what, a)
		}
	}
	for _, p := range s.traversals(sibling) {
		for _, r := range routes(t) {
			if !strings.Contains(r.path, "{path}") {
				continue
			}
			var body any
			if r.method == "PUT" {
				body = text("written")
			}
			if r.method == "PATCH" {
				body = map[string]any{"path": "moved.txt"}
			}
			refuse(r.method, fill(strings.ReplaceAll(r.path, "{path}", p), "{id}", "checkpoint"), body)
		}
		decoded, err := url.PathUnescape(p)
		require.NoError(t, err)
		if strings.Contains(decoded, "%2e") || strings.HasPrefix(decoded, "~") || strings.HasPrefix(decoded, "....") || strings.HasPrefix(decoded, "file:") || strings.HasPrefix(decoded, "..;") {
			continue // a plain name, once it is decoded
		}
		if !utf8.ValidString(decoded) {
			continue // JSON has no such text
		}
		refuse("PATCH", "api/contents/f.txt", map[string]any{"path": decoded})
		refuse("POST", "api/contents/d", map[string]any{"copy_from": decoded})
		refuse("GET", "kernelspecs/synth/"+p, nil)
		refuse("GET", "kernelspecs/"+url.PathEscape("../"+p)+"/kernel.json", nil)
		if strings.ContainsAny(decoded, "/\\\x00") { // others are names of sections
			refuse("GET", "api/config/"+p, nil)
		}
	}
	require.Equal(t, before, s.snapshot(sibling), "nothing was made, changed or removed")
}

// snapshot is every file of the root and beside it, with its content.
func (s *synth) snapshot(sibling string) map[string]string {
	s.t.Helper()
	all := map[string]string{}
	for _, root := range []string{s.root, sibling} {
		require.NoError(s.t, filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				all[path] = "folder"
				return err
			}
			if d.Type()&os.ModeSymlink != 0 {
				all[path], err = os.Readlink(path)
				return err
			}
			content, err := os.ReadFile(path)
			all[path] = string(content)
			return err
		}))
	}
	return all
}

// What is no file is refused at once, on every verb: nobody waits for the other end of a FIFO.
func TestNoFileIsRefusedAtOnce_S8(t *testing.T) {
	s := startSynth(t)
	require.NoError(t, syscall.Mkfifo(filepath.Join(s.root, "fifo.txt"), 0o644))
	require.NoError(t, os.Symlink("/dev/zero", filepath.Join(s.root, "zero.txt")))
	require.NoError(t, os.Symlink("loop.txt", filepath.Join(s.root, "loop.txt")))
	for _, name := range []string{"fifo.txt", "zero.txt", "loop.txt"} {
		for _, r := range routes(t) {
			if !strings.Contains(r.path, "{path}") || r.method == "DELETE" && !strings.Contains(r.path, "checkpoints") {
				continue
			}
			body := map[string]any{"type": "file", "format": "text", "content": "x", "path": name, "copy_from": name}
			if r.method == "PUT" {
				delete(body, "copy_from")
			}
			raw, err := json.Marshal(body)
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // a second is promised, to a machine at rest
			req, err := http.NewRequestWithContext(ctx, r.method, s.url+fill(r.path, "{path}", name, "{id}", "checkpoint"), strings.NewReader(string(raw)))
			require.NoError(t, err)
			req.Header = s.bearer()
			resp, err := client.Do(req)
			require.NoError(t, err, "%s %s of %s", r.method, r.path, name)
			require.NoError(t, resp.Body.Close())
			cancel()
			require.Less(t, resp.StatusCode, 500, "%s %s of %s", r.method, r.path, name)
		}
		var folder struct{ Content []struct{ Name string } }
		require.Equal(t, 200, s.call("GET", "api/contents/", nil, &folder).StatusCode)
	}
}
