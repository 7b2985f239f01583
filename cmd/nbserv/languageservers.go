package main

import (
	"log/slog"

	"github.com/nbserv/nbserv/internal/lsp"
	"github.com/nbserv/nbserv/kernel"
)

// openLanguageServers opens the language servers' room, where there is to be one. None is started before a page asks.
func (s *rooms) openLanguageServers(c *Config, log *slog.Logger) {
	s.languages = &lsp.API{Sockets: c.textSockets()}
	l := c.LanguageServers
	if !l.Enabled {
		return
	}
	if c.ConfigFile != "" {
		l.Files = append([]string{c.ConfigFile}, l.Files...)
	}
	l.Dir, l.Env, l.Environ, l.Logger = c.RootDir, c.env.jupyter(), kernel.CleanEnviron(c.env.list), log
	l.Pythons = func() []string { return kernelPythons(c, s.specs) }
	s.languages.Servers = lsp.New(l)
}
