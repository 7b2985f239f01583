package main

import (
	"cmp"
	"net/http"
	"strings"
	"time"

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
	a := s.activity()
	return httpx.WriteJSON(w, http.StatusOK, status{
		Connections:  a.connections,
		Kernels:      a.kernels,
		LastActivity: a.last.UTC().Format(timeFormat),
		Started:      s.started.UTC().Format(timeFormat),
	})
}

// activity sums up the kernels.
type activity struct {
	connections, kernels int
	last                 time.Time
}

func (s *server) activity() activity {
	return activity{last: s.started}
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
