package cases

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
)

type metrics struct {
	changes   *prometheus.CounterVec
	skipped   *prometheus.CounterVec
	conflicts prometheus.Counter
	retries   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_case_changes_total",
			Help: "Committed changes of cases, by action."}, []string{"action"}),
		skipped: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_case_findings_skipped_total",
			Help: "Findings that changed no case, by reason."}, []string{"reason"}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{Name: "aftercare_case_conflicts_total",
			Help: "Times a case was changed by somebody else between decision and commit, so that it was decided again."}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{Name: "aftercare_case_retries_total",
			Help: "Times a finding could not be applied and was tried again."}),
	}
	reg.MustRegister(m.changes, m.skipped, m.conflicts, m.retries)
	return m
}

// Counter counts the cases that there are.
type Counter interface {
	CaseCounts(ctx context.Context) ([]fleet.CaseCount, error)
}

// Collector shows how many cases there are by state and kind, asked of the store at each scrape: a number kept in this
// process would miss what others do.
type Collector struct {
	counter Counter
	log     *slog.Logger
	desc    *prometheus.Desc
}

// NewCollector returns the collector; the caller registers it.
func NewCollector(c Counter, log *slog.Logger) *Collector {
	return &Collector{counter: c, log: log,
		desc: prometheus.NewDesc("aftercare_cases", "Cases by state and kind.", []string{"state", "kind"}, nil)}
}

// Describe is part of prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect is part of prometheus.Collector. When the store does not answer within two seconds the metric is left out.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	counts, err := c.counter.CaseCounts(ctx)
	if err != nil {
		c.log.Warn("cases are not counted for this scrape", "err", err)
		return
	}
	for _, n := range counts {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(n.N), string(n.State), string(n.Kind))
	}
}
