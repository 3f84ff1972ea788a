package incidents

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	changes *prometheus.CounterVec
	tests   prometheus.Counter
	seconds prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, open func() float64) *metrics {
	m := &metrics{
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_incident_changes_total",
			Help: "Committed changes of incidents, by action."}, []string{"action"}),
		tests: prometheus.NewCounter(prometheus.CounterOpts{Name: "aftercare_incident_tests_total",
			Help: "Groups of devices that were compared with what is normal."}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "aftercare_incident_pass_seconds",
			Help: "Time of one look at all cases for incidents.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 8)}),
	}
	reg.MustRegister(m.changes, m.tests, m.seconds, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "aftercare_incidents_open",
		Help: "Incidents that are open."}, open))
	return m
}
