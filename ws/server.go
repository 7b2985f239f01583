package ws

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/mux"
	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
	"github.com/nbserv/nbserv/kernel"
)

const (
	// readBuffer is gorilla's, and most of what an idle WebSocket costs to read; a long message is read past it.
	readBuffer = 1 << 10
	// maxSessionID bounds a client's session id, which the kernel remembers. JupyterLab's is a UUID of 36.
	maxSessionID = 256
)

// Server serves the kernels' WebSockets. All methods are safe for concurrent use.
type Server struct {
	// immutable
	host     kernel.Host
	cfg      Config
	log      *slog.Logger
	metrics  *metrics
	upgrader websocket.Upgrader

	bridges  sync.WaitGroup
	arrivals arrivals

	// guarded by mu
	mu      sync.Mutex
	closing *closeError // why nothing new is taken; nil while it is
	open    map[*Bridge]context.CancelCauseFunc
}

// New makes a Server for the kernels of host. cfg must be valid; a nil reg registers no metrics.
func New(host kernel.Host, cfg Config, log *slog.Logger, reg prometheus.Registerer) *Server {
	cfg = cfg.withDefaults()
	return &Server{
		host:    host,
		cfg:     cfg,
		log:     log,
		metrics: newMetrics(reg),
		upgrader: websocket.Upgrader{
			HandshakeTimeout: cfg.WriteTimeout,
			ReadBufferSize:   readBuffer,
			WriteBufferPool:  new(sync.Pool), // nothing is written through it, so no connection owns a buffer
			Subprotocols:     []string{subprotocolV1},
			// Origin and Host are checked for every route in one place, before any handler: a second rule
			// here would sooner or later be a different one.
			CheckOrigin: func(*http.Request) bool { return true },
			Error:       func(http.ResponseWriter, *http.Request, int, error) {}, // the handler answers
		},
		arrivals: arrivals{all: make(map[arrivalKey]*arrival)},
		open:     make(map[*Bridge]context.CancelCauseFunc),
	}
}

// Register adds the route, below the base URL.
func (s *Server) Register(r *mux.Router) {
	r.Handle("/api/kernels/{id}/channels", httpx.Handler(s.channels)).Methods(http.MethodGet)
}

// Close refuses new WebSockets (503), closes the open ones with Config.StopCode and waits until all are gone.
// When ctx ends first it cuts the rest off and returns ctx's error; they are gone then, too.
func (s *Server) Close(ctx context.Context) error {
	return s.close(ctx, &closeError{code: s.cfg.StopCode, reason: "the server is stopping"})
}

// CloseForRestart is Close that tells clients to come back (1012): kernels and journals are there again at once.
func (s *Server) CloseForRestart(ctx context.Context) error {
	return s.close(ctx, &closeError{code: closeServiceRestart, reason: "the server restarts"})
}

func (s *Server) close(ctx context.Context, why *closeError) error {
	s.mu.Lock()
	s.closing = why
	for _, end := range s.open {
		end(why)
	}
	s.mu.Unlock()

	stop := context.AfterFunc(ctx, s.cutOff)
	s.bridges.Wait()
	if !stop() {
		return ctx.Err()
	}
	return nil
}

// cutOff closes the connections under the open bridges.
func (s *Server) cutOff() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for b := range s.open {
		_ = b.conn.Conn.Close()
	}
}

func (s *Server) channels(w http.ResponseWriter, r *http.Request) error {
	id := mux.Vars(r)["id"]
	if !websocket.IsWebSocketUpgrade(r) {
		if _, err := s.host.Get(id); err != nil {
			return err
		}
		s.metrics.refused[refusedNoUpgrade].Inc()
		return fault.New(fault.Invalid, "this address takes WebSocket connections only, and the request has no "+
			"\"Upgrade: websocket\" with \"Connection: Upgrade\". When a proxy stands between client and server, "+
			"the usual cause is that it strips these two headers: configure it to pass WebSockets on")
	}
	o, err := attachOptions(r)
	if err != nil {
		return err
	}
	log := s.log.With("kernel_id", id, "client_session", o.ClientSession, "remote", r.RemoteAddr)
	client, err := s.attach(r, id, o)
	if err != nil {
		return err
	}
	defer s.bridges.Done()
	h := &hijacker{ResponseWriter: w, cfg: s.cfg}
	b, err := s.upgrade(h, r, client, log)
	switch {
	case err == nil:
		if s.cfg.Closed != nil && o.ClientSession != "" {
			b.closed = func(left bool) { s.cfg.Closed(id, o.ClientSession, left) }
		}
		s.run(r.Context(), b)
		return nil
	case h.conn == nil:
		client.Detach()
		return err
	}
	// The connection is no longer HTTP's: nobody is left to answer.
	client.Detach()
	_ = h.conn.Close()
	httpx.NoteError(r.Context(), err)
	return nil
}

// attach makes the client of a connection, in the order in which those of its session came, and counts its bridge in.
func (s *Server) attach(r *http.Request, id string, o kernel.AttachOptions) (kernel.Client, error) {
	attach, leave := s.arrivals.come(arrivalKey{id, o.ClientSession})
	defer leave()
	if err := s.await(r, id); err != nil {
		return nil, err
	}
	if err := s.enter(); err != nil {
		return nil, err
	}
	client, err := attach(func() (kernel.Client, error) { return s.host.Attach(id, o) })
	if err != nil {
		s.bridges.Done()
	}
	return client, err
}

// readyWait bounds await. A kernel that takes longer is served as it is.
const readyWait = 30 * time.Second

// await holds the handshake of a client that speaks the default protocol back until the kernel takes messages,
// as the reference server does for all: the libraries of programs (nbclient's gateway client, for one) give the
// first answer a second from then on. A client that offers v1 is a page, and let in at once: what its user runs
// before the kernel is ready waits here and not there.
func (s *Server) await(r *http.Request, id string) error {
	if slices.Contains(websocket.Subprotocols(r), subprotocolV1) {
		return nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), readyWait)
	defer cancel()
	err := s.host.Ready(ctx, id)
	if fault.KindOf(err) == fault.Timeout && r.Context().Err() == nil {
		return nil
	}
	return err
}

// attachOptions reads the query.
func attachOptions(r *http.Request) (kernel.AttachOptions, error) {
	q := r.URL.Query()
	o := kernel.AttachOptions{ClientSession: q.Get("session_id"), Confirm: true, Borrow: true}
	if len(o.ClientSession) > maxSessionID {
		return o, fault.New(fault.Invalid, "session_id has %d characters, at most %d are taken",
			len(o.ClientSession), maxSessionID)
	}
	if since := q.Get("since"); since != "" {
		p, err := kernel.ParsePosition(since)
		if err != nil {
			return o, fault.Wrap(fault.Invalid, err, "since: %s", fault.Message(err))
		}
		o.Since = &p
	}
	return o, nil
}

// enter counts a bridge in; each enter needs a Done.
func (s *Server) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing != nil {
		return fault.New(fault.Busy, "the server is stopping")
	}
	s.bridges.Add(1)
	return nil
}

// upgrade does the handshake. What fails before the connection is taken over can still be answered.
func (s *Server) upgrade(h *hijacker, r *http.Request, c kernel.Client, log *slog.Logger) (*Bridge, error) {
	sock, err := s.upgrader.Upgrade(h, r, nil)
	switch {
	case h.err != nil:
		return nil, fault.Wrap(fault.Internal, h.err, "take over the connection")
	case err != nil && h.conn != nil:
		return nil, fault.Wrap(fault.Canceled, err, "the connection was lost in the handshake")
	case err != nil:
		return nil, fault.Wrap(fault.Invalid, err, "%s", err)
	}
	sock.SetReadLimit(s.cfg.MaxMessageBytes)
	sock.SetPingHandler(h.conn.pong)
	sock.SetCloseHandler(func(int, string) error { return nil }) // the Bridge answers when it ends
	h.conn.confirm = c.Confirm
	h.conn.start()
	b := &Bridge{conn: h.conn, ws: sock, client: c, batch: s.cfg.MaxBatch, log: log, metrics: s.metrics, came: make(chan struct{}, 1)}
	b.positions = r.URL.Query().Get("positions") == "1"
	sock.SetPongHandler(b.ponged)
	if sock.Subprotocol() == subprotocolV1 {
		b.codec = v1{}
	} else {
		b.codec = newLegacy()
	}
	return b, nil
}

// run keeps b among the open ones while it runs. The request's own end or deadline is none of a bridge's
// business; Close is.
func (s *Server) run(ctx context.Context, b *Bridge) {
	ctx, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	s.mu.Lock()
	s.open[b] = end
	if s.closing != nil {
		end(s.closing)
	}
	s.mu.Unlock()
	s.metrics.connections.Inc()
	began := time.Now()
	b.log.Info("websocket open", "subprotocol", b.ws.Subprotocol())

	cause := b.Run(ctx)

	s.mu.Lock()
	delete(s.open, b)
	s.mu.Unlock()
	s.metrics.connections.Dec()
	s.note(b.log.With("dur", time.Since(began)), cause)
}

// note counts and logs why a bridge ended: Warn when somebody was cut off.
func (s *Server) note(log *slog.Logger, cause error) {
	var ours *closeError
	var lost *connError
	switch {
	case errors.Is(cause, kernel.ErrTakenOver):
		s.metrics.takenOver.Inc()
	case errors.As(cause, &lost) && lost.stalled:
		s.metrics.stalled.Inc()
		log.Warn("websocket cut off", "err", cause)
		return
	case errors.As(cause, &ours) && ours.code == closeNoPong:
		s.metrics.silent.Inc()
		log.Warn("websocket cut off", "err", cause)
		return
	case errors.As(cause, &ours) && ours.refuse != "":
		s.metrics.refused[ours.refuse].Inc()
		log.Warn("websocket cut off", "err", cause)
		return
	}
	log.Info("websocket closed", "err", cause)
}

// hijacker is the ResponseWriter that gorilla takes the connection from: it gets ours around it.
type hijacker struct {
	http.ResponseWriter
	cfg  Config
	conn *conn // once taken over
	err  error // why it could not be
}

// Hijack looks through wrappers of the ResponseWriter, as http.ResponseController does.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		h.err = err
		return nil, nil, err
	}
	h.conn = newConn(nc, h.cfg)
	return h.conn, rw, nil
}
