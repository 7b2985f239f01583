package codeinterpreter

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/mux"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
	"github.com/nbserv/nbserv/kernel"
)

// API serves an Interpreter. Safe for concurrent use.
type API struct {
	Interpreter *Interpreter
	// DefaultPool is the pool of the root listener and of /mcp.
	DefaultPool string

	tools map[string]http.Handler // of each pool, by its name
}

// NewAPI makes the API of an Interpreter.
func NewAPI(i *Interpreter, defaultPool string) *API {
	a := &API{Interpreter: i, DefaultPool: defaultPool, tools: map[string]http.Handler{}}
	for _, name := range i.names {
		a.tools[name] = newTools(i.pools[name])
	}
	return a
}

// call is a request with what all routes need of it.
type call struct {
	w      http.ResponseWriter
	r      *http.Request
	api    *API
	pool   *pool
	family family
}

type handler func(*call) error

// Register adds the routes, below /aca, and /mcp. r matches decoded paths and does not clean them.
func (a *API) Register(r *mux.Router) {
	get, post := http.MethodGet, http.MethodPost
	for _, o := range []struct {
		method, path string
		fallback     family // of requests without api-version
		do           handler
	}{
		{post, "code/execute", family2408, (*call).executeCode},
		{post, "execute", family2408, (*call).executeCode},
		{post, "python/execute", family2402, (*call).executePython},
		{post, "executions", family2510, (*call).executeResource},
		{get, "executions/{id}", family2510, (*call).getExecution},
		{post, "executions/{id}/cancel", family2510, (*call).cancelExecution},
		{http.MethodDelete, "executions/{id}", family2510, (*call).cancelExecution},

		{post, "upload", family2408, (*call).upload},
		{post, "files/upload", family2402, (*call).upload},
		{post, "files", family2510, (*call).upload},
		{get, "files", family2408, (*call).listFiles},
		{post, "files/{name:(?s:.+)}", family2510, (*call).commitUpload},
		{http.MethodPut, "files/{name:(?s:.+)}", family2510, (*call).putRange},
		{http.MethodDelete, "files/{name:(?s:.+)}", family2408, (*call).deleteFile},
		{get, "files/{name:(?s:.+)}", family2408, (*call).getFile},
		{http.MethodHead, "files/{name:(?s:.+)}", family2408, (*call).getFile},

		{get, "session", family2510, (*call).getSession},
		{http.MethodDelete, "session", family2510, (*call).deleteSession},
		{get, "listSessions", family2510, (*call).listSessions},
		{get, "metadata", family2510, (*call).metadata},
		{post, ".management/stopSession", family2510, (*call).stopSession},
	} {
		r.Handle(prefix+"{pool}/"+o.path, a.handle(o.fallback, o.do)).Methods(o.method)
	}
	r.Handle(prefix+"{pool}/mcp", http.HandlerFunc(a.serveTools)).Methods(post, get, http.MethodDelete)
	r.Handle("/mcp", http.HandlerFunc(a.serveTools)).Methods(post, get, http.MethodDelete)
	r.Handle("/aca/openapi.json", http.HandlerFunc(a.openAPI)).Methods(get, http.MethodHead)
	r.Handle(prefix+"{pool}/openapi.json", http.HandlerFunc(a.openAPI)).Methods(get, http.MethodHead)
	r.Handle("/aca", http.HandlerFunc(a.index)).Methods(get, http.MethodHead)
	r.Handle("/aca/", http.HandlerFunc(a.index)).Methods(get, http.MethodHead)
}

// handle finds the pool and the family of a request.
func (a *API) handle(fallback family, do handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{w: w, r: r, api: a}
		var err error
		if c.pool, err = a.Interpreter.pool(mux.Vars(r)["pool"]); err == nil {
			c.family, err = parseVersion(r.URL.Query().Get("api-version"), fallback)
		}
		if err == nil {
			err = do(c)
		}
		if err != nil {
			WriteError(w, r, err)
		}
	})
}

// WriteError answers with the API's error body, and notes err for the access log.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	kind, code := fault.KindOf(err), codeOfError(err)
	httpx.NoteError(r.Context(), err)
	body := errorAnswer{apiError{code, fault.Message(err)}}
	if id := httpx.RequestID(r.Context()); kind == fault.Internal && id != "" {
		body.Error.Message += " (request " + id + ")"
	}
	h := w.Header()
	h.Set("x-ms-error-code", code)
	if (kind == fault.Busy || kind == fault.TooMany) && h.Get("Retry-After") == "" {
		h.Set("Retry-After", "1")
	}
	_ = httpx.WriteJSON(w, statusOf(kind), body)
}

// statusOf is the HTTP status of a kind.
func statusOf(kind fault.Kind) int {
	switch kind {
	case fault.Gone:
		return http.StatusNotFound // the API has no 410
	case fault.Unstartable:
		return http.StatusServiceUnavailable // and 501 would say that the route is not there
	}
	return httpx.Status(kind)
}

func (c *call) answer(status int, v any) error { return httpx.WriteJSON(c.w, status, v) }

// identifier is the session that the request names, in its query or, where there is none, in its body.
func (c *call) identifier(inBody string) (string, error) {
	text := c.r.URL.Query().Get("identifier")
	if text == "" {
		text = inBody
	}
	return parseIdentifier(text)
}

// session is the session that the request names: made if need be.
func (c *call) session() (*session, error) {
	id, err := c.identifier("")
	if err != nil {
		return nil, err
	}
	return c.pool.session(c.r.Context(), id)
}

// known is the session that the request names, NotFound when there is none.
func (c *call) known() (*session, error) {
	id, err := c.identifier("")
	if err != nil {
		return nil, err
	}
	s, err := c.pool.find(id)
	if err == nil {
		s.use()
	}
	return s, err
}

// rootKey marks requests of the root listener, where a pool has no prefix.
type rootKey struct{}

// AtRoot serves one pool at the root of an address: it puts the pool's prefix before the paths of requests that have
// none, and keeps in mind that links have none either.
func AtRoot(pool string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.WithContext(context.WithValue(r.Context(), rootKey{}, pool))
		if !strings.HasPrefix(r.URL.Path, prefix) {
			u := *r.URL
			u.Path, u.RawPath = prefix+pool+r.URL.Path, ""
			r.URL = &u
		}
		next.ServeHTTP(w, r)
	})
}

// link is the absolute URL of a path in the request's pool, with the request's session and version.
func (c *call) link(path string, query url.Values) string {
	client := httpx.ClientOf(c.r)
	u := url.URL{Scheme: "http", Host: client.Host}
	if client.TLS {
		u.Scheme = "https"
	}
	base := strings.TrimSuffix(c.api.Interpreter.cfg.BaseURL, "/") + prefix + c.pool.Name + "/"
	if pool, ok := c.r.Context().Value(rootKey{}).(string); ok && pool == c.pool.Name {
		base = "/"
	}
	for _, name := range []string{"identifier", "api-version"} {
		if v := c.r.URL.Query().Get(name); v != "" && query.Get(name) == "" {
			query.Set(name, v)
		}
	}
	u.RawQuery = query.Encode()
	u.Path = base + path
	return u.String()
}

// answerer writes the answer to an execution.
type answerer func(c *call, s snapshot) error

func (c *call) executeCode() error { return c.execute(answerProperties) }

func (c *call) executePython() error {
	return c.execute(func(c *call, s snapshot) error {
		p := s.properties()
		return c.answer(http.StatusAccepted, flatAnswer{p, *p})
	})
}

func (c *call) executeResource() error { return c.execute(answerResource) }

func answerProperties(c *call, s snapshot) error {
	return c.answer(http.StatusAccepted, propertiesAnswer{s.properties()})
}

func answerResource(c *call, s snapshot) error {
	status := http.StatusAccepted
	if c.family == family2510 && s.state.ended() {
		status = http.StatusOK
	}
	return c.answer(status, s.resource())
}

// execute runs code: it waits for its end, or answers at once, or streams, as the client wants.
func (c *call) execute(write answerer) error {
	began := time.Now()
	var body executeBody
	if err := httpx.ReadJSON(c.w, c.r, c.api.Interpreter.cfg.MaxBody, &body); err != nil {
		return err
	}
	req, err := requestOf(body, c.pool.PoolConfig)
	if err != nil {
		return err
	}
	key, err := operationID(c.r.Header)
	if err != nil {
		return err
	}
	since, err := c.lastEvent()
	if err != nil {
		return err
	}
	inBody := body.Identifier
	if body.Properties != nil && body.Properties.Identifier != "" {
		inBody = body.Properties.Identifier
	}
	identifier, err := c.identifier(inBody)
	if err != nil {
		return err
	}
	s, err := c.pool.session(c.r.Context(), identifier)
	if err != nil {
		return err
	}
	e, err := s.submit(c.r.Context(), key, req)
	if err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("Operation-Id", e.id)
	h.Set("Operation-Location", c.link("executions/"+e.id, url.Values{"identifier": {identifier}}))
	h.Set("X-Ms-Session-Guid", s.id)
	if c.wantsEvents() {
		return c.stream(e, since)
	}
	if !req.Async {
		if err := c.await(s, e); err != nil {
			return err
		}
	}
	snap, err := e.snapshot(c.r.Context())
	if err != nil {
		return err
	}
	if o := snap.outcome; o != nil {
		h.Set("X-Ms-Container-Execution-Duration", strconv.FormatInt(o.Duration.Milliseconds(), 10))
		h.Set("X-Ms-Execution-Request-Time", strconv.FormatFloat(o.Duration.Seconds()*1000, 'f', 6, 64))
	} else {
		h.Set("X-Ms-Container-Execution-Duration", "0")
		h.Set("X-Ms-Execution-Request-Time", "0.000000")
	}
	h.Set("X-Ms-Overall-Execution-Time", time.Since(began).String())
	return write(c, snap)
}

// await waits for the end of an execution. A client that goes leaves the code running, unless it has said otherwise.
func (c *call) await(s *session, e *execution) error {
	err := e.wait(c.r.Context())
	if err != nil && strings.EqualFold(c.r.Header.Get("X-Cancel-On-Disconnect"), "true") {
		s.cancel(e)
	}
	return err
}

func (c *call) wantsEvents() bool {
	return strings.Contains(strings.ToLower(c.r.Header.Get("Accept")), "text/event-stream")
}

// stream sends an execution as events. What goes wrong on the way is for the log: the answer has begun.
func (c *call) stream(e *execution, since *kernel.Position) error {
	if err := e.stream(c.r.Context(), c.w, since); err != nil {
		httpx.NoteError(c.r.Context(), err)
	}
	return nil
}

// lastEvent is the place up to which the client has read a stream.
func (c *call) lastEvent() (*kernel.Position, error) {
	text := c.r.Header.Get("Last-Event-ID")
	if text == "" {
		return nil, nil
	}
	p, err := kernel.ParsePosition(text)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "header Last-Event-ID should be the id of an event, not %.60q", text)
	}
	return &p, nil
}

// maxOperationID bounds what a client may choose as the id of an execution.
const maxOperationID = 128

// operationID is the id that a client has chosen for its execution, "" for none: operation-id, or Idempotency-Key,
// which may be any text (draft-ietf-httpapi-idempotency-key-header).
func operationID(h http.Header) (string, error) {
	if id := h.Get("Operation-Id"); id != "" {
		if len(id) > maxOperationID || strings.ContainsFunc(id, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.:~", r)
		}) {
			return "", fault.New(fault.Invalid, "header operation-id should be 1 to %d letters, digits and - _ . : ~", maxOperationID)
		}
		if id == "." || id == ".." {
			return "", fault.New(fault.Invalid, "header operation-id cannot be %q", id)
		}
		return id, nil
	}
	key := h.Get("Idempotency-Key")
	switch {
	case key == "":
		return "", nil
	case len(key) > maxOperationID*2:
		return "", fault.New(fault.Invalid, "header Idempotency-Key has %d bytes, at most %d are taken", len(key), maxOperationID*2)
	}
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte(key)).String(), nil
}

func (c *call) execution() (*session, *execution, error) {
	s, err := c.known()
	if err != nil {
		return nil, nil, err
	}
	e, err := s.execution(mux.Vars(c.r)["id"])
	return s, e, err
}

func (c *call) getExecution() error {
	_, e, err := c.execution()
	if err != nil {
		return err
	}
	since, err := c.lastEvent()
	if err != nil {
		return err
	}
	if c.wantsEvents() {
		return c.stream(e, since)
	}
	snap, err := e.snapshot(c.r.Context())
	if err != nil {
		return err
	}
	c.w.Header().Set("Operation-Id", e.id)
	return c.answer(http.StatusOK, snap.resource())
}

// cancelWait is how long cancelExecution waits for the code to stop.
const cancelWait = 2 * time.Second

func (c *call) cancelExecution() error {
	s, e, err := c.execution()
	if err != nil {
		return err
	}
	if !s.cancel(e) {
		ctx, cancel := context.WithTimeout(c.r.Context(), cancelWait)
		defer cancel()
		_ = e.wait(ctx) // what is not over by then answers Running
	}
	snap, err := e.snapshot(c.r.Context())
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, snap.resource())
}
