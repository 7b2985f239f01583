package remote

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
	"github.com/nbserv/nbserv/kernel"
)

// ServerOptions say what a Server offers.
type ServerOptions struct {
	// Open gives the Host to offer. It is called with the configuration of each server that connects, one call at a
	// time, and always gives the same Host; notes tell that server what of its configuration is not in force.
	Open func(ctx context.Context, config json.RawMessage) (h kernel.Host, notes []string, err error)
	// Stop is called when a server asks for the end of the kernels and of this process: it ends the kernels within
	// timeout. When it returns, the server is told, and Server.Stopped is closed.
	Stop func(timeout time.Duration) error
	// Gather gives the metrics of the process; nil: none.
	Gather prometheus.Gatherer
	// Version is the program's.
	Version string
	Logger  *slog.Logger // nil discards
}

// Server offers a kernel.Host on a unix socket. All methods are safe for concurrent use.
type Server struct {
	// immutable
	o        ServerOptions
	log      *slog.Logger
	instance string
	http     *http.Server
	end      context.Context // ends when Close begins
	cut      context.CancelFunc
	stopped  chan struct{}

	opening sync.Mutex                  // held while Open is called
	host    atomic.Pointer[kernel.Host] // nil until the first server has connected
	servers atomic.Int32                // those that watch

	mu      sync.Mutex
	closed  bool           // guarded by mu
	once    sync.Once      // of stopped
	streams sync.WaitGroup // added to with mu held
}

// NewServer makes a Server.
func NewServer(o ServerOptions) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, log: o.Logger, instance: uuid.NewString(), stopped: make(chan struct{})}
	s.end, s.cut = context.WithCancel(context.Background())
	s.http = &http.Server{
		Handler: s.routes(), ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	return s
}

func (s *Server) routes() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET "+helloPath, s.hello)
	m.HandleFunc("PUT "+configPath, s.configure)
	m.HandleFunc("POST "+stopPath, s.stop)
	m.HandleFunc("POST "+startPath, s.withHost(s.start))
	m.HandleFunc("POST "+interruptPath, s.withHost(s.onKernel(kernel.Host.Interrupt)))
	m.HandleFunc("POST "+restartPath, s.withHost(s.onKernel(kernel.Host.Restart)))
	m.HandleFunc("POST "+shutdownPath, s.withHost(s.onKernel(kernel.Host.Shutdown)))
	m.HandleFunc("POST "+readyPath, s.withHost(s.onKernel(kernel.Host.Ready)))
	m.HandleFunc("POST "+usagePath, s.withHost(s.usage))
	m.HandleFunc("GET "+watchPath, s.withHost(s.watch))
	m.HandleFunc("GET "+clientPath, s.withHost(s.client))
	if s.o.Gather != nil {
		m.Handle("GET "+metricsPath, promhttp.HandlerFor(s.o.Gather, promhttp.HandlerOpts{}))
	}
	return m
}

// Serve answers on ln until Close; it returns nil then.
func (s *Server) Serve(ln net.Listener) error {
	err := s.http.Serve(ln)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Servers is how many notebook servers are connected.
func (s *Server) Servers() int { return int(s.servers.Load()) }

// Stopped is closed when a server has asked for the end, and the kernels have ended.
func (s *Server) Stopped() <-chan struct{} { return s.stopped }

// Close cuts all connections and waits until their goroutines are gone. The kernels go on.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cut()
	_ = s.http.Close()
	s.streams.Wait()
}

// enter counts a stream in; false when there are no more.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.streams.Add(1)
	return true
}

func (s *Server) hello(w http.ResponseWriter, _ *http.Request) {
	_ = httpx.WriteJSON(w, http.StatusOK, Hello{
		Protocols: []int{protocol}, Version: s.o.Version, Instance: s.instance, PID: os.Getpid(),
	})
}

func (s *Server) configure(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCallBytes))
	if err != nil {
		failed(w, fault.Wrap(fault.Invalid, err, "the configuration did not come whole"))
		return
	}
	s.opening.Lock()
	defer s.opening.Unlock()
	h, notes, err := s.o.Open(r.Context(), raw)
	if err != nil {
		s.fail(w, "configure", err)
		return
	}
	s.host.Store(&h)
	reply(w, answer{Notes: notes})
}

func (s *Server) stop(w http.ResponseWriter, r *http.Request) {
	var o Stop
	if err := httpx.ReadJSON(w, r, maxCallBytes, &o); err != nil {
		failed(w, err)
		return
	}
	err := s.o.Stop(time.Duration(o.Timeout))
	if err != nil {
		s.fail(w, "stop", err)
	} else {
		reply(w, answer{})
	}
	_ = http.NewResponseController(w).Flush() // before the process ends
	s.once.Do(func() { close(s.stopped) })
}

// withHost is a handler that needs the Host.
func (s *Server) withHost(f func(kernel.Host, http.ResponseWriter, *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h := s.host.Load()
		if h == nil {
			failed(w, fault.New(fault.Busy, "the kernel host is starting"))
			return
		}
		f(*h, w, r)
	}
}

func (s *Server) start(h kernel.Host, w http.ResponseWriter, r *http.Request) {
	var o kernel.StartOptions
	if err := httpx.ReadJSON(w, r, maxCallBytes, &o); err != nil {
		failed(w, err)
		return
	}
	st, err := h.Start(r.Context(), o)
	if err != nil {
		s.fail(w, "start", err)
		return
	}
	reply(w, answer{Status: &st})
}

// usage tells what a kernel uses, if the Host knows.
func (s *Server) usage(h kernel.Host, w http.ResponseWriter, r *http.Request) {
	m, ok := h.(kernel.Meter)
	if !ok {
		reply(w, answer{Usage: &kernel.Usage{}})
		return
	}
	u, err := m.Usage(r.Context(), r.URL.Query().Get("id"))
	if err != nil {
		s.fail(w, "usage", err)
		return
	}
	reply(w, answer{Usage: &u})
}

// onKernel is a call about one kernel. Its answer carries how the kernel is then, if it still is.
func (s *Server) onKernel(do func(kernel.Host, context.Context, string) error) func(kernel.Host, http.ResponseWriter, *http.Request) {
	return func(h kernel.Host, w http.ResponseWriter, r *http.Request) {
		id := r.URL.Query().Get("id")
		if err := do(h, r.Context(), id); err != nil {
			s.fail(w, r.URL.Path, err)
			return
		}
		var a answer
		if st, err := h.Get(id); err == nil {
			a.Status = &st
		}
		reply(w, a)
	}
}

// fail answers with err, whose inner part only the log gets.
func (s *Server) fail(w http.ResponseWriter, what string, err error) {
	if fault.KindOf(err) == fault.Internal || errors.Unwrap(err) != nil {
		s.log.Info("call failed", "path", what, "err", err)
	}
	failed(w, err)
}

// hijack takes the connection of a request for a stream and answers it.
func hijack(w http.ResponseWriter, r *http.Request) (*pipe, error) {
	if r.Header.Get("Upgrade") != upgradeName {
		return nil, fault.New(fault.Invalid, "this path takes an upgrade to %s only", upgradeName)
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	u, ok := conn.(*net.UnixConn)
	if !ok {
		_ = conn.Close()
		return nil, fault.New(fault.Internal, "the connection is no unix socket")
	}
	_ = u.SetDeadline(time.Time{})
	early, _ := rw.Reader.Peek(rw.Reader.Buffered())
	p, err := newPipe(u, early)
	if err == nil {
		_, err = u.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + upgradeName + "\r\n\r\n"))
	}
	if err != nil {
		_ = u.Close()
		return nil, err
	}
	return p, nil
}
