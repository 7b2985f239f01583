package main

import (
	"net/http"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/nbserv/nbserv/internal/httpx"
)

// metrics is the server's own registry. Labels come from fixed sets only: never ids or paths.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec // seconds, by route template, method and class of status
}

// durations are the buckets of request times: from a status to a large upload.
var durations = []float64{.001, .005, .025, .1, .5, 2.5, 10, 60}

func newMetrics(version string) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "nbserv_http_request_duration_seconds", Help: "Time to answer a request, WebSockets excepted.", Buckets: durations,
		}, []string{"route", "method", "class"}),
	}
	m.registry.MustRegister(m.requests, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.gauge("nbserv_build_info", "1, labelled with the version.", prometheus.Labels{"version": version}, func() float64 { return 1 })
	return m
}

// gauge adds a metric that is computed when it is asked for.
func (m *metrics) gauge(name, help string, labels prometheus.Labels, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, value))
}

// classes name the first digit of a status.
var classes = [...]string{"", "1xx", "2xx", "3xx", "4xx", "5xx"}

// observe is a mux middleware that measures requests. It knows routes by their templates, of which there are few.
func (m *metrics) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		next.ServeHTTP(w, r)
		status := httpx.StatusOf(w)
		if status == http.StatusSwitchingProtocols {
			return
		}
		route, err := mux.CurrentRoute(r).GetPathTemplate()
		if err != nil || status/100 >= len(classes) {
			return
		}
		m.requests.WithLabelValues(route, r.Method, classes[status/100]).Observe(time.Since(start).Seconds())
	})
}

// handler serves the metrics, with those of others if there are any.
func (m *metrics) handler(others ...prometheus.Gatherer) http.Handler {
	return promhttp.HandlerFor(append(prometheus.Gatherers{m.registry}, others...), promhttp.HandlerOpts{})
}
