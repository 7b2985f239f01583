package kernel

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the kernels' numbers for Prometheus. Labels come from fixed sets.
type metrics struct {
	in, out, dropped           [numChannels]prometheus.Counter
	started, culled, restarts  prometheus.Counter
	adopted                    prometheus.Counter
	deaths, restartsAfterDeath prometheus.Counter
	beatsMissing               prometheus.Counter
	ended                      map[cause]prometheus.Counter // immutable
}

func newMetrics(reg prometheus.Registerer, m *Manager) *metrics {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		reg.MustRegister(c)
		return c
	}
	perChannel := func(name, help string) (list [numChannels]prometheus.Counter) {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"channel"})
		reg.MustRegister(v)
		for ch := range numChannels {
			list[ch] = v.WithLabelValues(ch.String())
		}
		return list
	}
	reg.MustRegister(prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: "nbserv_kernels_running_count", Help: "Kernels that exist, dead ones included."},
		func() float64 {
			m.mu.Lock()
			defer m.mu.Unlock()
			return float64(len(m.kernels))
		}))
	reg.MustRegister(prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: "nbserv_kernels_memory_bytes", Help: "Memory that all kernels use together, their children included where they have cgroups."},
		func() float64 { return float64(m.totalUsage().MemoryBytes) }))
	reg.MustRegister(prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: "nbserv_kernels_processes_count", Help: "Processes and threads of all kernels that have cgroups."},
		func() float64 { return float64(m.totalUsage().Processes) }))
	reg.MustRegister(prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: "nbserv_journals_kept_bytes", Help: "Message bytes that all journals hold in memory."},
		func() float64 {
			total := int64(0)
			for _, k := range m.all() {
				total += k.journal.Bytes()
			}
			return float64(total)
		}))
	reg.MustRegister(prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: "nbserv_journals_disk_bytes", Help: "Bytes that all journals hold on disk."},
		func() float64 { return float64(m.budget.Bytes()) }))
	for _, c := range []struct {
		name, help string
		value      *atomic.Int64
	}{
		{"nbserv_journal_messages_dropped_total", "Messages that were not written to a journal: the disk was full or too slow.", &m.budget.count.gaveUp},
		{"nbserv_journal_damages_total", "Places in journals' files that could not be read.", &m.budget.count.damaged},
		{"nbserv_journal_write_errors_total", "Writes of journals that failed, and were tried again.", &m.budget.count.failed},
	} {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: c.name, Help: c.help},
			func() float64 { return float64(c.value.Load()) }))
	}
	byCause := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "nbserv_kernel_processes_ended_total",
		Help: "Kernels' processes that ended, by what ended them."}, []string{"cause"})
	reg.MustRegister(byCause)
	ended := make(map[cause]prometheus.Counter)
	for _, c := range causes {
		ended[c] = byCause.WithLabelValues(string(c))
	}
	return &metrics{
		ended:              ended,
		in:                 perChannel("nbserv_kernel_messages_received_total", "Messages received from kernels."),
		out:                perChannel("nbserv_kernel_messages_sent_total", "Messages queued for kernels."),
		dropped:            perChannel("nbserv_kernel_messages_rejected_total", "Messages from kernels that were malformed, wrongly signed or replayed."),
		started:            counter("nbserv_kernels_started_total", "Kernels started on request."),
		adopted:            counter("nbserv_kernels_adopted_total", "Kernels taken over from an earlier server."),
		culled:             counter("nbserv_kernels_culled_total", "Idle kernels shut down."),
		restarts:           counter("nbserv_kernels_restarted_total", "Kernels restarted on request."),
		deaths:             counter("nbserv_kernels_died_total", "Kernels that ended unasked and stayed dead."),
		restartsAfterDeath: counter("nbserv_kernels_autorestarted_total", "Kernels started again after a death."),
		beatsMissing:       counter("nbserv_kernel_heartbeats_missing_total", "Times that a kernel's heartbeat went missing."),
	}
}

func (m *metrics) received(msg *Message) { m.in[msg.Channel].Inc() }
func (m *metrics) sent(msg *Message)     { m.out[msg.Channel].Inc() }
func (m *metrics) rejected(ch Channel)   { m.dropped[ch].Inc() }
func (m *metrics) missedBeat()           { m.beatsMissing.Inc() }
func (m *metrics) restarted()            { m.restarts.Inc() }
func (m *metrics) processEnded(by cause) { m.ended[by].Inc() }

// died counts a death, after which the kernel is started again or not.
func (m *metrics) died(again bool) {
	if again {
		m.restartsAfterDeath.Inc()
		return
	}
	m.deaths.Inc()
}
