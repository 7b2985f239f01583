package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/nbserv/nbserv/adapters/codeinterpreter"
	"github.com/nbserv/nbserv/internal/auth"
	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
	"github.com/nbserv/nbserv/kernel"
)

// CodeInterpreterConfig says which pools of sessions there are for programs that run code, and where.
type CodeInterpreterConfig struct {
	Listen          string        // host:port of an address of its own; "" for none
	PoolsFile       string        // JSON; "" for the default pools
	Ready           int           // sessions of each default pool that are started ahead
	DefaultPool     string        // the pool at the root of Listen and of /mcp
	MaxUpload       int64         // bytes of one file
	Keep            time.Duration // how long outcomes of executions are remembered
	AllowUnconfined bool          // pools without a sandbox serve beyond loopback, too

	pools []codeinterpreter.PoolConfig
}

// resolveCodeInterpreter reads the pools.
func (c *Config) resolveCodeInterpreter() error {
	ci := &c.CodeInterpreter
	if ci.Ready < 0 {
		return fmt.Errorf("--codeinterpreter-ready: %d is negative", ci.Ready)
	}
	if ci.PoolsFile == "" {
		ci.pools = codeinterpreter.DefaultPools()
		for i := range ci.pools {
			ci.pools[i].Ready = ci.Ready
		}
		return nil
	}
	f, err := os.Open(ci.PoolsFile)
	if err != nil {
		return fmt.Errorf("--codeinterpreter-pools: %w", err)
	}
	defer f.Close()
	if ci.pools, err = codeinterpreter.ReadPools(f); err != nil {
		return fmt.Errorf("--codeinterpreter-pools: %s: %w", ci.PoolsFile, err)
	}
	return nil
}

func (c *Config) validateCodeInterpreter() error {
	ci := &c.CodeInterpreter
	if ci.Listen != "" {
		if err := c.checkAddress("--codeinterpreter-listen", ci.Listen); err != nil {
			return err
		}
	}
	switch {
	case ci.MaxUpload <= 0:
		return fmt.Errorf("--codeinterpreter-max-upload: %d is not positive", ci.MaxUpload)
	case ci.Keep <= 0:
		return fmt.Errorf("--codeinterpreter-keep: %v is not positive", ci.Keep)
	}
	for _, p := range ci.pools {
		if err := p.Validate(); err != nil {
			return fmt.Errorf("--codeinterpreter-ready: %s", fault.Message(err)) // a file's were checked as it was read
		}
	}
	for _, p := range ci.pools {
		if p.Name == ci.DefaultPool {
			return nil
		}
	}
	return fmt.Errorf("--codeinterpreter-default-pool: there is no pool %q", ci.DefaultPool)
}

// codeInterpreterDialect is what authentication knows of it.
var codeInterpreterDialect = auth.Dialect{
	Has: codeinterpreter.Has, WriteError: codeinterpreter.WriteError, Bearer: true, TokenHeaders: []string{"X-Ms-Apikey"},
}

// openCodeInterpreter makes the pools. One that is to be reached from elsewhere must be confined, or allowed not to be.
func (s *rooms) openCodeInterpreter(ctx context.Context, c *Config, log *slog.Logger, reg prometheus.Registerer) (err error) {
	check := func() error { return kernel.CheckSandbox(context.Background(), c.env.vars["PATH"]) }
	ci := &c.CodeInterpreter
	s.interpreter, err = codeinterpreter.New(ctx, codeinterpreter.Config{
		Dir: filepath.Join(s.state.path, "codeinterpreter"), BaseURL: c.BaseURL,
		Hide:  []string{s.state.path, c.RootDir, c.env.jupyterConfigDir()},
		Pools: ci.pools, MaxUpload: ci.MaxUpload, Keep: ci.Keep,
		Exposed: !c.loopback() || !loopbackAddress(ci.Listen), AllowUnconfined: ci.AllowUnconfined, CheckSandbox: check,
		Logger: log, Metrics: reg,
	}, s.sessions, s.host, s.db)
	if err != nil {
		return fmt.Errorf("code interpreter: %w", err)
	}
	if !loopbackAddress(ci.Listen) {
		if err := s.interpreter.Usable(ci.DefaultPool); err != nil {
			return fmt.Errorf("--codeinterpreter-listen=%s: %s", ci.Listen, fault.Message(err))
		}
	}
	return nil
}

// loopbackAddress tells whether host:port is reached from this machine only; "" is nowhere.
func loopbackAddress(text string) bool {
	host, _, err := net.SplitHostPort(text)
	ip := net.ParseIP(host)
	return text == "" || err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

func (s *server) codeInterpreter() *codeinterpreter.API {
	return codeinterpreter.NewAPI(s.interpreter, s.cfg.CodeInterpreter.DefaultPool)
}

// codeInterpreterEndpoint is the code interpreter on an address of its own: the default pool at the root, all of them
// below their prefixes.
func (s *server) codeInterpreterEndpoint() http.Handler {
	r := mux.NewRouter().SkipClean(true)
	s.codeInterpreter().Register(r)
	r.Use(s.metrics.observe)
	r.NotFoundHandler = http.HandlerFunc(s.notFound)
	r.MethodNotAllowedHandler = s.notAllowed(r)
	inside := codeinterpreter.AtRoot(s.cfg.CodeInterpreter.DefaultPool, s.auth.Wrap(r))
	top := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			_ = httpx.WriteJSON(w, http.StatusOK, struct{}{}) // for who only looks whether there is anything
			return
		}
		inside.ServeHTTP(w, r)
	})
	return s.chain(httpx.SecurityHeaders("/")(top))
}
