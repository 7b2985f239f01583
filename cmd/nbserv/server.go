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

	"github.com/nbserv/nbserv/internal/configsection"
)

// maxHeaderBytes bounds a request line and its headers: a browser's cookies are a few KB.
const maxHeaderBytes = 64 << 10

// server is the rooms, wired together, behind one HTTP server.
type server struct {
	cfg     Config // immutable
	log     *slog.Logger
	started time.Time
	metrics *metrics
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
		config:  &configsection.API{Store: configsection.New(filepath.Join(cfg.env.jupyterConfigDir(), "serverconfig"))},
		stopped: make(chan struct{}, 1),
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
	if s.ln, err = listen(context.Background(), &cfg); err != nil {
		return nil, err
	}
	return s, nil
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
	if s.cfg.noAuth() {
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
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close()
	}
	return nil
}
