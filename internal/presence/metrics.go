package presence

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// The states of the devices metric.
const (
	countOnline = iota
	countOffline
	countSilent
	countStation
	countStates
)

type metrics struct {
	devices    [countStates]atomic.Int64
	changes    [causeCount]prometheus.Counter
	summarised prometheus.Counter
	ignored    *prometheus.CounterVec
	failures   *prometheus.CounterVec
	scan       prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		summarised: prometheus.NewCounter(prometheus.CounterOpts{Name: "aftercare_presence_summarised_total",
			Help: "Changes that were not recorded one by one, because the device flaps or too many wait; its latest state is recorded."}),
		ignored: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_presence_ignored_total",
			Help: "Signs of devices that changed nothing: who is not tracked, what is old, by reason."}, []string{"reason"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_presence_failures_total",
			Help: "Times changes could not be recorded, or states not saved or loaded, and that is tried again where it can be."}, []string{"operation"}),
		scan: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "aftercare_presence_scan_seconds",
			Help: "Time one look at all devices took.", Buckets: prometheus.ExponentialBuckets(0.0001, 4, 8)}),
	}
	reg.MustRegister(m.summarised, m.ignored, m.failures, m.scan)
	changes := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_presence_changes_total",
		Help: "Changes of devices between online and offline, by cause."}, []string{"cause"})
	reg.MustRegister(changes)
	for c := range causeCount {
		m.changes[c] = changes.WithLabelValues(causeWords[c])
	}
	for i, state := range [countStates]string{"online", "offline", "silent", "station_lost"} {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "aftercare_presence_devices",
			Help: "Devices that were heard of at least once, by state.", ConstLabels: prometheus.Labels{"state": state}},
			func() float64 { return float64(m.devices[i].Load()) }))
	}
	return m
}

// count adds n to the state an entry is in.
func (m *metrics) count(e *entry, n int64) {
	i := countOffline
	switch {
	case e.flags&online != 0:
		i = countOnline
	case e.cause == causeSilent:
		i = countSilent
	case e.cause == causeStation:
		i = countStation
	}
	m.devices[i].Add(n)
}
