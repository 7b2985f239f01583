package main

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/gorilla/mux"

	"github.com/nbserv/nbserv/adapters/rserver"
	"github.com/nbserv/nbserv/internal/auth"
	"github.com/nbserv/nbserv/internal/httpx"
	"github.com/nbserv/nbserv/kernel"
)

// RServerConfig says where the R Server API is, and how it works.
type RServerConfig struct {
	Listen string // host:port of an address of its own; "" for none
	rserver.Config
}

func defaultRServer() RServerConfig {
	return RServerConfig{Config: rserver.Config{RKernel: "ir", PythonKernel: "python3", WarmSessions: 1, MaxSessions: 200, MaxAllWorkers: 32}}
}

func (c *Config) validateRServer() error {
	for _, n := range []struct {
		flag       string
		value, min int
	}{
		{"rserver-warm-sessions", c.RServer.WarmSessions, 0},
		{"rserver-max-sessions", c.RServer.MaxSessions, 1},
		{"rserver-max-service-kernels", c.RServer.MaxAllWorkers, 1},
	} {
		if n.value < n.min {
			return fmt.Errorf("--%s: %d is less than %d", n.flag, n.value, n.min)
		}
	}
	if c.RServer.Listen == "" {
		return nil
	}
	return c.checkAddress("--rserver-listen", c.RServer.Listen)
}

// rserverBase is where clients of the main address find it.
func (c *Config) rserverBase() string { return strings.TrimSuffix(c.BaseURL, "/") + rserver.Prefix }

// rserverDialect is what authentication knows of it.
func (c *Config) rserverDialect() auth.Dialect {
	base := c.rserverBase()
	return auth.Dialect{
		Has: rserver.Has, Public: rserver.Public, Accounts: true,
		WriteError: func(w http.ResponseWriter, r *http.Request, err error) { rserver.WriteError(w, r, base, err) },
	}
}

// openRServer opens what it keeps in the database and the state folder.
func (s *rooms) openRServer(ctx context.Context, c *Config) (err error) {
	cfg := c.RServer.Config
	cfg.Dir, cfg.MaxFile = filepath.Join(s.state.path, "rserver"), c.Contents.MaxUpload
	cfg.DrainTime = c.StopTimeout / drainShare
	cfg.CheckSandbox = func() error { return kernel.CheckSandbox(context.Background(), c.env.vars["PATH"]) }
	cfg.Hide = []string{s.state.path, c.RootDir, c.env.jupyterConfigDir()}
	cfg.HasKernel = func(name string) bool {
		_, err := s.specs.Find(name)
		return err == nil
	}
	s.rserver, err = rserver.New(ctx, cfg, s.host, s.db)
	return err
}

func (s *server) rserverAPI() *rserver.API {
	return &rserver.API{Server: s.rserver, Auth: s.auth, Base: s.cfg.rserverBase()}
}

// rserverEndpoint is the R Server API at the root of an address of its own.
func (s *server) rserverEndpoint() http.Handler {
	r := mux.NewRouter().SkipClean(true)
	s.rserverAPI().Register(r)
	r.Use(s.metrics.observe)
	r.NotFoundHandler = http.HandlerFunc(s.notFound)
	r.MethodNotAllowedHandler = s.notAllowed(r)
	return s.chain(httpx.SecurityHeaders("/")(rserver.AtRoot(s.auth.Wrap(r))))
}
