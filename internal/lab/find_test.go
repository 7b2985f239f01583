package lab

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// install puts a JupyterLab of a version into a prefix and gives its folder.
func install(t *testing.T, prefix, version string) string {
	t.Helper()
	dir := filepath.Join(prefix, "share/jupyter/lab")
	write(t, filepath.Join(dir, "static/index.html"), labTemplate)
	write(t, filepath.Join(dir, "static/package.json"), `{"jupyterlab": {"name": "JupyterLab", "version": "`+version+`"}}`)
	return dir
}

// Each place is taken when those before it have none.
func TestFind(t *testing.T) {
	root := t.TempDir()
	env := map[string]string{"HOME": filepath.Join(root, "home"), "PATH": filepath.Join(root, "bin") + ":" + filepath.Join(root, "py/bin"),
		"JUPYTER_PATH": filepath.Join(root, "path"), "JUPYTER_PLATFORM_DIRS": "1", "XDG_DATA_DIRS": root, "XDG_CONFIG_DIRS": root}
	prefixes := []string{filepath.Join(root, "none"), filepath.Join(root, "kernel")}
	found := func(cfg Config) string { return Find(cfg, env, prefixes) }
	require.Empty(t, found(Config{}))

	kernel := install(t, filepath.Join(root, "kernel"), "1")
	require.Equal(t, kernel, found(Config{}), "a kernelspec's installation")

	pipx := install(t, filepath.Join(root, "pipx/venv"), "2")
	write(t, filepath.Join(root, "pipx/venv/bin/jupyter-lab"), "#!/bin/sh\n")
	require.NoError(t, os.MkdirAll(filepath.Join(root, "bin"), 0o755))
	require.NoError(t, os.Symlink(filepath.Join(root, "pipx/venv/bin/jupyter-lab"), filepath.Join(root, "bin/jupyter-lab")))
	require.Equal(t, pipx, found(Config{}), "where jupyter-lab on PATH leads")

	write(t, filepath.Join(root, "py/bin/python3"), "\x7fELF")
	write(t, filepath.Join(root, "py/lib/python3.12/os.py"), "")
	py := install(t, filepath.Join(root, "py"), "3")
	require.Equal(t, py, found(Config{}), "the Python on PATH")
	user := filepath.Join(root, "home/.local/share/jupyter/lab")
	write(t, filepath.Join(user, "static/index.html"), labTemplate)
	require.Equal(t, user, found(Config{}), "the user's own")
	write(t, filepath.Join(root, "path/lab/static/index.html"), labTemplate)
	require.Equal(t, filepath.Join(root, "path/lab"), found(Config{}), "JUPYTER_PATH")
	env["JUPYTERLAB_DIR"] = kernel
	require.Equal(t, kernel, found(Config{}))
	require.Equal(t, pipx, found(Config{Dir: pipx + "/"}), "the flag")
	require.Empty(t, found(Config{Dir: root}), "and no other than the flag's")
}

// What belongs to an installation is found with it, though it is on no search path of Jupyter's.
func TestFindAround(t *testing.T) {
	s := newSite(t, func(s *site) {
		s.server.Env["PATH"] = "/nonexistent"
		s.server.Prefixes = func() []string { return []string{s.prefix} }
	})
	in := s.lab.finder.find()
	require.Equal(t, s.prefix, in.Prefix)
	require.Contains(t, in.Extensions, filepath.Join(s.prefix, "share/jupyter/labextensions"))
	require.Contains(t, in.ConfigDirs, filepath.Join(s.prefix, "etc/jupyter"))
	require.Equal(t, "7.6.5", in.Notebook.Version)
	require.Len(t, s.pageConfig("/lab")["federated_extensions"], 1)

	old := filepath.Join(s.prefix, "lib/python3.12/site-packages")
	require.NoError(t, os.Rename(filepath.Join(old, "notebook-7.6.5.dist-info"), filepath.Join(old, "notebook-6.5.7.dist-info")))
	require.Nil(t, s.lab.finder.find().Notebook, "it has no pages of this kind")
}

func TestPartsInOtherPlaces(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "t/index.html"), labTemplate)
	write(t, filepath.Join(root, "x/own/static/a.js"), "own")
	s := newSite(t, func(s *site) {
		s.server.Config = Config{TemplatesDir: filepath.Join(root, "t"), StaticDir: filepath.Join(root, "s"), SchemasDir: filepath.Join(root, "none"),
			OnlyExtensionDirs: []string{}, ExtensionDirs: []string{filepath.Join(root, "x")}, UserSettingsDir: filepath.Join(root, "u"), WorkspacesDir: filepath.Join(root, "w")}
	})
	require.Equal(t, "JupyterLab Server Application", s.pageConfig("/lab")["appName"])
	require.Empty(t, s.json("/lab/api/settings")["settings"])
	require.Equal(t, "own", s.get("/lab/extensions/own/static/a.js").Body.String())
	require.Equal(t, 404, s.get("/lab/extensions/@org/git/package.json").Code)
	require.Equal(t, 204, s.ask("PUT", "/lab/api/workspaces/w", `{"metadata": {"id": "w"}}`).Code)
	require.FileExists(t, filepath.Join(root, "w", slug("w")+workspaceExt))
}

func TestConfigValidate(t *testing.T) {
	for _, c := range []struct {
		cfg Config
		bad string
	}{
		{Config{DefaultURL: "/lab"}, ""},
		{Config{DefaultURL: "/tree/x?y=z"}, ""},
		{Config{DefaultURL: "lab"}, "--default-url"},
		{Config{DefaultURL: "//evil.example"}, "--default-url"},
		{Config{DefaultURL: "https://evil.example/"}, "--default-url"},
		{Config{DefaultURL: `/\evil.example`}, "--default-url"},
		{Config{DefaultURL: "/%zz"}, "--default-url"},
		{Config{DefaultURL: "/lab", BlockedURIs: []string{"https://example.org/b"}}, ""},
		{Config{DefaultURL: "/lab", BlockedURIs: []string{"file:///b"}, AllowedURIs: []string{"file:///a"}}, "exclude each other"},
		{Config{DefaultURL: "/lab", AllowedURIs: []string{"ftp://x"}}, "--lab-allowed-extensions"},
	} {
		err := c.cfg.Validate()
		if c.bad == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, c.bad, "%+v", c.cfg)
	}
}
