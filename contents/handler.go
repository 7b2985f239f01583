package contents

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

// Store is what the API needs of a place that keeps files. *Dir is one.
type Store interface {
	Get(context.Context, Path, GetOptions) (*Model, error)
	Save(context.Context, Path, *Incoming) (m *Model, created bool, err error)
	CreateUntitled(ctx context.Context, folder Path, t Type, ext string) (*Model, error)
	Copy(ctx context.Context, from, to Path) (*Model, error)
	Rename(ctx context.Context, from, to Path) (*Model, error)
	Delete(context.Context, Path) error
	Open(context.Context, Path) (*os.File, error)
	Trust(context.Context, Path) error
}

// Checkpoints keeps copies of files to go back to.
type Checkpoints interface {
	List(context.Context, Path) ([]Checkpoint, error)
	Create(context.Context, Path) (Checkpoint, error)
	Restore(ctx context.Context, p Path, id string) error
	Delete(ctx context.Context, p Path, id string) error
}

// API serves a Store over HTTP. Safe for concurrent use.
type API struct {
	// immutable
	store       Store
	checkpoints Checkpoints
	staging     *Staging
	base        string
	maxBody     int64
}

// NewAPI serves store, checkpoints and the uploads in staging, with the limits and the base URL of cfg.
func NewAPI(store Store, checkpoints Checkpoints, staging *Staging, cfg Config) *API {
	return &API{store: store, checkpoints: checkpoints, staging: staging, base: cfg.BaseURL, maxBody: cfg.MaxBody}
}

// Register adds the routes, relative to the base URL, which r has taken off. r matches decoded paths and does
// not clean them.
func (a *API) Register(r *mux.Router) {
	handle := func(path, method string, h httpx.Handler) { r.Handle(path, h).Methods(method) }
	const one, list = `/api/contents/{path:(?s:.+)}/checkpoints/{id:[\w-]+}`, `/api/contents/{path:(?s:.+)}/checkpoints`
	handle(one, http.MethodPost, a.restoreCheckpoint)
	handle(one, http.MethodDelete, a.deleteCheckpoint)
	handle(list, http.MethodGet, a.listCheckpoints)
	handle(list, http.MethodPost, a.createCheckpoint)
	handle(`/api/contents/{path:(?s:.+)}/trust`, http.MethodPost, a.trust)
	a.registerUploads(r)
	for _, path := range []string{"/api/contents", `/api/contents/{path:(?s:.*)}`} {
		handle(path, http.MethodGet, a.get)
		handle(path, http.MethodPost, a.create)
		handle(path, http.MethodPut, a.save)
		handle(path, http.MethodPatch, a.rename)
		handle(path, http.MethodDelete, a.delete)
	}
	r.Handle(`/files/{path:(?s:.*)}`, httpx.Handler(a.file)).Methods(http.MethodGet, http.MethodHead)
	handle(`/view/{path:(?s:.*)}`, http.MethodGet, a.view)
}

// pathOf is the request's path, checked.
func pathOf(r *http.Request) (Path, error) { return ParsePath(mux.Vars(r)["path"]) }

func (a *API) get(w http.ResponseWriter, r *http.Request) error {
	p, err := pathOf(r)
	if err != nil {
		return err
	}
	o, err := getOptions(r)
	if err != nil {
		return err
	}
	m, err := a.store.Get(r.Context(), p, o)
	if err != nil {
		return err
	}
	defer m.Close()
	setModified(w, m)
	if m.Type != TypeDirectory {
		w.Header().Set("ETag", m.ETag)
		if matches(r.Header.Get("If-None-Match"), m.ETag) {
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	return sendModel(w, r, http.StatusOK, m)
}

func getOptions(r *http.Request) (o GetOptions, err error) {
	q := r.URL.Query()
	o.Type = knownType(Type(q.Get("type")))
	switch f := Format(q.Get("format")); f {
	case "", FormatText, FormatBase64:
		o.Format = f
	default:
		return o, fault.New(fault.Invalid, `query "format" should be "text" or "base64", not %q`, f)
	}
	if o.Content, err = flag(q.Get("content"), "content", true); err != nil {
		return o, err
	}
	o.Hash, err = flag(q.Get("hash"), "hash", false)
	return o, err
}

func flag(s, name string, standard bool) (bool, error) {
	switch s {
	case "":
		return standard, nil
	case "0", "1":
		return s == "1", nil
	}
	return false, fault.New(fault.Invalid, `query %q should be "0" or "1", not %q`, name, s)
}

// maxCreateBytes bounds the bodies of POST and PATCH, which carry no content.
const maxCreateBytes = 1 << 20

func (a *API) create(w http.ResponseWriter, r *http.Request) error {
	p, err := pathOf(r)
	if err != nil {
		return err
	}
	var body struct {
		Type     string `json:"type"`
		Ext      string `json:"ext"`
		CopyFrom string `json:"copy_from"`
	}
	if err := httpx.ReadJSON(w, r, maxCreateBytes, &body); err != nil {
		return err
	}
	m, err := a.store.Get(r.Context(), p, GetOptions{})
	if err == nil && m.Type != TypeDirectory {
		return fault.New(fault.Invalid, "cannot POST to files, use PUT instead")
	}
	if body.CopyFrom != "" {
		from, err := ParsePath(body.CopyFrom)
		if err != nil {
			return err
		}
		m, err = a.store.Copy(r.Context(), from, p)
		return a.created(w, r, m, err)
	}
	m, err = a.store.CreateUntitled(r.Context(), p, knownType(Type(body.Type)), body.Ext)
	return a.created(w, r, m, err)
}

func (a *API) created(w http.ResponseWriter, r *http.Request, m *Model, err error) error {
	if err != nil {
		return err
	}
	return a.located(w, r, http.StatusCreated, m)
}

func (a *API) save(w http.ResponseWriter, r *http.Request) error {
	p, err := pathOf(r)
	if err != nil {
		return err
	}
	if r.ContentLength > a.maxBody {
		return fault.New(fault.TooLarge, "the body has %d bytes, at most %d are taken", r.ContentLength, a.maxBody)
	}
	m, created, err := a.store.Save(r.Context(), p, NewIncoming(http.MaxBytesReader(w, r.Body, a.maxBody), a.maxBody))
	if err != nil {
		return err
	}
	if created {
		return a.located(w, r, http.StatusCreated, m)
	}
	return a.located(w, r, http.StatusOK, m)
}

func (a *API) rename(w http.ResponseWriter, r *http.Request) error {
	p, err := pathOf(r)
	if err != nil {
		return err
	}
	var body *struct {
		Path *string `json:"path"`
	}
	if err := httpx.ReadJSON(w, r, maxCreateBytes, &body); err != nil {
		return err
	}
	if body == nil {
		return fault.New(fault.Invalid, "the JSON body is missing")
	}
	to := p
	if body.Path != nil {
		if to, err = ParsePath(*body.Path); err != nil {
			return err
		}
	}
	m, err := a.store.Rename(r.Context(), p, to)
	if err != nil {
		return err
	}
	return a.located(w, r, http.StatusOK, m)
}

func (a *API) delete(w http.ResponseWriter, r *http.Request) error {
	p, err := pathOf(r)
	if err != nil {
		return err
	}
	if err := a.store.Delete(r.Context(), p); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// located sends a model with the place where it is found.
func (a *API) located(w http.ResponseWriter, r *http.Request, status int, m *Model) error {
	defer m.Close()
	w.Header().Set("Location", a.base+"api/contents/"+escapePath(m.Path))
	setModified(w, m)
	return sendModel(w, r, status, m)
}

func setModified(w http.ResponseWriter, m *Model) {
	w.Header().Set("Last-Modified", m.LastModified.UTC().Format(http.TimeFormat))
}

// wholeBytes is up to where an answer is collected, to give it a length and an ETag; larger ones are streamed.
const wholeBytes = 1 << 20

// sendModel streams m. An error after the first bytes breaks the connection: the client must not take half
// an answer for a whole one.
func sendModel(w http.ResponseWriter, r *http.Request, status int, m *Model) error {
	s := &sender{w: w, status: status}
	if err := m.WriteJSON(s); err != nil {
		if !s.started {
			return err
		}
		httpx.NoteError(r.Context(), err)
		panic(http.ErrAbortHandler)
	}
	s.finish(r)
	return nil
}

// sender holds an answer back until it is complete or too large to hold.
type sender struct {
	w       http.ResponseWriter
	status  int
	held    []byte
	started bool
}

func (s *sender) Write(p []byte) (int, error) {
	if !s.started && len(s.held)+len(p) <= wholeBytes {
		s.held = append(s.held, p...)
		return len(p), nil
	}
	if !s.started {
		s.start()
		if _, err := s.w.Write(s.held); err != nil {
			return 0, err
		}
		s.held = nil
	}
	return s.w.Write(p)
}

func (s *sender) start() {
	s.started = true
	s.w.Header().Set("Content-Type", "application/json")
	s.w.WriteHeader(s.status)
}

func (s *sender) finish(r *http.Request) {
	if s.started {
		return
	}
	h := s.w.Header()
	if r.Method == http.MethodGet && h.Get("ETag") == "" {
		sum := sha1.Sum(s.held) // a name for these bytes, not a protection of them
		h.Set("ETag", `"`+base64.RawURLEncoding.EncodeToString(sum[:])+`"`)
		if matches(r.Header.Get("If-None-Match"), h.Get("ETag")) {
			s.w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(s.held)))
	s.start()
	_, _ = s.w.Write(s.held) // a client that has gone is the access log's business
}

// matches compares If-None-Match weakly, as RFC 9110 asks.
func matches(header, etag string) bool {
	for one := range strings.SplitSeq(header, ",") {
		one = strings.TrimPrefix(strings.TrimSpace(one), "W/")
		if one == etag || one == "*" {
			return true
		}
	}
	return false
}

// checkpointModel is a checkpoint as clients see it.
type checkpointModel struct {
	ID           string    `json:"id"`
	LastModified timestamp `json:"last_modified"`
}

type timestamp time.Time

func (t timestamp) MarshalJSON() ([]byte, error) { return appendTime(nil, time.Time(t)), nil }

func (a *API) listCheckpoints(w http.ResponseWriter, r *http.Request) error {
	p, err := pathOf(r)
	if err != nil {
		return err
	}
	all, err := a.checkpoints.List(r.Context(), p)
	if err != nil {
		return err
	}
	models := make([]checkpointModel, len(all))
	for i, c := range all {
		models[i] = checkpointModel{c.ID, timestamp(c.LastModified)}
	}
	return httpx.WriteJSON(w, http.StatusOK, models)
}

func (a *API) createCheckpoint(w http.ResponseWriter, r *http.Request) error {
	p, err := pathOf(r)
	if err != nil {
		return err
	}
	c, err := a.checkpoints.Create(r.Context(), p)
	if err != nil {
		return err
	}
	w.Header().Set("Location", a.base+"api/contents/"+escapePath(p.rel)+"/checkpoints/"+escapePath(c.ID))
	return httpx.WriteJSON(w, http.StatusCreated, checkpointModel{c.ID, timestamp(c.LastModified)})
}

func (a *API) restoreCheckpoint(w http.ResponseWriter, r *http.Request) error {
	return a.onCheckpoint(w, r, a.checkpoints.Restore)
}

func (a *API) deleteCheckpoint(w http.ResponseWriter, r *http.Request) error {
	return a.onCheckpoint(w, r, a.checkpoints.Delete)
}

func (a *API) onCheckpoint(w http.ResponseWriter, r *http.Request, do func(context.Context, Path, string) error) error {
	p, err := pathOf(r)
	if err != nil {
		return err
	}
	if err := do(r.Context(), p, mux.Vars(r)["id"]); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
