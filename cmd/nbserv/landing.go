package main

import (
	"embed"
	"net/http"

	"github.com/nbserv/nbserv/internal/auth"
	"github.com/nbserv/nbserv/internal/page"
)

//go:embed landing.html
var landingFiles embed.FS

var landing = page.Parse(landingFiles, "landing.html")

// getLanding shows a person what runs here.
func (s *server) getLanding(w http.ResponseWriter, r *http.Request) error {
	auth.XSRFToken(w, r) // the page's own scripts, and those of pages beside it, find it as a cookie
	kernels, connections, _ := s.work()
	return page.Write(w, http.StatusOK, landing, "landing.html", struct {
		page.Frame
		Started              string
		Kernels, Connections int
		HasLab               bool
	}{page.Frame{Title: "nbserv", Base: s.cfg.BaseURL, Wide: true}, s.started.Format("2006-01-02 15:04:05 MST"), kernels, connections, s.lab.Installed()})
}
