package main

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"

	"github.com/nbserv/nbserv/internal/clock"
	"github.com/nbserv/nbserv/internal/httpx"
)

// apiVersion is the jupyter_server whose REST API this server speaks; clients that look compare it with theirs.
const apiVersion = "2.21.1"

// timeFormat is how Jupyter writes times: UTC, microseconds, a Z.
const timeFormat = "2006-01-02T15:04:05.000000Z"

// maxReportBytes bounds a browser's report of a violated content security policy.
const maxReportBytes = 16 << 10

func (s *server) getVersion(w http.ResponseWriter, _ *http.Request) error {
	return httpx.WriteJSON(w, http.StatusOK, struct {
		Version string `json:"version"`
	}{apiVersion})
}

func (s *server) getStatus(w http.ResponseWriter, _ *http.Request) error {
	type status struct {
		Connections  int    `json:"connections"`
		Kernels      int    `json:"kernels"`
		LastActivity string `json:"last_activity"`
		Started      string `json:"started"`
	}
	kernels, connections, last := s.work()
	return httpx.WriteJSON(w, http.StatusOK, status{
		Connections:  connections,
		Kernels:      kernels,
		LastActivity: last.UTC().Format(timeFormat),
		Started:      s.started.UTC().Format(timeFormat),
	})
}

// work sums up what the kernels do, and when anybody last did anything.
func (s *server) work() (kernels, connections int, last time.Time) {
	all := s.kernels.List()
	last = s.activity.last(s.started)
	for _, k := range all {
		connections += k.Connections
		if k.LastActivity.After(last) {
			last = k.LastActivity
		}
	}
	return len(all), connections, last
}

// activity is when a client last used the API. Polls of the server's own state do not count, and a client can say
// that a request of its own does not.
type activity struct {
	nanos atomic.Int64 // since the server's start; 0 is never
}

// idleRoutes are asked by those who only look whether the server is used, and those below idlePrefix by pages that
// show what it uses.
var idleRoutes = []string{"/api", "/api/status", "/api/me", "/api/security/csp-report"}

const idlePrefix = "/api/metrics/"

// note is a mux middleware that remembers the time of each request for the API.
func (a *activity) note(started time.Time) mux.MiddlewareFunc {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if httpx.IsAPI(r.URL.Path) && !slices.Contains(idleRoutes, r.URL.Path) && !strings.HasPrefix(r.URL.Path, idlePrefix) &&
				!strings.Contains(r.URL.RawQuery, "no_track_activity") {
				a.nanos.Store(int64(time.Since(started)))
			}
			next.ServeHTTP(w, r)
		})
	}
}

func (a *activity) last(started time.Time) time.Time {
	return clock.AsSet(started.Add(time.Duration(a.nanos.Load())))
}

// cspReport is the part of a violation report that helps an operator. Its addresses are a page's: they are
// logged without their queries, which may hold a token (S6).
type cspReport struct {
	Report struct {
		Directive string `json:"effective-directive"`
		Violated  string `json:"violated-directive"`
		Blocked   string `json:"blocked-uri"`
		Document  string `json:"document-uri"`
	} `json:"csp-report"`
}

// postCSPReport takes a browser's report. https://www.w3.org/TR/CSP2/#violation-reports
func (s *server) postCSPReport(w http.ResponseWriter, r *http.Request) error {
	var rep cspReport
	if err := httpx.ReadJSON(w, r, maxReportBytes, &rep); err != nil {
		return err
	}
	s.log.Warn("content security policy violated", "directive", cmp.Or(rep.Report.Directive, rep.Report.Violated),
		"blocked", withoutQuery(rep.Report.Blocked), "document", withoutQuery(rep.Report.Document),
		"request_id", httpx.RequestID(r.Context()))
	w.WriteHeader(http.StatusOK)
	return nil
}

func withoutQuery(u string) string {
	if i := strings.IndexAny(u, "?#"); i >= 0 {
		u = u[:i]
	}
	return u
}

// postShutdown stops the server as a signal does, after this answer.
func (s *server) postShutdown(w http.ResponseWriter, _ *http.Request) error {
	select {
	case s.stopped <- struct{}{}:
	default: // it is stopping already
	}
	return httpx.WriteJSON(w, http.StatusOK, struct{}{})
}
