package receiver

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics is what operators see of a receiver. No label depends on installations, users or payloads, so that the number
// of series is fixed and nothing private shows (I7).
type Metrics struct {
	registry *prometheus.Registry

	accepted, records, receivedBytes, unrequested, unrouted, unusable prometheus.Counter
	refused                                                           *prometheus.CounterVec
	took                                                              *prometheus.HistogramVec

	signals                         *prometheus.CounterVec
	forwarded, quarantined, sealed  prometheus.Counter
	reappended, damaged             prometheus.Counter
	sealTook, signalTook, delay     prometheus.Histogram
	inFlight, waiting, parked, busy prometheus.Gauge
	journalBytes, lag, lagSeconds   prometheus.Gauge
}

// NewMetrics makes the metrics of one process in a registry of their own, with those of the Go runtime.
func NewMetrics() *Metrics {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	f := promauto.With(r)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "tributary_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: "tributary_" + name, Help: help})
	}
	buckets := prometheus.ExponentialBuckets(0.0005, 2, 16) // 0.5 ms to 16 s
	histogram := func(name, help string) prometheus.Histogram {
		return f.NewHistogram(prometheus.HistogramOpts{Name: "tributary_" + name, Help: help, Buckets: buckets})
	}
	return &Metrics{
		registry:      r,
		accepted:      counter("receiver_accepted_requests_total", "Webhook requests answered with success, their records being durable."),
		records:       counter("receiver_records_total", "Records written to the journal."),
		receivedBytes: counter("receiver_bytes_total", "Bytes of the bodies of accepted requests."),
		unrequested:   counter("receiver_unrequested_records_total", "Records of streams that the integration does not ask for."),
		unrouted:      counter("receiver_unrouted_records_total", "Records of accounts that no installation has."),
		unusable:      counter("receiver_unusable_records_total", "Parts of webhooks that can't be understood, put into quarantine."),
		refused: f.NewCounterVec(prometheus.CounterOpts{Name: "tributary_receiver_refused_requests_total",
			Help: "Webhook requests refused, by reason."}, []string{"reason"}),
		took: f.NewHistogramVec(prometheus.HistogramOpts{Name: "tributary_receiver_request_seconds",
			Help: "How long webhook requests took.", Buckets: buckets}, []string{"route"}),

		signals: f.NewCounterVec(prometheus.CounterOpts{Name: "tributary_forwarder_signals_total",
			Help: "Signals to installations, by result: taken, again, ended."}, []string{"result"}),
		forwarded:    counter("forwarder_records_total", "Records handed to workflows."),
		quarantined:  counter("forwarder_quarantined_records_total", "Records of ended installations put into quarantine."),
		sealed:       counter("forwarder_segments_total", "Segments sealed."),
		reappended:   counter("forwarder_reappended_intents_total", "Parked intents moved to the journal's head."),
		damaged:      counter("journal_damaged_entries_total", "Journal entries that the disk has destroyed."),
		sealTook:     histogram("forwarder_seal_seconds", "How long sealing and recording an intent took."),
		signalTook:   histogram("forwarder_signal_seconds", "How long a signal took."),
		delay:        histogram("forwarder_delay_seconds", "From sealing to the workflow having it."),
		inFlight:     gauge("forwarder_in_flight", "Installations being forwarded to now."),
		waiting:      gauge("forwarder_waiting_bytes", "Bytes read from the journal and not sealed yet."),
		parked:       gauge("forwarder_intents", "Intents that workflows have not taken yet."),
		busy:         gauge("forwarder_installations", "Installations with something to forward."),
		journalBytes: gauge("journal_bytes", "Size of the journal."),
		lag:          gauge("journal_unread_entries", "Journal entries that the forwarder has not read yet."),
		lagSeconds:   gauge("journal_oldest_seconds", "Age of the oldest thing that has not reached its workflow."),
	}
}

// Registry is where other parts of the process add their metrics.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

func (m *Metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
