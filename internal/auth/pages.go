package auth

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"strconv"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

//go:embed pages/*.html
var pageFiles embed.FS

var pages = template.Must(template.ParseFS(pageFiles, "pages/*.html"))

// page is what the templates show.
type page struct {
	Title, Base, Message string
	HasLogin             bool

	// login.html
	Next, XSRF, Secret  string
	HasToken, CanChange bool

	// error.html
	Status    int
	RequestID string
}

// pageCSP lets our pages load nothing, but for their own icon and inline style, and send forms nowhere else.
const pageCSP = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; form-action 'self'; base-uri 'none'"

// show writes a page. What is on it is about one moment and one person: nobody may keep it.
func (a *Auth) show(w http.ResponseWriter, status int, name string, p page) error {
	p.Base = a.cfg.BaseURL
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, p); err != nil {
		return fault.Wrap(fault.Internal, err, "show %s", name)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	h.Set("Cache-Control", "no-store")
	httpx.AddCSP(w, pageCSP)
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // a client that has gone is the access log's business
	return nil
}

// showLogin writes the login form.
func (a *Auth) showLogin(w http.ResponseWriter, r *http.Request, status int, next, message string) error {
	c := a.creds.Load()
	p := page{Title: "Log in", Message: message, Next: next, XSRF: XSRFToken(w, r), HasToken: c.hasToken, CanChange: a.cfg.AllowPasswordChange}
	switch {
	case c.hasToken && c.verify != nil:
		p.Secret = "Password or token"
	case c.hasToken:
		p.Secret = "Token"
	default:
		p.Secret = "Password"
	}
	return a.show(w, status, "login.html", p)
}

// WriteError writes err the way of the path's dialect; elsewhere as a page to a person's browser, and as Jupyter's JSON
// to everybody else.
func (a *Auth) WriteError(w http.ResponseWriter, r *http.Request, err error) {
	if d := a.dialectOf(r.URL.Path); d != nil {
		d.WriteError(w, r, err)
		return
	}
	k := fault.KindOf(err)
	if !isPage(r) || k == fault.Internal {
		httpx.WriteError(w, r, err) // it knows how to log a defect
		return
	}
	httpx.NoteError(r.Context(), err)
	status := httpx.Status(k)
	p := page{Title: http.StatusText(status), Message: fault.Message(err), Status: status,
		HasLogin: a.Enabled() && k == fault.Forbidden, RequestID: httpx.RequestID(r.Context())}
	if err := a.show(w, status, "error.html", p); err != nil {
		httpx.WriteError(w, r, err)
	}
}
