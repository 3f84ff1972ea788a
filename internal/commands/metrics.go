package commands

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
)

type metrics struct {
	changes   *prometheus.CounterVec
	replies   *prometheus.CounterVec
	sends     prometheus.Counter
	conflicts prometheus.Counter
	failures  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_command_changes_total",
			Help: "Changes of commands, by the state they came to."}, []string{"state"}),
		replies: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_command_replies_total",
			Help: "Answers of devices to commands, by what became of them."}, []string{"outcome"}),
		sends: prometheus.NewCounter(prometheus.CounterOpts{Name: "aftercare_command_sends_total",
			Help: "Times a command was handed to a connection, repetitions too."}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{Name: "aftercare_command_conflicts_total",
			Help: "Times a command was changed by somebody else between decision and commit, so that it was decided again."}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "aftercare_command_failures_total",
			Help: "Times the store did not let commands be sent or written, and that was tried again."}),
	}
	reg.MustRegister(m.changes, m.replies, m.sends, m.conflicts, m.failures)
	return m
}

// Counter counts the commands that there are.
type Counter interface {
	CommandCounts(ctx context.Context) ([]fleet.CommandCount, error)
}

// Collector shows how many commands there are by state, asked of the store at each scrape: other processes write too.
type Collector struct {
	counter Counter
	log     *slog.Logger
	desc    *prometheus.Desc
}

// NewCollector returns the collector; the caller registers it.
func NewCollector(c Counter, log *slog.Logger) *Collector {
	return &Collector{counter: c, log: log, desc: prometheus.NewDesc("aftercare_commands", "Commands by state.", []string{"state"}, nil)}
}

// Describe is part of prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect is part of prometheus.Collector. When the store does not answer within two seconds the metric is left out.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	counts, err := c.counter.CommandCounts(ctx)
	if err != nil {
		c.log.Warn("commands are not counted for this scrape", "err", err)
		return
	}
	for _, n := range counts {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(n.N), string(n.State))
	}
}
