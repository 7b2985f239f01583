package sessions

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/gorilla/mux"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

// maxBody bounds the bodies of this API, in bytes: three texts of maxText, each byte escaped.
const maxBody = 128 << 10

// API is /api/sessions as Jupyter has it.
type API struct {
	Sessions *Manager
	BaseURL  string // percent-encoded, with a slash at both ends

	last atomic.Pointer[listing]
}

// listing is an answer to a list: most of the time nothing has changed since the last one.
type listing struct {
	sessions []Session
	body     []byte
}

// Register adds the routes to r, whose paths are relative to the base URL.
func (a *API) Register(r *mux.Router) {
	r.Handle("/api/sessions", httpx.Handler(a.list)).Methods(http.MethodGet)
	r.Handle("/api/sessions", httpx.Handler(a.create)).Methods(http.MethodPost)
	r.Handle("/api/sessions/{id}", httpx.Handler(a.get)).Methods(http.MethodGet)
	r.Handle("/api/sessions/{id}", httpx.Handler(a.update)).Methods(http.MethodPatch)
	r.Handle("/api/sessions/{id}", httpx.Handler(a.delete)).Methods(http.MethodDelete)
}

func (a *API) list(w http.ResponseWriter, r *http.Request) error {
	all := a.Sessions.List(r.Context())
	l := a.last.Load()
	if l == nil || !slices.Equal(l.sessions, all) {
		l = &listing{sessions: all, body: appendList(nil, all)}
		a.last.Store(l)
	}
	write(w, http.StatusOK, l.body)
	return nil
}

func appendList(b []byte, all []Session) []byte {
	b = append(b, '[')
	for i, s := range all {
		if i > 0 {
			b = append(b, ',')
		}
		b = s.AppendModel(b)
	}
	return append(b, ']')
}

func (a *API) create(w http.ResponseWriter, r *http.Request) error {
	var body model
	if err := body.read(w, r); err != nil {
		return err
	}
	s, err := a.Sessions.Create(r.Context(), body.create())
	if fault.KindOf(err) == fault.Unstartable {
		return unstartable(w, r, body.Kernel.Name, err)
	}
	if err != nil {
		return err
	}
	w.Header().Set("Location", a.BaseURL+"api/sessions/"+url.PathEscape(s.ID))
	write(w, http.StatusCreated, s.AppendModel(nil))
	return nil
}

func (a *API) get(w http.ResponseWriter, r *http.Request) error {
	s, err := a.Sessions.Get(r.Context(), mux.Vars(r)["id"])
	if err != nil {
		return err
	}
	write(w, http.StatusOK, s.AppendModel(nil))
	return nil
}

func (a *API) update(w http.ResponseWriter, r *http.Request) error {
	var body model
	if err := body.read(w, r); err != nil {
		return err
	}
	s, err := a.Sessions.Update(r.Context(), mux.Vars(r)["id"], body.patch())
	if fault.KindOf(err) == fault.Unstartable {
		return unstartable(w, r, body.Kernel.Name, err)
	}
	if err != nil {
		return err
	}
	write(w, http.StatusOK, s.AppendModel(nil))
	return nil
}

func (a *API) delete(w http.ResponseWriter, r *http.Request) error {
	if err := a.Sessions.Delete(r.Context(), mux.Vars(r)["id"]); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// unstartable answers that a kernel does not start in the words Jupyter's clients look for.
func unstartable(w http.ResponseWriter, r *http.Request, name string, err error) error {
	if name == "" {
		name = "default"
	}
	httpx.NoteError(r.Context(), err)
	return httpx.WriteJSON(w, httpx.Status(fault.Unstartable), struct {
		Message      string `json:"message"`
		ShortMessage string `json:"short_message"`
	}{fault.Message(err), "Error starting kernel " + name})
}

// model is the body of a request: Jupyter's session model, of which all but a few fields are ignored.
type model struct {
	Path   *string `json:"path"`
	Name   *string `json:"name"`
	Type   *string `json:"type"`
	Kernel struct {
		ID   string `json:"id"` // generated clients send "" for none
		Name string `json:"name"`
	} `json:"kernel"`
	Notebook *struct { // deprecated
		Path *string `json:"path"`
		Name *string `json:"name"`
	} `json:"notebook"`
}

// read decodes a request's body, which must be there and be one JSON object.
func (m *model) read(w http.ResponseWriter, r *http.Request) error {
	body, err := httpx.ReadBody(w, r, maxBody)
	if err != nil {
		return err
	}
	var given *model
	if len(body) > 0 {
		if err := httpx.DecodeJSON(body, &given); err != nil {
			return err
		}
	}
	if given == nil {
		return fault.New(fault.Invalid, "No JSON data provided")
	}
	*m = *given
	m.modernise()
	return nil
}

// modernise fills in from the deprecated "notebook" what the body does not say in today's words.
func (m *model) modernise() {
	if m.Notebook == nil {
		return
	}
	if m.Path == nil {
		m.Path = m.Notebook.Path
	}
	if m.Name == nil {
		m.Name = m.Notebook.Name
	}
}

func (m *model) create() CreateRequest {
	r := CreateRequest{
		Path: value(m.Path), Name: value(m.Name), Type: value(m.Type),
		KernelID: m.Kernel.ID, KernelName: m.Kernel.Name,
	}
	if r.Type == "" && m.Notebook != nil {
		r.Type = typeNotebook
	}
	return r
}

func (m *model) patch() Patch {
	p := Patch{Path: m.Path, Name: m.Name, Type: m.Type, KernelID: m.Kernel.ID, KernelName: m.Kernel.Name}
	if p.Type == nil && m.Notebook != nil && m.Notebook.Path != nil {
		notebook := typeNotebook
		p.Type = &notebook
	}
	return p
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func write(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has gone is the access log's business
}
