package main

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nbserv/nbserv/contents"
	"github.com/nbserv/nbserv/internal/nbconvert"
	"github.com/nbserv/nbserv/kernel"
)

// converter runs conversions with the Python of the default kernel, or else the one on PATH.
func converter(c *Config, specs *kernel.Specs, log *slog.Logger) *nbconvert.Converter {
	n := c.Nbconvert
	n.Environ, n.ConfigDir, n.Logger = kernel.CleanEnviron(c.env.list), c.env.jupyterConfigDir(), log
	n.NoSandbox = !c.NbconvertSandbox
	n.Python = func() []string { return append(kernelPythons(c, specs), "python3", "python") }
	return nbconvert.New(n)
}

// kernelPythons are the Pythons of the default kernel and of the one that is called python3.
func kernelPythons(c *Config, specs *kernel.Specs) (all []string) {
	for _, name := range []string{c.DefaultKernel, "python3"} {
		s, err := specs.ToStart(name)
		if err == nil && strings.EqualFold(s.Language, "python") && len(s.Argv) > 0 && !slices.Contains(all, s.Argv[0]) {
			all = append(all, s.Argv[0])
		}
	}
	return all
}

// readNotebook gives nbconvert a notebook as a page gets it.
func readNotebook(store contents.Store, dir func(apiPath string) string) func(context.Context, string) (nbconvert.Notebook, error) {
	return func(ctx context.Context, apiPath string) (nbconvert.Notebook, error) {
		p, err := contents.ParsePath(apiPath)
		if err != nil {
			return nbconvert.Notebook{}, err
		}
		m, err := store.Get(ctx, p, contents.GetOptions{Content: true})
		if err != nil {
			return nbconvert.Notebook{}, err
		}
		defer m.Close()
		nb := nbconvert.Notebook{Name: m.Name, Modified: m.LastModified, Folder: filepath.Clean(dir(p.String()))}
		if m.Type != contents.TypeNotebook {
			return nb, nil
		}
		var content bytes.Buffer
		if err := m.Content.WriteJSON(&content); err != nil {
			return nbconvert.Notebook{}, err
		}
		nb.Content = content.Bytes()
		return nb, nil
	}
}
