package lsp

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// found are the commands of what a server offers whose machine has these files; ROOT is its folder.
func found(t *testing.T, files []string, change func(c *Config, root string)) map[string]string {
	t.Helper()
	root := t.TempDir()
	for _, f := range files {
		name, text, _ := strings.Cut(f, "=")
		write(t, filepath.Join(root, name), text)
	}
	s := serve(t, func(c *Config) {
		c.Find, c.Files, c.Dir = true, nil, filepath.Join(root, "files")
		c.Env = map[string]string{"HOME": filepath.Join(root, "home"), "PATH": filepath.Join(root, "bin"), "JUPYTER_CONFIG_DIR": filepath.Join(root, "config")}
		if change != nil {
			change(c, root)
		}
	})
	all := map[string]string{}
	for name, spec := range s.servers.specs() {
		command := strings.ReplaceAll(strings.Join(spec.Argv, " "), root, "ROOT")
		if strings.HasPrefix(command, "ROOT") && !strings.Contains(command, " /") { // others are of this machine
			all[name] = command
		}
	}
	return all
}

// venv is a Python environment with more files.
func venv(dir string, more ...string) []string {
	files := []string{dir + "/pyvenv.cfg=home = /usr/bin\n", dir + "/bin/python="}
	for _, f := range more {
		files = append(files, dir+"/"+f)
	}
	return files
}

func TestWhereLanguageServersAreFound(t *testing.T) {
	kernel := func(c *Config, root string) {
		c.Pythons = func() []string {
			return []string{filepath.Join(root, "none"), filepath.Join(root, "venv", "bin", "python")}
		}
	}
	for name, c := range map[string]struct {
		files  []string
		change func(*Config, string)
		want   map[string]string
	}{
		"none": {nil, nil, map[string]string{}},
		"modules of the kernel's Python": {venv("venv", "lib/python3.12/site-packages/pylsp/__main__.py="), kernel,
			map[string]string{"pylsp": "ROOT/venv/bin/python -m pylsp"}},
		"programs beside it come before those on PATH": {append(venv("venv", "bin/pyrefly="), "bin/pyrefly=", "bin/jedi-language-server="), kernel,
			map[string]string{"pyrefly": "ROOT/venv/bin/pyrefly lsp", "jedi-language-server": "ROOT/bin/jedi-language-server"}},
		"node_modules of the root folder": {[]string{"bin/node=", "files/node_modules/pyright/langserver.index.js=", "files/node_modules/bash-language-server/bin/main.js="}, nil,
			map[string]string{"pyright": "ROOT/bin/node ROOT/files/node_modules/pyright/langserver.index.js --stdio",
				"bash-language-server": "ROOT/bin/node ROOT/files/node_modules/bash-language-server/bin/main.js start"}},
		"node_modules, but no Node": {[]string{"files/node_modules/pyright/langserver.index.js="}, nil, map[string]string{}},
		"npm's prefix of the user's": {[]string{"bin/node=", "home/.npmrc=prefix = ${HOME}/npm\n", "home/npm/lib/node_modules/yaml-language-server/bin/yaml-language-server="}, nil,
			map[string]string{"yaml-language-server": "ROOT/bin/node ROOT/home/npm/lib/node_modules/yaml-language-server/bin/yaml-language-server --stdio"}},
		"further node_modules": {[]string{"bin/node=", "more/node_modules/sql-language-server/dist/bin/cli.js="},
			func(c *Config, root string) { c.NodeRoots = []string{filepath.Join(root, "more"), "relative"} },
			map[string]string{"sql-language-server": "ROOT/bin/node ROOT/more/node_modules/sql-language-server/dist/bin/cli.js up --method stdio"}},
		"programs of Node's packages": {[]string{"bin/node=", "bin/vscode-css-language-server="}, nil,
			map[string]string{"vscode-css-languageserver-bin": "ROOT/bin/vscode-css-language-server --stdio"}},
		"R, without the package": {[]string{"bin/Rscript="}, nil, map[string]string{}},
		"R": {[]string{"bin/Rscript=", "home/R/x86_64-pc-linux-gnu-library/4.5/languageserver/DESCRIPTION="}, nil,
			map[string]string{"r-languageserver": "ROOT/bin/Rscript --slave -e languageserver::run()"}},
		"R's library beside it": {[]string{"bin/Rscript=", "lib/R/library/languageserver/DESCRIPTION="}, nil,
			map[string]string{"r-languageserver": "ROOT/bin/Rscript --slave -e languageserver::run()"}},
		"Julia, without the package": {[]string{"bin/julia=", "home/.julia/environments/v1.11/Project.toml=[deps]\nIJulia = \"x\"\n"}, nil, map[string]string{}},
		"Julia": {[]string{"bin/julia=", "home/.julia/environments/v1.11/Project.toml=[deps]\nLanguageServer = \"x\"\n"}, nil,
			map[string]string{"julia-language-server": "ROOT/bin/julia --project=. -e using LanguageServer, LanguageServer.SymbolServer; runserver() ."}},
		"what is no program": {[]string{"bin/texlab/x="}, nil, map[string]string{}},
		"not looked for":     {[]string{"bin/texlab="}, func(c *Config, _ string) { c.Find = false }, map[string]string{}},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, found(t, c.files, c.change)) })
	}
}

func TestConfiguredLanguageServers(t *testing.T) {
	const one = `{"LanguageServerManager": {"language_servers": {%}}}`
	of := func(servers string) string { return strings.Replace(one, "%", servers, 1) }
	s := func(name, argv string) string {
		return `"` + name + `": {"version": 2, "argv": ["ROOT/` + argv + `"], "languages": ["x"]}`
	}
	require.Equal(t, map[string]string{"mine": "ROOT/user", "other": "ROOT/other", "flag": "ROOT/flag"}, found(t, []string{
		"bin/texlab=",
		"config/jupyter_server_config.d/a.json=" + of(s("mine", "early")+","+s("other", "other")),
		"config/jupyter_server_config.json=" + of(s("mine", "user")+`, "texlab": {"argv": []}`),
		"config/jupyter_notebook_config.json=" + of(s("mine", "notebook")),
		"flag.json=" + of(s("flag", "flag")),
	}, func(c *Config, root string) { c.Files = []string{filepath.Join(root, "flag.json")} }))
}

// A mistake costs what it is in, and is told once. P13
func TestConfigurationThatIsWrong(t *testing.T) {
	root := t.TempDir()
	file := filepath.Join(root, "wrong.json")
	write(t, file, `{"LanguageServerManager": {"language_servers": {
		"good": {"version": 2, "argv": ["x"], "languages": ["x"]},
		"old": {"version": 1, "argv": ["x"], "languages": ["x"]}, "mute": {"version": 2, "argv": ["x"]}, "blank": {"version": 2, "argv": [""], "languages": ["x"]},
		"typed": {"argv": "x"}}}}`)
	write(t, filepath.Join(root, "broken.json"), `{`)
	s := serve(t, func(c *Config) {
		c.Files = []string{filepath.Join(root, "broken.json"), file, filepath.Join(root, "none.json")}
	})
	for range 2 {
		require.Len(t, s.status().Sessions, 1)
		require.Contains(t, s.status().Sessions, "good")
	}
	for _, name := range []string{"old", "mute", "blank", "typed"} {
		require.Equal(t, 1, strings.Count(s.log.String(), "language_server="+name+" "), name)
	}
	require.Equal(t, 1, strings.Count(s.log.String(), "broken.json"))
	require.NoError(t, os.WriteFile(file, []byte(`{}`), 0o600))
	require.Empty(t, s.status().Sessions, "files are read at each look")
}

// What pages know of the known ones is whole, and their settings have the schema of the installed jupyter_lsp.
func TestKnownLanguageServers(t *testing.T) {
	names := map[string]bool{}
	for _, k := range knowns {
		require.False(t, names[k.key], k.key)
		names[k.key] = true
		spec := k.spec([]string{"x"})
		require.NoError(t, spec.check(), k.key)
		require.NotEmpty(t, spec.DisplayName, k.key)
		require.NotEmpty(t, spec.MIMETypes, k.key)
		require.NotEmpty(t, spec.Install, k.key)
		require.True(t, strings.HasPrefix(spec.URLs["home"], "https://"), k.key)
		require.True(t, k.module != "" || len(k.scripts)+len(k.programs) > 0, k.key)
	}
	root := t.TempDir()
	for _, f := range venv("venv", "lib/python3.12/site-packages/pylsp/__main__.py=", "lib/python3.12/site-packages/jupyter_lsp/specs/config/pylsp.schema.json={\"title\": \"pylsp\"}") {
		name, text, _ := strings.Cut(f, "=")
		write(t, filepath.Join(root, name), text)
	}
	s := serve(t, func(c *Config) {
		c.Find, c.Pythons = true, func() []string { return []string{filepath.Join(root, "venv", "bin", "python")} }
	})
	require.JSONEq(t, `{"title": "pylsp"}`, string(s.status().Sessions["pylsp"].Spec.ConfigSchema))
	require.Len(t, s.status().Specs, len(knowns)+1)
}
