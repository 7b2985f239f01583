package main

import (
	_ "embed"
	"net/http"
	"slices"
	"strings"

	"github.com/gorilla/mux"

	"github.com/nbserv/nbserv/adapters/codeinterpreter"
	"github.com/nbserv/nbserv/adapters/imagestore"
	"github.com/nbserv/nbserv/adapters/rserver"
	"github.com/nbserv/nbserv/contents"
	"github.com/nbserv/nbserv/internal/configsection"
	"github.com/nbserv/nbserv/internal/events"
	"github.com/nbserv/nbserv/internal/fault"
	"github.com/nbserv/nbserv/internal/httpx"
	"github.com/nbserv/nbserv/internal/nbconvert"
	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/sessions"
	"github.com/nbserv/nbserv/sessions/overlay"
)

// spec is this server's own OpenAPI description; a test holds it against the route table.
//
//go:embed openapi.yaml
var spec []byte

// Icons are drawn from the .svg beside them by e2e/browser/favicons.mjs, which says why.
//
//go:embed favicon.ico
var favicon []byte

// busyFavicon is what JupyterLab shows while a kernel is at work.
//
//go:embed favicon-busy.ico
var busyFavicon []byte

// router is the route table: every room registers its own part. Paths have no base URL in front.
func (s *server) router() *mux.Router {
	r := mux.NewRouter().SkipClean(true)
	get := []string{http.MethodGet, http.MethodHead}
	r.Handle("/", httpx.Handler(s.getRoot)).Methods(get...)
	r.Handle("/api", httpx.Handler(s.getVersion)).Methods(get...)
	r.Handle("/api/status", httpx.Handler(s.getStatus)).Methods(get...)
	r.Handle("/api/resolvePath", httpx.Handler(s.getResolvePath)).Methods(http.MethodGet)
	r.Handle("/api/spec.yaml", static("text/x-yaml", spec)).Methods(get...)
	r.Handle("/api/security/csp-report", httpx.Handler(s.postCSPReport)).Methods(http.MethodPost)
	r.Handle("/api/shutdown", httpx.Handler(s.postShutdown)).Methods(http.MethodPost)
	r.Handle("/metrics", s.metrics.handler(s.elsewhere()...)).Methods(get...)
	r.Handle("/healthz", static("text/plain", []byte("ok\n"))).Methods(get...)
	for _, p := range []string{"/favicon.ico", "/static/favicon.ico", `/static/favicons/{name:[\w.-]+}`} {
		r.HandleFunc(p, getFavicon).Methods(get...)
	}
	s.auth.Register(r)
	(&configsection.API{Store: s.config}).Register(r)
	(&kernel.API{Host: s.host, BaseURL: s.cfg.BaseURL, Dir: s.files.KernelDir}).Register(r)
	(&kernel.UsageAPI{Host: s.host, Meter: s.kernels}).Register(r)
	(&sessions.API{Sessions: s.sessions, BaseURL: s.cfg.BaseURL}).Register(r)
	(&kernel.SpecAPI{Specs: s.specs, BaseURL: s.cfg.BaseURL}).Register(r)
	files := toldStore{s.files, s.events}
	contents.NewAPI(files, s.files.Checkpoints(), s.files.Staging(), s.cfg.Contents).Register(r)
	(&nbconvert.API{
		Converter: converter(&s.cfg, s.specs, s.log), Read: readNotebook(files, s.files.KernelDir), BaseURL: s.cfg.BaseURL,
	}).Register(r)
	s.lab.Register(r)
	s.languages.Register(r)
	s.imageStore().Register(r)
	s.rserverAPI().Register(r)
	s.codeInterpreter().Register(r)
	s.sockets.Register(r)
	(&overlay.API{Keeper: s.overlays}).Register(r)
	(&events.API{Bus: s.events, Sockets: s.cfg.textSockets()}).Register(r)
	if s.terms != nil {
		s.terms.Register(r)
	}
	r.Use(s.activity.note(s.started), s.metrics.observe)
	r.NotFoundHandler = http.HandlerFunc(s.notFound)
	r.MethodNotAllowedHandler = s.notAllowed(r)
	return r
}

// handler is everything between a connection and the route table. What is outside the base URL exists for
// nobody, so nobody is asked for credentials there.
func (s *server) handler() http.Handler {
	inside := s.auth.Wrap(s.router())
	return s.chain(underBase(s.cfg.BaseURL, httpx.SecurityHeaders(s.cfg.BaseURL)(inside), http.HandlerFunc(s.outside)))
}

// chain is what every address has around what it serves.
func (s *server) chain(h http.Handler) http.Handler {
	return cutSlow(s.cfg.limits, httpx.Chain(h,
		httpx.AccessLog(httpx.LogConfig{Logger: s.log, TrustedProxies: s.cfg.trusted}),
		httpx.Recover,
	))
}

// static serves a few bytes that never change while this process lives.
func static(contentType string, body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(body) // net/http drops it for HEAD
	})
}

// getFavicon serves the icon under all the names that pages have for it. They ask whenever a kernel begins or ends
// something, so browsers keep it for a day.
func getFavicon(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "public, max-age=86400")
	icon := favicon
	if strings.Contains(mux.Vars(r)["name"], "busy") {
		icon = busyFavicon
	}
	static("image/vnd.microsoft.icon", icon).ServeHTTP(w, r)
}

func (s *server) notFound(w http.ResponseWriter, r *http.Request) {
	if imagestore.Has(r.URL.Path) || rserver.Has(r.URL.Path) || codeinterpreter.Has(r.URL.Path) || !trimSlashes(s.cfg.BaseURL, w, r) {
		s.auth.WriteError(w, r, fault.New(fault.NotFound, "there is nothing at this address"))
	}
}

// outside answers what is not below the base URL.
func (s *server) outside(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		redirect(w, s.cfg.BaseURL, r.URL.RawQuery)
		return
	}
	s.auth.WriteError(w, r, fault.New(fault.NotFound, "there is nothing at this address"))
}

// methods are those that some route takes.
var methods = []string{"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}

// notAllowed answers 405 with the methods that the path does take, as HTTP requires (RFC 9110, 15.5.6).
func (s *server) notAllowed(r *mux.Router) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		allow := slices.DeleteFunc(slices.Clone(methods), func(m string) bool {
			try := new(http.Request)
			*try = *req
			try.Method = m
			var match mux.RouteMatch
			return !r.Match(try, &match) || match.MatchErr != nil
		})
		w.Header().Set("Allow", strings.Join(allow, ", "))
		s.auth.WriteError(w, req, fault.New(fault.NotAllowed, "this address does not take %s", req.Method))
	})
}
