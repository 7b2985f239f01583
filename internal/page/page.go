// Package page is the frame that the server's own pages share: their style, in light and dark, their icon, and a
// security policy under which they load nothing else.
package page

import (
	"bytes"
	_ "embed"
	"html/template"
	"io/fs"
	"net/http"
	"strconv"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

//go:embed layout.html
var layout string

// Frame is what the frame shows; a page's own data embeds it.
type Frame struct {
	Title string
	Base  string // the base URL
	Wide  bool   // for pages that say more than a form does
}

// policy lets our pages load nothing, but for their own icon and inline style, and send forms nowhere else.
const policy = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; form-action 'self'; base-uri 'none'"

// Parse reads page templates; each begins with {{template "top" .}} and ends with {{template "bottom" .}}. It panics on
// templates that are wrong, which are part of the program.
func Parse(files fs.FS, patterns ...string) *template.Template {
	return template.Must(template.Must(template.New("layout").Parse(layout)).ParseFS(files, patterns...))
}

// Write writes a page. What is on it is about one moment and one person: nobody may keep it.
func Write(w http.ResponseWriter, status int, pages *template.Template, name string, data any) error {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, data); err != nil {
		return fault.Wrap(fault.Internal, err, "show %s", name)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	h.Set("Cache-Control", "no-store")
	httpx.AddCSP(w, policy)
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // a client that has gone is the access log's business
	return nil
}
