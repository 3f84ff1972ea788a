package history

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	points   *prometheus.CounterVec
	failures *prometheus.CounterVec
	rejected *prometheus.CounterVec
	writes   *prometheus.HistogramVec
	queries  *prometheus.HistogramVec
	lag      *lag
	waiting  *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		points: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "aftercare_history_points_total", Help: "Lines the database accepted.",
		}, []string{"stream"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "aftercare_history_write_failures_total",
			Help: "Writes that failed: away, busy, denied, missing, refused (all tried again), lines (split to find the bad ones).",
		}, []string{"stream", "class"}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "aftercare_history_rejected_lines_total", Help: "Lines the database refuses for good, handed to quarantine.",
		}, []string{"stream", "reason"}),
		writes: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "aftercare_history_write_seconds", Help: "Duration of a write, successful or not.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
		}, []string{"stream"}),
		queries: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "aftercare_history_query_seconds", Help: "Duration of a query, its reading included.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
		}, []string{"query"}),
		lag: newLag(),
		waiting: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "aftercare_history_waiting_lines", Help: "Lines of writes that failed and are tried again.",
		}, []string{"stream"}),
	}
	for _, c := range []prometheus.Collector{m.points, m.failures, m.rejected, m.writes, m.queries, m.lag, m.waiting} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// lag is how far each stream is behind. It is worked out when it is asked for: while a write is under way it grows, so that a
// database that hangs shows as much as one that refuses.
type lag struct {
	desc *prometheus.Desc

	mu      sync.Mutex
	streams map[string]*behind
}

type behind struct {
	received time.Time // of the newest record that is being written
	pending  bool
	seconds  float64 // when nothing is: how old the last one was when it was written
}

func newLag() *lag {
	return &lag{streams: map[string]*behind{}, desc: prometheus.NewDesc("aftercare_history_lag_seconds",
		"Age, since receipt, of the newest record when it was written; grows while it is being written or tried again.", []string{"stream"}, nil)}
}

// begin says that records up to one of this receipt are being written.
func (l *lag) begin(stream string, received time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.streams[stream] == nil {
		l.streams[stream] = &behind{}
	}
	b := l.streams[stream]
	b.received, b.pending = received, !received.IsZero()
}

// end says that they are written.
func (l *lag) end(stream string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.streams[stream]; b != nil && b.pending {
		b.seconds, b.pending = max(0, now.Sub(b.received).Seconds()), false
	}
}

// Describe implements prometheus.Collector.
func (l *lag) Describe(ch chan<- *prometheus.Desc) { ch <- l.desc }

// Collect implements prometheus.Collector.
func (l *lag) Collect(ch chan<- prometheus.Metric) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for stream, b := range l.streams {
		seconds := b.seconds
		if b.pending {
			seconds = max(0, time.Since(b.received).Seconds())
		}
		ch <- prometheus.MustNewConstMetric(l.desc, prometheus.GaugeValue, seconds, stream)
	}
}
