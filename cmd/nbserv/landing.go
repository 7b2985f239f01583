package main

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
	"strconv"

	"github.com/nbserv/nbserv/internal/auth"
	"github.com/nbserv/nbserv/internal/fault"
)

//go:embed landing.html
var landingHTML string

var landing = template.Must(template.New("landing").Parse(landingHTML))

// getLanding shows a person what runs here.
func (s *server) getLanding(w http.ResponseWriter, r *http.Request) error {
	auth.XSRFToken(w, r) // the page's own scripts, and those of pages beside it, find it as a cookie
	kernels, connections, _ := s.work()
	var b bytes.Buffer
	err := landing.Execute(&b, struct {
		Base, Started        string
		Kernels, Connections int
	}{s.cfg.BaseURL, s.started.Format("2006-01-02 15:04:05 MST"), kernels, connections})
	if err != nil {
		return fault.Wrap(fault.Internal, err, "render the landing page")
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	_, _ = w.Write(b.Bytes())
	return nil
}
