package ws

import "github.com/prometheus/client_golang/prometheus"

// refusal names why a frame or a request was refused or dropped: a fixed set of metric labels.
type refusal string

const (
	refusedNoUpgrade      refusal = "no_upgrade"      // the request asked for no WebSocket
	refusedProtocol       refusal = "protocol"        // a frame against RFC 6455
	refusedMalformed      refusal = "malformed"       // offsets or JSON that make no message
	refusedTooLarge       refusal = "too_large"       // over MaxMessageBytes
	refusedKind           refusal = "frame_kind"      // a text frame where the protocol has binary ones only
	refusedUnknownChannel refusal = "unknown_channel" // dropped, the connection stays
	refusedForged         refusal = "forged_iopub"    // dropped, the connection stays
	refusedNotAllowed     refusal = "not_allowed"     // the kernel takes no such message; dropped
	refusedBusy           refusal = "busy"            // the kernel's queue is full
)

// refusals lists the label values, so that each series exists from the start.
var refusals = []refusal{
	refusedNoUpgrade, refusedProtocol, refusedMalformed, refusedTooLarge, refusedKind, refusedUnknownChannel,
	refusedForged, refusedNotAllowed, refusedBusy,
}

// metrics are the counters of one Server.
type metrics struct {
	connections                             prometheus.Gauge
	messagesIn, messagesOut                 prometheus.Counter
	bytesIn, bytesOut                       prometheus.Counter
	gaps, takenOver, stalled, silent, wrote prometheus.Counter
	refused                                 map[refusal]prometheus.Counter
}

// newMetrics makes the metrics and registers them; a nil reg leaves them unregistered.
func newMetrics(reg prometheus.Registerer) *metrics {
	messages := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "nbserv_websocket_messages_total", Help: "Jupyter messages relayed over WebSockets.",
	}, []string{"direction"})
	size := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "nbserv_websocket_bytes_total", Help: "Payload bytes of WebSocket messages.",
	}, []string{"direction"})
	cut := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "nbserv_websocket_cut_total", Help: "WebSockets that the server ended, by reason.",
	}, []string{"reason"})
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "nbserv_websocket_refused_total", Help: "Requests and frames that were refused or dropped, by reason.",
	}, []string{"reason"})
	m := &metrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "nbserv_websocket_connections", Help: "Open kernel WebSockets.",
		}),
		gaps: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "nbserv_websocket_gaps_total", Help: "Gap notices sent to clients that fell behind.",
		}),
		wrote: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "nbserv_websocket_writes_total", Help: "Writes that carried messages; a burst shares one.",
		}),
		messagesIn:  messages.WithLabelValues("in"),
		messagesOut: messages.WithLabelValues("out"),
		bytesIn:     size.WithLabelValues("in"),
		bytesOut:    size.WithLabelValues("out"),
		takenOver:   cut.WithLabelValues("taken_over"),
		stalled:     cut.WithLabelValues("takes_no_bytes"),
		silent:      cut.WithLabelValues("no_pong"),
		refused:     make(map[refusal]prometheus.Counter, len(refusals)),
	}
	for _, r := range refusals {
		m.refused[r] = refused.WithLabelValues(string(r))
	}
	if reg != nil {
		reg.MustRegister(messages, size, cut, refused, m.connections, m.gaps, m.wrote)
	}
	return m
}
