package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nbserv/nbserv/adapters/codeinterpreter"
	"github.com/nbserv/nbserv/adapters/rserver"
	"github.com/nbserv/nbserv/contents"
	"github.com/nbserv/nbserv/contents/trust"
	"github.com/nbserv/nbserv/internal/auth"
	"github.com/nbserv/nbserv/internal/configsection"
	"github.com/nbserv/nbserv/internal/events"
	"github.com/nbserv/nbserv/internal/jupyterpath"
	"github.com/nbserv/nbserv/internal/lab"
	"github.com/nbserv/nbserv/internal/lsp"
	"github.com/nbserv/nbserv/internal/store"
	"github.com/nbserv/nbserv/internal/terminals"
	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/sessions"
	"github.com/nbserv/nbserv/sessions/overlay"
	"github.com/nbserv/nbserv/ws"
)

// rooms are what the routes lead to, in the order in which they are opened.
type rooms struct {
	state       *stateDir
	auth        *auth.Auth
	config      *configsection.Store
	files       *contents.Dir
	store       *contents.Dir // of the ImageStore
	specs       *kernel.Specs
	kernels     kernels
	host        kernel.Host // kernels, as clients reach them
	db          *store.DB
	sessions    *sessions.Manager
	overlays    *overlay.Keeper
	sockets     *ws.Server
	terms       *terminals.API // nil: there are none
	languages   *lsp.API
	lab         *lab.Lab
	events      *events.Bus
	rserver     *rserver.Server
	interpreter *codeinterpreter.Interpreter
}

// open opens every room. After an error, release closes those that are open.
func (s *rooms) open(c *Config, log *slog.Logger, reg prometheus.Registerer) (err error) {
	if s.state = c.env.inherited.stateDir(); s.state == nil {
		s.state, err = openStateDir(c.StateDir, c.env.stateHome(), c.RootDir)
	}
	if err != nil {
		return fmt.Errorf("--state-dir: %w", err)
	}
	ctx := context.Background()
	s.db, err = store.Open(ctx, filepath.Join(s.state.path, databaseFile), log, sessions.Schema, overlay.Schema, trust.Schema, auth.AccountSchema, rserver.Schema,
		codeinterpreter.Schema)
	if err != nil {
		return fmt.Errorf("--state-dir: %w", err)
	}
	c.Auth.StateDir, c.Auth.Accounts = s.state.path, auth.NewAccounts(s.db, log)
	if err := s.keepToken(c, log); err != nil {
		return fmt.Errorf("--state-dir: %w", err)
	}
	if s.auth, err = auth.New(c.Auth, log); err != nil {
		return err
	}
	if s.events, err = events.NewBus(c.EventSchemaDir, log); err != nil {
		return fmt.Errorf("--event-schema-dir: %w", err)
	}
	s.config = configSections(c, log)
	if err := s.openKernels(ctx, c, log, reg); err != nil {
		return err
	}
	c.Contents.Notary, c.Contents.Overlays = trust.New(s.db, log), s.overlays
	c.Contents.StagingDir = filepath.Join(s.state.path, "staging")
	if s.files, err = contents.New(c.Contents); err != nil {
		return err
	}
	if s.store, err = contents.New(c.storeConfig(s.state.path)); err != nil {
		return err
	}
	for of, d := range map[string]*contents.Dir{"contents": s.files, "imagestore": s.store} {
		if err := d.Staging().Instrument(prometheus.WrapRegistererWith(prometheus.Labels{"of": of}, reg)); err != nil {
			return err
		}
	}
	s.openTerminals(c, log)
	s.openLanguageServers(c, log)
	s.openLab(c, log)
	return nil
}

// configSections reads what packages, administrators and the user have configured for frontends, and writes the user's.
func configSections(c *Config, log *slog.Logger) *configsection.Store {
	const dir = "serverconfig"
	return configsection.New(log, filepath.Join(c.env.jupyterConfigDir(), dir), sync.OnceValue(func() []string {
		env := c.env.jupyter()
		dirs := jupyterpath.Config(env, jupyterpath.FindPython(env))
		for i := range dirs {
			dirs[i] = filepath.Join(dirs[i], dir)
		}
		return dirs
	}))
}

// openKernels opens what has to do with kernels.
func (s *rooms) openKernels(ctx context.Context, c *Config, log *slog.Logger, reg prometheus.Registerer) (err error) {
	s.specs = c.kernelSettings().specs(log)
	if s.kernels, err = openKernels(ctx, c, s.state.path, log, reg); err != nil {
		return err
	}
	s.host = toldHost{s.kernels, s.events}
	s.sessions, err = sessions.New(ctx, sessions.Config{KernelDir: s.kernelDir, Logger: log}, s.host, sessions.NewSQLite(s.db))
	if err != nil {
		return err
	}
	s.sessions.Settle(ctx, s.db.Fresh())
	reg.MustRegister(prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: "nbserv_sessions_open_count", Help: "Sessions that exist."},
		func() float64 { return float64(len(s.sessions.List(ctx))) },
	))
	c.Overlays.Logger = log
	if s.overlays, err = overlay.New(ctx, c.Overlays, s.host, s.sessions, overlay.NewSQLite(s.db)); err != nil {
		return err
	}
	c.WebSockets.Closed = s.overlays.Closed
	s.sockets = ws.New(s.kernels, c.WebSockets, log, reg)
	c.RServer.Logger = log
	if err := s.openRServer(ctx, c); err != nil {
		return err
	}
	return s.openCodeInterpreter(ctx, c, log, reg)
}

// kernelDir is where the kernel of an API path starts.
func (s *rooms) kernelDir(apiPath string) string { return s.files.KernelDir(apiPath) }

// keepToken makes a token of our own the one of the servers before, so that their pages go on.
func (s *rooms) keepToken(c *Config, log *slog.Logger) (err error) {
	if !c.madeToken {
		return auth.ForgetToken(s.state.path)
	}
	c.Auth.Token, err = auth.KeepToken(s.state.path, c.Auth.Token, log)
	return err
}

// run does what the rooms do by themselves, until ctx ends.
func (s *rooms) run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { s.kernels.Run(ctx) })
	wg.Go(func() { tellEnds(ctx, s.kernels, s.events) })
	wg.Go(func() { s.overlays.Run(ctx, s.files) })
	wg.Go(func() { s.interpreter.Run(ctx) })
	if s.terms != nil {
		wg.Go(func() { s.terms.Terminals.Run(ctx) })
	}
	wg.Go(func() { s.rserver.Run(ctx) })
	wg.Go(func() { _ = s.files.Run(ctx) }) // always nil
	wg.Go(func() { _ = s.store.Run(ctx) }) // the same
	wg.Wait()
}

// release closes files and database and gives the state folder free. Kernels that nobody has ended go on.
func (s *rooms) release(log *slog.Logger) {
	if s.kernels != nil {
		if err := s.kernels.Leave(context.Background()); err != nil {
			log.Warn("kernels were left in the middle of something", "err", err)
		}
	}
	if s.db != nil {
		if err := s.db.Close(); err != nil {
			log.Error("cannot close the database", "err", err)
		}
	}
	for _, d := range []*contents.Dir{s.files, s.store} {
		if d != nil {
			_ = d.Close() // nothing was written through it
		}
	}
	if s.state != nil {
		_ = s.state.Close() // the process's end would do it, too
	}
}
