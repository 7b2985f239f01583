package auth

import (
	"embed"
	"net/http"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
	"github.com/nbserv/nbserv/internal/page"
)

//go:embed pages/*.html
var pageFiles embed.FS

var pages = page.Parse(pageFiles, "pages/*.html")

// loginPage is what the templates show.
type loginPage struct {
	page.Frame
	Message  string
	HasLogin bool

	// login.html
	Next, XSRF, Secret  string
	HasToken, CanChange bool

	// error.html
	Status    int
	RequestID string
}

func (a *Auth) show(w http.ResponseWriter, status int, name string, p loginPage) error {
	p.Base = a.cfg.BaseURL
	return page.Write(w, status, pages, name, p)
}

// showLogin writes the login form.
func (a *Auth) showLogin(w http.ResponseWriter, r *http.Request, status int, next, message string) error {
	c := a.creds.Load()
	p := loginPage{Frame: page.Frame{Title: "Log in"}, Message: message, Next: next, XSRF: XSRFToken(w, r), HasToken: c.hasToken, CanChange: a.cfg.AllowPasswordChange}
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
	p := loginPage{Frame: page.Frame{Title: http.StatusText(status)}, Message: fault.Message(err), Status: status,
		HasLogin: a.Enabled() && k == fault.Forbidden, RequestID: httpx.RequestID(r.Context())}
	if err := a.show(w, status, "error.html", p); err != nil {
		httpx.WriteError(w, r, err)
	}
}
