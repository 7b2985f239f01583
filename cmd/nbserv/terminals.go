package main

import (
	"cmp"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/term"

	"github.com/nbserv/nbserv/internal/socket"
	"github.com/nbserv/nbserv/internal/terminals"
	"github.com/nbserv/nbserv/kernel"
)

// textSockets are the bounds of WebSockets of text, as of those of kernels.
func (c *Config) textSockets() socket.Config {
	return socket.Config{WriteTimeout: c.WebSockets.WriteTimeout, PingInterval: c.WebSockets.PingInterval}
}

// openTerminals opens the terminals' room, where there is to be one.
func (s *rooms) openTerminals(c *Config, log *slog.Logger) {
	if !c.Terminals.Enabled {
		return
	}
	t := c.Terminals
	t.Logger = log
	t.Environ = append(kernel.CleanEnviron(c.env.list), "JUPYTER_SERVER_ROOT="+c.RootDir)
	if len(t.Shell) == 0 {
		t.Shell = []string{cmp.Or(c.env.vars["SHELL"], "sh")}
		if !term.IsTerminal(int(os.Stdout.Fd())) {
			// Nobody has set up the environment of a server that a service manager started; Jupyter does the same.
			t.Shell = append(t.Shell, "-l")
		}
	}
	t.Dir = func(dir string) string { return terminalDir(c.RootDir, dir) }
	s.terms = &terminals.API{Terminals: terminals.New(t), BaseURL: c.BaseURL, Sockets: c.textSockets()}
}

// terminalDir is the folder for a terminal that asks for dir: one below the root, or any of the machine's, where a
// terminal can go anyway. What does not exist gives the root.
func terminalDir(root, dir string) string {
	for _, d := range []string{filepath.Join(root, dir), dir} {
		if info, err := os.Stat(d); err == nil && info.IsDir() && filepath.IsAbs(d) {
			return d
		}
	}
	return root
}
