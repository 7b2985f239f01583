package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/nbserv/nbserv/contents"
	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
	"github.com/nbserv/nbserv/kernel"
)

// resolvedPath is a place where a path was found: as an API path in the scope "server", as an absolute one of this
// machine in the scope "kernel".
type resolvedPath struct {
	Scope string `json:"scope"`
	Path  string `json:"path"`
}

type unresolved struct {
	Scope  string `json:"scope"`
	Reason string `json:"reason"`
}

// getResolvePath finds the file that a path in a traceback or an output means: one below the root folder, and one that
// the kernel would open by that name. /api/resolvePath of jupyter_server 2.
func (s *server) getResolvePath(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	name := q.Get("path")
	if name == "" || strings.ContainsRune(name, 0) {
		return fault.New(fault.Invalid, `query "path" is missing, or no path`)
	}
	var res struct {
		Resolved   []resolvedPath `json:"resolved"`
		Unresolved []unresolved   `json:"unresolved,omitempty"`
	}
	res.Resolved = []resolvedPath{}
	if p, ok := s.resolveOnServer(r, name); ok {
		res.Resolved = append(res.Resolved, resolvedPath{"server", p})
	}
	if id := q.Get("kernel"); id != "" {
		st, err := s.host.Get(id)
		switch {
		case fault.KindOf(err) == fault.NotFound:
			res.Unresolved = append(res.Unresolved, unresolved{"kernel", "Kernel " + printable(id) + " could not be found"})
		case err != nil:
			return err
		default:
			if p, ok := resolveInKernel(st, s.cfg.RootDir, name, s.cfg.env.vars["HOME"]); ok {
				res.Resolved = append(res.Resolved, resolvedPath{"kernel", p})
			}
		}
	}
	return httpx.WriteJSON(w, http.StatusOK, res)
}

// printable keeps what a client sent from growing an answer.
func printable(s string) string { return strings.ToValidUTF8(s[:min(len(s), 64)], "?") }

// resolveOnServer gives the API path of a file below the root folder that is there for clients. ~ is the user's home.
func (s *server) resolveOnServer(r *http.Request, name string) (string, bool) {
	if rest, ok := strings.CutPrefix(name, "~/"); ok {
		home := s.cfg.env.vars["HOME"]
		rel, err := filepath.Rel(s.cfg.RootDir, filepath.Join(home, rest))
		if home == "" || err != nil {
			return "", false
		}
		name = filepath.ToSlash(rel)
	}
	p, err := contents.ParsePath(name)
	if err != nil {
		return "", false
	}
	m, err := s.files.Get(r.Context(), p, contents.GetOptions{})
	if err != nil {
		return "", false
	}
	m.Close()
	return p.String(), true
}

// resolveInKernel gives the absolute path of the file that a kernel would open as name when it was started: where it
// has gone since, only the kernel knows.
func resolveInKernel(st kernel.Status, root, name, home string) (string, bool) {
	dir := st.Cwd
	if dir == "" {
		dir = root
	}
	if rest, ok := strings.CutPrefix(name, "~/"); ok && home != "" {
		name = filepath.Join(home, rest)
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	_, err := os.Stat(name)
	return name, err == nil
}
