package remote

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/kernel"
)

// Options say which kernel host a Host uses.
type Options struct {
	// Socket is the path of the kernel host's unix socket; it is asked anew for each connection.
	Socket func() string
	// Start starts a kernel host when none answers, and may return before it answers. nil: somebody else does.
	Start func(ctx context.Context) error
	// Config is told to the kernel host at each connection, as JSON.
	Config any
	Logger *slog.Logger // nil discards
}

const (
	// callTimeout bounds what a kernel host that works answers at once.
	callTimeout = 10 * time.Second
	// openTimeout bounds a configuration: the kernel host adopts its predecessor's kernels meanwhile.
	openTimeout = time.Minute
	// The pauses between two attempts to reach a kernel host double from the one to the other.
	firstPause, lastPause = 2 * time.Millisecond, 500 * time.Millisecond
	// startPatience is how long a kernel host that was started may take to answer before another one is.
	startPatience = 5 * time.Second
	// idleCalls is how many connections for calls are kept.
	idleCalls = 16
)

// errAway is what everything is answered with that needs a kernel host while there is none.
var errAway = fault.New(fault.Busy, "the kernels cannot be reached just now: try again in a moment")

// errBroke marks what failed because the connection to the kernel host broke.
var errBroke = errors.New("no answer from the kernel host")

// Host is a kernel.Host whose kernels are in another process. While that cannot be reached everything but List and
// Watch is Busy; List gives what was last known.
type Host struct {
	// immutable
	o     Options
	log   *slog.Logger
	calls *http.Client
	cache *cache
	ctx   context.Context // ends when Close begins
	end   context.CancelFunc
	wg    sync.WaitGroup // keep

	stopping atomic.Bool // the kernel host ends as it was told, and no other is needed

	mu    sync.Mutex
	up    bool          // guarded by mu
	hello Hello         // guarded by mu; of the present kernel host, or the last one
	turn  chan struct{} // guarded by mu; closed, and replaced, when up changes
}

var _ kernel.Host = (*Host)(nil)

// Dial connects to a kernel host, or starts one, and keeps the connection until Close. It fails when ctx ends before,
// at once when the kernel host speaks another protocol.
func Dial(ctx context.Context, o Options) (*Host, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	h := &Host{o: o, log: o.Logger, cache: newCache(), turn: make(chan struct{})}
	h.calls = &http.Client{Transport: &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, o.Socket()) },
		MaxIdleConnsPerHost: idleCalls,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true,
	}}
	h.ctx, h.end = context.WithCancel(context.Background())
	watch, err := h.connect(ctx, true)
	if err != nil {
		h.end()
		h.calls.CloseIdleConnections()
		return nil, err
	}
	h.wg.Go(func() { h.keep(watch) })
	return h, nil
}

// Close disconnects. The kernels, and their host, go on.
func (h *Host) Close() {
	h.end()
	h.wg.Wait()
	h.calls.CloseIdleConnections()
}

// Peer is what the kernel host says of itself; ok is whether it can be reached.
func (h *Host) Peer() (peer Hello, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.hello, h.up
}

// keep follows the watch, and connects again when it breaks, until Close.
func (h *Host) keep(watch *pipe) {
	for {
		err := h.follow(watch)
		h.setUp(false)
		if h.ctx.Err() != nil || h.stopping.Load() {
			return
		}
		h.log.Warn("connection to the kernel host lost", "err", err)
		if watch, err = h.connect(h.ctx, false); err != nil {
			return // Close
		}
		peer, _ := h.Peer()
		h.log.Info("connected to a kernel host again", "pid", peer.PID)
	}
}

// follow feeds the cache until the watch breaks.
func (h *Host) follow(watch *pipe) error {
	stop := context.AfterFunc(h.ctx, func() { _ = watch.conn.Close() })
	defer stop()
	defer watch.close()
	for {
		frames, err := watch.read(nil)
		if err != nil {
			return err
		}
		if err := h.learn(frames); err != nil {
			return err
		}
	}
}

func (h *Host) learn(frames []byte) error {
	for len(frames) > 0 {
		kind, payload, rest, _, _ := cutFrame(frames)
		frames = rest
		var list []kernel.Status
		if err := json.Unmarshal(payload, &list); err != nil {
			return fmt.Errorf("%w: %w", errFrame, err)
		}
		if kind == frameAll {
			h.cache.replace(list)
			continue
		}
		for _, st := range list {
			h.cache.put(st, true)
		}
	}
	return nil
}

func (h *Host) setUp(up bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.up != up {
		h.up = up
		close(h.turn)
		h.turn = make(chan struct{})
	}
}

// Await waits until the kernel host can be reached. It fails with ctx's error, or because of Close.
func (h *Host) Await(ctx context.Context) error {
	for {
		h.mu.Lock()
		up, turn := h.up, h.turn
		h.mu.Unlock()
		if up {
			return nil
		}
		select {
		case <-turn:
		case <-ctx.Done():
			return ctx.Err()
		case <-h.ctx.Done():
			return errAway
		}
	}
}

func (h *Host) reachable() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.up {
		return nil
	}
	return errAway
}

// connect reaches a kernel host, starting one where that is possible, and gives its watch. It goes on until ctx ends;
// first says that some errors are final.
func (h *Host) connect(ctx context.Context, first bool) (*pipe, error) {
	pause, started := firstPause, time.Time{}
	said := ""
	for {
		watch, err := h.open(ctx)
		if err == nil {
			h.setUp(true)
			return watch, nil
		}
		var other *protocolError
		if first && asProtocolError(err, &other) {
			return nil, err
		}
		if absent(err) && h.o.Start != nil && time.Since(started) > startPatience {
			started, pause = time.Now(), firstPause
			if e := h.o.Start(ctx); e != nil {
				err = fmt.Errorf("start a kernel host: %w", e)
				if first {
					return nil, err
				}
			}
		}
		if text := err.Error(); text != said && !absent(err) {
			h.log.Warn("kernel host not reached", "err", err)
			said = text
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("no kernel host answers at %s: %w", h.o.Socket(), err)
		case <-time.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
}

// open makes one attempt to reach the kernel host.
func (h *Host) open(ctx context.Context) (*pipe, error) {
	var hello Hello
	short, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := h.exchange(short, http.MethodGet, helloPath, nil, nil, &hello); err != nil {
		return nil, err
	}
	if !hello.speaks(protocol) {
		return nil, &protocolError{hello}
	}
	long, cancelLong := context.WithTimeout(ctx, openTimeout)
	defer cancelLong()
	var a answer
	if err := h.exchange(long, http.MethodPut, configPath, nil, h.o.Config, &a); err != nil {
		return nil, err
	}
	if a.Fault != nil {
		return nil, a.Fault.err()
	}
	for _, note := range a.Notes {
		h.log.Warn("kernel host runs with other settings", "note", note)
	}
	watch, err := h.upgrade(ctx, watchPath, nil)
	if err != nil {
		return nil, err
	}
	_ = watch.conn.SetReadDeadline(time.Now().Add(callTimeout))
	frames, err := watch.read(nil)
	if err == nil {
		err = h.learn(frames)
	}
	_ = watch.conn.SetReadDeadline(time.Time{})
	if err != nil {
		watch.close()
		return nil, err
	}
	h.mu.Lock()
	h.hello = hello
	h.mu.Unlock()
	return watch, nil
}

// exchange sends a request and decodes its JSON answer into out, whatever its status.
func (h *Host) exchange(ctx context.Context, method, path string, query url.Values, in, out any) error {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://kernels"+path+"?"+query.Encode(), body)
	if err != nil {
		return err
	}
	resp, err := h.calls.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // the URL is of our own making
		}
		return fmt.Errorf("%s: %w", path, err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxCallBytes)).Decode(out); err != nil {
		return fmt.Errorf("%s: %s: %w", path, resp.Status, err)
	}
	return nil
}

// call asks the kernel host for something, and gives the kernel as it is then, if it still is.
func (h *Host) call(ctx context.Context, path, id string, in any) (*kernel.Status, error) {
	if err := h.reachable(); err != nil {
		return nil, err
	}
	return h.callNow(ctx, path, id, in)
}

func (h *Host) callNow(ctx context.Context, path, id string, in any) (*kernel.Status, error) {
	a, err := h.ask(ctx, path, id, in)
	return a.Status, err
}

// ask is callNow with the whole answer.
func (h *Host) ask(ctx context.Context, path, id string, in any) (a answer, err error) {
	err = h.exchange(ctx, http.MethodPost, path, url.Values{"id": {id}}, in, &a)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return a, fault.Wrap(fault.KindOf(ctx.Err()), context.Cause(ctx), "the kernel host was not waited for")
	default:
		return a, fault.Wrap(fault.Busy, fmt.Errorf("%w: %w", errBroke, err), "%s", fault.Message(errAway))
	}
	if a.Fault != nil {
		return a, a.Fault.err()
	}
	if a.Status != nil {
		h.cache.put(*a.Status, false)
	}
	return a, nil
}

// Start implements kernel.Host.
func (h *Host) Start(ctx context.Context, o kernel.StartOptions) (kernel.Status, error) {
	if o.ID == "" {
		o.ID = uuid.NewString()
	}
	before, _ := h.Peer()
	st, err := h.call(ctx, startPath, "", o)
	switch {
	case errors.Is(err, errBroke): // it may have started the kernel before it died, and another one has it now
		return h.adopted(ctx, o.ID, before, err)
	case err != nil:
		return kernel.Status{}, err
	case st == nil:
		return kernel.Status{}, fault.New(fault.Internal, "the kernel host gave no kernel")
	}
	return *st, nil
}

// adopted looks for a kernel with the successor of a kernel host; err is what to say when it is not there.
func (h *Host) adopted(ctx context.Context, id string, before Hello, err error) (kernel.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		h.mu.Lock()
		found, turn := h.up && h.hello.Instance != before.Instance, h.turn
		h.mu.Unlock()
		if found {
			break
		}
		select {
		case <-turn:
		case <-ctx.Done():
			return kernel.Status{}, err
		}
	}
	if st, ok := h.cache.get(id); ok && st.Alive() {
		return st, nil
	}
	return kernel.Status{}, err
}

// Get implements kernel.Host. It asks nobody.
func (h *Host) Get(id string) (kernel.Status, error) {
	if err := h.reachable(); err != nil {
		return kernel.Status{}, err
	}
	if st, ok := h.cache.get(id); ok {
		return st, nil
	}
	return kernel.Status{}, kernel.NoKernel(id)
}

// List implements kernel.Host. It asks nobody.
func (h *Host) List() []kernel.Status { return h.cache.all() }

// Watch implements kernel.Host.
func (h *Host) Watch(ctx context.Context) iter.Seq[kernel.Status] { return h.cache.watch(ctx) }

// Interrupt implements kernel.Host.
func (h *Host) Interrupt(ctx context.Context, id string) error {
	_, err := h.call(ctx, interruptPath, id, nil)
	return err
}

// Restart implements kernel.Host.
func (h *Host) Restart(ctx context.Context, id string) error {
	_, err := h.call(ctx, restartPath, id, nil)
	return err
}

// Shutdown implements kernel.Host.
func (h *Host) Shutdown(ctx context.Context, id string) error {
	_, err := h.call(ctx, shutdownPath, id, nil)
	if err == nil {
		h.cache.shut(id)
	}
	return err
}

// Ready implements kernel.Host.
func (h *Host) Ready(ctx context.Context, id string) error {
	_, err := h.call(ctx, readyPath, id, nil)
	return err
}

// Usage implements kernel.Meter.
func (h *Host) Usage(ctx context.Context, id string) (kernel.Usage, error) {
	if err := h.reachable(); err != nil {
		return kernel.Usage{}, err
	}
	a, err := h.ask(ctx, usagePath, id, nil)
	if err != nil || a.Usage == nil {
		return kernel.Usage{}, err
	}
	return *a.Usage, nil
}

// Execute implements kernel.Host.
func (h *Host) Execute(ctx context.Context, id string, req kernel.ExecuteRequest) iter.Seq2[kernel.Entry, error] {
	return kernel.Execution(ctx, h, id, req)
}

// Stop ends all kernels and their host, within timeout, and the connection to it.
func (h *Host) Stop(ctx context.Context, timeout time.Duration) error {
	h.stopping.Store(true)
	_, err := h.callNow(ctx, stopPath, "", Stop{Timeout: int64(timeout)})
	return err
}

// upgrade makes a connection whose other end speaks frames.
func (h *Host) upgrade(ctx context.Context, path string, query url.Values) (*pipe, error) {
	conn, err := dial(ctx, h.o.Socket())
	if err != nil {
		return nil, err
	}
	p, err := handshake(ctx, conn, path+"?"+query.Encode())
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return p, nil
}

func handshake(ctx context.Context, conn *net.UnixConn, target string) (*pipe, error) {
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	_, err := io.WriteString(conn, "GET "+target+" HTTP/1.1\r\nHost: kernels\r\nConnection: Upgrade\r\nUpgrade: "+upgradeName+"\r\n\r\n")
	if err != nil {
		return nil, err
	}
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer resp.Body.Close()
		var a answer
		if err := json.NewDecoder(io.LimitReader(resp.Body, maxCallBytes)).Decode(&a); err != nil {
			return nil, fmt.Errorf("%s: %w", resp.Status, err)
		}
		if a.Fault == nil {
			return nil, fmt.Errorf("no stream: %s", resp.Status)
		}
		return nil, a.Fault.err()
	}
	_ = conn.SetDeadline(time.Time{})
	early, _ := br.Peek(br.Buffered())
	return newPipe(conn, early)
}
