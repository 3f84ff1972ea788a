package history

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	points   *prometheus.CounterVec
	failures *prometheus.CounterVec
	rejected *prometheus.CounterVec
	writes   *prometheus.HistogramVec
	queries  *prometheus.HistogramVec
	lag      *prometheus.GaugeVec
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
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "aftercare_history_lag_seconds",
			Help: "Age, since receipt, of the newest record when it was written; grows while writes fail.",
		}, []string{"stream"}),
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
