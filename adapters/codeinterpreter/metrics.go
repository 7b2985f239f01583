package codeinterpreter

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are a pool's numbers for Prometheus. Labels come from fixed sets: pools are those of the configuration.
type metrics struct {
	ended                map[state]prometheus.Counter // immutable
	fullPool, fullQueues prometheus.Counter
	interrupts           prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, p *pool) (metrics, error) {
	pool := prometheus.Labels{"pool": p.Name}
	var all []prometheus.Collector
	gauge := func(name, help string, value func() int) {
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: pool},
			func() float64 { return float64(value()) }))
	}
	counter := func(name, help string, label, value string) prometheus.Counter {
		o := prometheus.CounterOpts{Name: name, Help: help, ConstLabels: prometheus.Labels{"pool": p.Name}}
		if label != "" {
			o.ConstLabels[label] = value
		}
		c := prometheus.NewCounter(o)
		all = append(all, c)
		return c
	}
	gauge("nbserv_codeinterpreter_sessions_count", "Sessions that exist.", func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.sessions)
	})
	gauge("nbserv_codeinterpreter_ready_count", "Sessions that are started ahead and wait for an identifier.", p.warm.Ready)
	gauge("nbserv_codeinterpreter_queued_count", "Executions that wait for the one before them in their session.", func() int {
		n := 0
		for _, s := range p.list() {
			s.mu.Lock()
			n += len(s.queue)
			s.mu.Unlock()
		}
		return n
	})
	const ended, refused = "nbserv_codeinterpreter_executions_total", "nbserv_codeinterpreter_refused_total"
	const endedHelp, refusedHelp = "Executions that ended.", "Requests that found a limit reached."
	m := metrics{
		ended:      map[state]prometheus.Counter{},
		fullPool:   counter(refused, refusedHelp, "limit", "sessions"),
		fullQueues: counter(refused, refusedHelp, "limit", "queue"),
		interrupts: counter("nbserv_codeinterpreter_interrupts_total", "Executions that were interrupted: they took too long or were cancelled.", "", ""),
	}
	for _, s := range []state{succeeded, failed, canceled} {
		m.ended[s] = counter(ended, endedHelp, "state", string(s))
	}
	for _, c := range all {
		if err := reg.Register(c); err != nil {
			return m, err
		}
	}
	return m, nil
}
