package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nbserv/nbserv/contents"
	"github.com/nbserv/nbserv/internal/auth"
	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/lab"
	"github.com/nbserv/nbserv/kernel"
)

// labDir is where `nbserv lab install` puts JupyterLab, in a state folder or in the folder of all of them.
const labDir = "jupyterlab"

// labDirs are the places of `nbserv lab install`: in the state folder, if one was chosen, and else in the folder that all
// servers of a user share.
func (c *Config) labDirs() []string {
	shared := filepath.Join(c.env.stateHome(), "nbserv", labDir)
	if c.StateDir == "" {
		return []string{shared}
	}
	return []string{filepath.Join(c.StateDir, labDir), shared}
}

// labKernels are the folders of data beside those JupyterLabs: whoever installs one so has a Python kernel with it.
func (c *Config) labKernels() []string {
	var dirs []string
	for _, d := range c.labDirs() {
		dirs = append(dirs, filepath.Join(d, "share", "jupyter"))
	}
	return dirs
}

// openLab opens the JupyterLab that is served.
func (s *rooms) openLab(c *Config, log *slog.Logger) {
	s.lab = lab.New(lab.Server{
		Config:   c.Lab,
		BaseURL:  c.BaseURL,
		Env:      c.env.jupyter(),
		Prefixes: func() []string { return append(c.labDirs(), s.kernelPrefixes()...) },
		Page: lab.PageFacts{
			RootDir: c.RootDir, PreferredDir: s.files.PreferredDir().String(), AllowHidden: c.Contents.AllowHidden,
			DeleteToTrash: c.Contents.DeleteToTrash, Terminals: s.terms != nil, ServerVersion: apiVersion,
		},
		XSRF: func(w http.ResponseWriter, r *http.Request) { auth.XSRFToken(w, r) },
		Fail: s.auth.WriteError,
		Look: s.lookAt,
		Log:  log,
	})
}

// kernelPrefixes are the installations that the kernelspecs' Pythons belong to: JupyterLab is often among them.
func (s *rooms) kernelPrefixes() []string {
	specs := s.specs.All()
	var prefixes []string
	for _, name := range slices.Sorted(maps.Keys(specs)) {
		if spec := specs[name]; len(spec.Argv) > 0 && filepath.IsAbs(spec.Argv[0]) {
			prefixes = append(prefixes, filepath.Dir(filepath.Dir(spec.Argv[0])))
		} else if spec.Prefix != "" {
			prefixes = append(prefixes, spec.Prefix)
		}
	}
	return prefixes
}

// lookAt tells JupyterLab's pages what an API path leads to.
func (s *rooms) lookAt(ctx context.Context, apiPath string) (lab.Kind, error) {
	p, err := contents.ParsePath(apiPath)
	if err != nil {
		return lab.Missing, err
	}
	m, err := s.files.Get(ctx, p, contents.GetOptions{})
	switch {
	case fault.KindOf(err) == fault.NotFound:
		return lab.Missing, nil
	case err != nil:
		return lab.Missing, err
	}
	defer m.Close()
	switch m.Type {
	case contents.TypeDirectory:
		return lab.Directory, nil
	case contents.TypeNotebook:
		return lab.Notebook, nil
	}
	return lab.File, nil
}

// getRoot leads to the page that people want to see: the default one, or, while there is no JupyterLab, the server's own.
func (s *server) getRoot(w http.ResponseWriter, r *http.Request) error {
	to := s.cfg.Lab.DefaultURL
	if to == "/" || lab.Has(to) && !s.lab.Installed() {
		return s.getLanding(w, r)
	}
	// Not with the query: the token in it has become a cookie, and is to be in no further address (S6).
	redirect(w, s.cfg.BaseURL+strings.TrimLeft(to, "/"), "")
	return nil
}

// labCommand installs JupyterLab, and tells which one is served.
func labCommand(cfg *Config, env environment, stdout, stderr io.Writer) *cobra.Command {
	all := &cobra.Command{Use: "lab", Short: "Install JupyterLab, or tell which one is served"}
	addFlags(all.PersistentFlags(), cfg)
	install := &cobra.Command{
		Use:   "install [package…]",
		Short: "Install or upgrade JupyterLab and Jupyter Notebook, and further packages, with pip",
		RunE: func(cmd *cobra.Command, packages []string) error {
			if _, err := cfg.complete(cmd.Flags(), env); err != nil {
				return err
			}
			dir := cfg.labDirs()[0]
			if err := lab.Install(cmd.Context(), dir, kernel.CleanEnviron(env.list), packages, stderr); err != nil {
				return &serveError{err}
			}
			fmt.Fprintf(stdout, "JupyterLab is in %s. A server that runs shows it when its page is loaded again.\n", dir)
			return nil
		},
	}
	path := &cobra.Command{
		Use:   "path",
		Short: "Print the application folder of the JupyterLab that is served",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := cfg.complete(cmd.Flags(), env); err != nil {
				return err
			}
			dir := lab.Find(cfg.Lab, env.jupyter(), cfg.labDirs())
			if dir == "" {
				return &serveError{errors.New("there is no JupyterLab: `nbserv lab install` installs one")}
			}
			fmt.Fprintln(stdout, dir)
			return nil
		},
	}
	all.AddCommand(install, path)
	return all
}
