package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/nbserv/nbserv/internal/auth"
	"github.com/nbserv/nbserv/internal/configsection"
)

// maxHeaderBytes bounds a request line and its headers: a browser's cookies are a few KB.
const maxHeaderBytes = 64 << 10

// server is the rooms, wired together, behind one HTTP server.
type server struct {
	cfg     Config // immutable
	log     *slog.Logger
	started time.Time
	state   *stateDir
	metrics *metrics
	auth    *auth.Auth
	config  *configsection.API

	http *http.Server
	ln   net.Listener

	stopped chan struct{} // takes one word from /api/shutdown
}

// newServer opens everything that can fail, the listener last: once it listens, clients may come.
func newServer(cfg Config, log *slog.Logger) (_ *server, err error) {
	s := &server{
		cfg:     cfg,
		log:     log,
		started: time.Now(),
		metrics: newMetrics(version),
		stopped: make(chan struct{}, 1),
	}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if err := s.openRooms(); err != nil {
		return nil, err
	}
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: cfg.limits.readHeader,
		IdleTimeout:       cfg.limits.idle,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          newHTTPLog(log),
	}
	if cfg.CertFile != "" {
		cert, err := newCertificate(cfg.CertFile, cfg.KeyFile, log)
		if err != nil {
			return nil, fmt.Errorf("--certfile, --keyfile: %w", err)
		}
		s.http.TLSConfig = cert.config()
	}
	s.ln, err = listen(context.Background(), &cfg)
	return s, err
}

// openRooms opens what the routes need.
func (s *server) openRooms() (err error) {
	if s.state, err = openStateDir(s.cfg.StateDir, s.cfg.env.stateHome(), s.cfg.RootDir); err != nil {
		return fmt.Errorf("--state-dir: %w", err)
	}
	s.cfg.Auth.StateDir = s.state.path
	if s.auth, err = auth.New(s.cfg.Auth, s.log); err != nil {
		return err
	}
	s.config = &configsection.API{Store: configsection.New(filepath.Join(s.cfg.env.jupyterConfigDir(), "serverconfig"))}
	return nil
}

// release closes what openRooms opened, in the opposite order.
func (s *server) release() {
	if s.state != nil {
		_ = s.state.Close()
	}
}

// announce tells people where the server is. The token stands here and in no log line.
func (s *server) announce(w io.Writer) {
	fmt.Fprintf(w, "nbserv %s serves %s\n", version, s.cfg.RootDir)
	for i, u := range urls(&s.cfg, s.ln.Addr()) {
		if i == 0 {
			fmt.Fprintf(w, "    %s\n", u)
		} else {
			fmt.Fprintf(w, " or %s\n", u)
		}
	}
	if !s.auth.Enabled() {
		fmt.Fprintln(w, "There is no authentication: whoever reaches this address can run code as you.")
	}
	fmt.Fprintln(w, "Stop with Control-C; it ends all kernels.")
}

// Run serves until stop ends or a client asks for the end, and then stops in order, within StopTimeout or until
// kill ends.
func (s *server) Run(stop, kill context.Context) error {
	failed := make(chan error, 1)
	go func() { failed <- s.serve() }()
	select {
	case err := <-failed:
		return err
	case <-stop.Done():
	case <-s.stopped:
	}
	s.log.Info("stopping")
	ctx, cancel := context.WithTimeout(kill, s.cfg.StopTimeout)
	defer cancel()
	err := s.close(ctx)
	if serveErr := <-failed; err == nil {
		err = serveErr
	}
	return err
}

func (s *server) serve() error {
	var err error
	if s.http.TLSConfig != nil {
		err = s.http.ServeTLS(s.ln, "", "")
	} else {
		err = s.http.Serve(s.ln)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// close ends the server in the order that loses nothing: take nothing new, end the WebSockets, finish requests,
// save sessions, end kernels. ctx bounds it all.
func (s *server) close(ctx context.Context) error {
	defer s.release()
	if err := s.http.Shutdown(ctx); err != nil {
		s.log.Warn("requests were cut off", "err", err)
		_ = s.http.Close()
	}
	return nil
}
