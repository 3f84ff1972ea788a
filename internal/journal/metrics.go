package journal

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/wire"
)

type metrics struct {
	records    *prometheus.CounterVec
	bytes      *prometheus.CounterVec
	latency    prometheus.Histogram
	failures   *prometheus.CounterVec
	duplicates *prometheus.CounterVec
	lag        *prometheus.GaugeVec
	size       *prometheus.GaugeVec
	reopens    prometheus.Counter
	trimmed    prometheus.Counter
	missing    prometheus.Counter
	damages    *prometheus.CounterVec
	lines      *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_journal_" + name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "aftercare_journal_" + name, Help: help}, labels)
	}
	m := &metrics{
		records: counter("appended_records_total", "Records stored, by stream.", "stream"),
		bytes:   counter("appended_bytes_total", "Bytes of record bodies stored, by stream.", "stream"),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "aftercare_journal_append_seconds",
			Help: "Time from Append to the last answer.", Buckets: prometheus.ExponentialBuckets(0.00025, 2, 16)}),
		failures:   counter("append_failures_total", "Appends that failed, by reason: full, broken, other.", "reason"),
		duplicates: counter("duplicates_total", "Records recognised by their ID and not stored again, by stream.", "stream"),
		lag:        gauge("lag", "Records of the stream that the consumer has not committed.", "stream", "consumer"),
		size:       gauge("stream_bytes", "Bytes the stream takes on disk.", "stream"),
		reopens: prometheus.NewCounter(prometheus.CounterOpts{Name: "aftercare_journal_reopens_total",
			Help: "Times the log was reopened after it had broken."}),
		trimmed: prometheus.NewCounter(prometheus.CounterOpts{Name: "aftercare_journal_trimmed_records_total",
			Help: "Readings records purged because everybody has read them and they are old."}),
		missing: prometheus.NewCounter(prometheus.CounterOpts{Name: "aftercare_journal_missing_records_total",
			Help: "Acknowledged records that were not there any more: damaged files."}),
		damages: counter("damaged_records_total", "Records that were found damaged when the files were verified, by outcome: repaired, lost, torn, missing; position: a consumer reads everything again.",
			"outcome"),
		lines: counter("damaged_readings_total", "Readings in damaged records that were not repaired, by outcome: saved, lost.", "outcome"),
	}
	for _, o := range []string{OutcomeRepaired, OutcomeLost, OutcomeTorn, OutcomeMissing, OutcomePosition} {
		m.damages.WithLabelValues(o) // 0 is an answer too
	}
	for _, c := range []prometheus.Collector{m.records, m.bytes, m.latency, m.failures, m.duplicates, m.lag, m.size, m.reopens, m.trimmed, m.missing, m.damages, m.lines} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("journal: register metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) stored(r *wire.Record, duplicate bool) {
	if duplicate {
		m.duplicates.WithLabelValues(string(r.Stream)).Inc()
		return
	}
	m.records.WithLabelValues(string(r.Stream)).Inc()
	m.bytes.WithLabelValues(string(r.Stream)).Add(float64(len(r.Body)))
}

func (m *metrics) damaged(d *Damage) {
	m.damages.WithLabelValues(d.Outcome).Add(float64(max(d.Records, 1)))
	if d.Stream != wire.Snapshots && (d.Outcome == OutcomeLost || d.Outcome == OutcomeMissing) { // nobody waits for a snapshot's sync
		m.missing.Add(float64(d.Records))
	}
	m.lines.WithLabelValues("saved").Add(float64(d.LinesSaved))
	m.lines.WithLabelValues("lost").Add(float64(d.LinesLost))
}

func (m *metrics) failed(err error) {
	reason := "other"
	switch {
	case errors.Is(err, ErrFull):
		reason = "full"
	case errors.Is(err, ErrBroken):
		reason = "broken"
	}
	m.failures.WithLabelValues(reason).Inc()
}
