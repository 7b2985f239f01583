package contents

import (
	"html/template"
	"net/http"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
)

// file serves a file's own bytes: whole, in ranges, or only its headers.
func (a *API) file(w http.ResponseWriter, r *http.Request) error {
	p, err := pathOf(r)
	if err != nil {
		return err
	}
	f, err := a.store.Open(r.Context(), p)
	if err != nil {
		return err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fault.OS(err, what(p))
	}
	h := w.Header()
	// Promise S7: what users wrote runs in an origin of its own, and is what its name says.
	h.Set("Content-Security-Policy", "frame-ancestors 'self'; report-uri "+a.base+"api/security/csp-report; sandbox allow-scripts")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Type", servedType(p.Name()))
	h.Set("ETag", etag(&st))
	h.Set("Cache-Control", "no-cache") // ask each time; 304 is cheap
	if strings.HasSuffix(p.rel, ".ipynb") || r.URL.Query().Get("download") != "" {
		h.Set("Content-Disposition", attachment(p.Name()))
	}
	http.ServeContent(w, r, "", timeOf(st.Mtim), f)
	return nil
}

// attachment names a download twice (RFC 6266): in ASCII for old clients, and exactly.
func attachment(name string) string {
	plain := strings.Map(func(c rune) rune {
		if c < 0x20 || c > 0x7e || c == '"' || c == '\\' || c == '%' || c == '/' {
			return '_'
		}
		return c
	}, name)
	return `attachment; filename="` + plain + `"; filename*=utf-8''` + escapeValue(name)
}

// viewPage shows a file in a frame that can run scripts and nothing else.
var viewPage = template.Must(template.New("view").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Name}}</title>
<style>
html, body { height: 100%; margin: 0; overflow: hidden; }
iframe { width: 100%; height: 100%; border: 0; }
</style>
</head>
<body>
<iframe sandbox="allow-scripts" src="{{.Source}}"></iframe>
</body>
</html>
`))

func (a *API) view(w http.ResponseWriter, r *http.Request) error {
	p, err := pathOf(r)
	if err != nil {
		return err
	}
	m, err := a.store.Get(r.Context(), p, GetOptions{})
	if err != nil {
		return err
	}
	if m.Type == TypeDirectory {
		return fault.New(fault.NotFound, "file %q does not exist", p)
	}
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	page := struct {
		Name   string
		Source template.URL
	}{p.Name(), template.URL(a.base + "files/" + escapePath(p.rel))}
	if err := viewPage.Execute(w, page); err != nil {
		httpx.NoteError(r.Context(), err)
	}
	return nil
}
