package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// maxHeaderBytes bounds a request line and its headers: a browser's cookies are a few KB.
const maxHeaderBytes = 64 << 10

// server is the rooms, wired together, behind one HTTP server.
type server struct {
	// immutable
	cfg     Config
	log     *slog.Logger
	started time.Time
	metrics *metrics
	rooms
	activity  activity
	http      *http.Server
	ln        net.Listener
	further   []*endpoint
	arriving  *newcomers
	accepting sync.WaitGroup // a goroutine for each address

	stopped   chan struct{} // takes one word from /api/shutdown
	restart   chan struct{} // takes one word from nbserv restart
	note      serverNote    // owned by newServer, then by Run
	successor *successor    // owned by Run; the program that goes on with what this one leaves
}

// newServer opens everything that can fail, the listener last: once it listens, clients may come.
func newServer(cfg Config, log *slog.Logger) (*server, error) {
	s, err := assemble(cfg, log)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	s.ln, err = listen(ctx, &cfg)
	for _, e := range s.further {
		if err == nil {
			err = e.listen(ctx, cfg.env.inherited)
		}
	}
	if err == nil {
		err = s.writeNote()
	}
	if err != nil {
		s.closeListeners()
		s.rooms.release(log)
		return nil, err
	}
	return s, nil
}

// assemble is newServer without a listener.
func assemble(cfg Config, log *slog.Logger) (*server, error) {
	s := &server{
		cfg:      cfg,
		log:      log,
		started:  time.Now(),
		metrics:  newMetrics(version),
		arriving: newNewcomers(),
		stopped:  make(chan struct{}, 1),
		restart:  make(chan struct{}, 1),
	}
	var tlsConfig *tls.Config
	if cfg.CertFile != "" {
		cert, err := newCertificate(cfg.CertFile, cfg.KeyFile, log)
		if err != nil {
			return nil, fmt.Errorf("--certfile, --keyfile: %w", err)
		}
		tlsConfig = cert.config()
	}
	if err := s.rooms.open(&s.cfg, log, s.metrics.registry); err != nil {
		s.rooms.release(log)
		return nil, err
	}
	s.http = s.newHTTP(s.handler(), tlsConfig)
	if addr := cfg.ImageStore.Listen; addr != "" {
		s.further = append(s.further, &endpoint{
			name: "ImageStore", flag: "--imagestore-listen", addr: addr, http: s.newHTTP(s.imageStoreEndpoint(), tlsConfig),
		})
	}
	if addr := cfg.RServer.Listen; addr != "" {
		s.further = append(s.further, &endpoint{
			name: "R Server", flag: "--rserver-listen", addr: addr, http: s.newHTTP(s.rserverEndpoint(), tlsConfig),
		})
	}
	if addr := cfg.CodeInterpreter.Listen; addr != "" {
		s.further = append(s.further, &endpoint{
			name: "Code interpreter", flag: "--codeinterpreter-listen", addr: addr, http: s.newHTTP(s.codeInterpreterEndpoint(), tlsConfig),
		})
	}
	return s, nil
}

func (s *server) newHTTP(h http.Handler, tlsConfig *tls.Config) *http.Server {
	server := &http.Server{
		Handler:           h,
		TLSConfig:         tlsConfig,
		ReadHeaderTimeout: s.cfg.limits.readHeader,
		IdleTimeout:       s.cfg.limits.idle,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          newHTTPLog(s.log),
	}
	s.arriving.watch(server)
	return server
}

// closeListeners undoes a start that failed.
func (s *server) closeListeners() {
	if s.ln != nil {
		_ = s.ln.Close()
	}
	for _, e := range s.further {
		if e.ln != nil {
			_ = e.ln.Close()
		}
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
	for _, e := range s.further {
		fmt.Fprintf(w, "%s at %s\n", e.name, e.url())
	}
	if !s.lab.Installed() {
		fmt.Fprintln(w, "JupyterLab is not installed: `nbserv lab install` installs it.")
	}
	if !s.auth.Enabled() {
		fmt.Fprintln(w, "There is no authentication: whoever reaches this address can run code as you.")
	}
	if s.cfg.KeepKernels {
		fmt.Fprintln(w, "Stop with Control-C; kernels go on.")
	} else {
		fmt.Fprintln(w, "Stop with Control-C; it ends all kernels.")
	}
}

// Run serves until stop ends or a client asks for the end, and then stops in order, within StopTimeout or until
// kill ends.
func (s *server) Run(stop, kill context.Context) error {
	var wg sync.WaitGroup
	working, endWork := context.WithCancel(context.Background())
	failed := make(chan error, 1+len(s.further))
	wg.Go(func() { s.rooms.run(working) })
	s.accepting.Go(func() { failed <- serveOn(s.http, s.ln) })
	for _, e := range s.further {
		s.accepting.Go(func() { failed <- serveOn(e.http, e.ln) })
	}
	err := s.await(stop, failed)
	s.log.Info("stopping")
	endWork()
	s.close(kill)
	wg.Wait()
	s.accepting.Wait()
	s.log.Info("stopped")
	return err
}

// await returns when the server is to end: for good, or for the program that goes on in its place.
func (s *server) await(stop context.Context, failed <-chan error) error {
	for {
		select {
		case err := <-failed:
			return err
		case <-stop.Done():
			return nil
		case <-s.stopped:
			return nil
		case <-s.restart:
			if s.prepareSuccessor() {
				return nil
			}
		}
	}
}

// Of StopTimeout, what WebSockets and requests may take before they are cut off; kernels may take the rest, less
// the time to end what did not end by itself.
const (
	drainShare = 4 // a quarter
	killShare  = 10
)

// close ends the server in the order that loses nothing: take nothing new, close the WebSockets, finish requests,
// end kernels, unless they are kept, close the database. It takes at most StopTimeout, less when kill ends. A kernel that had to be killed
// at the end of that time is no failure of the server's: it has ended as it was told.
func (s *server) close(kill context.Context) {
	timeout := s.cfg.StopTimeout
	ctx, cancel := context.WithTimeout(kill, timeout-timeout/killShare)
	defer cancel()
	if s.successor != nil {
		s.stopAccepting(ctx)
		s.drain(ctx, timeout, s.sockets.CloseForRestart)
		s.rooms.release(s.log)
		return
	}
	s.drain(ctx, timeout/drainShare, s.sockets.Close)
	if !s.cfg.KeepKernels {
		if err := s.kernels.Close(ctx); err != nil {
			s.log.Warn("kernels were cut off", "err", err)
		}
	}
	s.rooms.release(s.log)
}

// firstRequestTime is how long a server that is replaced waits for the first request of a connection: browsers open some
// for later.
const firstRequestTime = time.Second

// stopAccepting leaves further connections to the successor, and answers those that are here.
func (s *server) stopAccepting(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, firstRequestTime)
	defer cancel()
	s.closeListeners() // the successor has its own descriptors of them
	s.accepting.Wait()
	s.arriving.wait(ctx)
}

// drain lets clients go: it returns when no request and no WebSocket is left.
func (s *server) drain(ctx context.Context, timeout time.Duration, closeSockets func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := closeSockets(ctx); err != nil {
			s.log.Warn("websockets were cut off", "err", err)
		}
	})
	wg.Go(s.events.Close)
	if s.terms != nil {
		wg.Go(func() {
			s.terms.Terminals.Close()
			s.terms.Wait()
		})
	}
	if s.languages.Servers != nil {
		wg.Go(s.languages.Servers.Close)
	}
	for _, e := range s.further {
		wg.Go(func() { s.finish(ctx, e.http) })
	}
	s.finish(ctx, s.http)
	wg.Wait()
}

// finish waits for the requests of one address.
func (s *server) finish(ctx context.Context, h *http.Server) {
	if err := h.Shutdown(ctx); err != nil {
		s.log.Warn("requests were cut off", "err", err)
		_ = h.Close()
	}
}
