package outreach

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"aftercare/internal/fleet"
)

type metrics struct {
	messages *prometheus.CounterVec
	latency  *prometheus.HistogramVec
	gaps     *prometheus.CounterVec
	deferred *prometheus.CounterVec
	errors   prometheus.Counter
	receipts *prometheus.CounterVec
	over     prometheus.Counter
	instead  *prometheus.CounterVec
	circuits prometheus.Gauge
	rests    *prometheus.CounterVec

	fallbacks prometheus.Counter
	depth     *prometheus.GaugeVec
	oldest    *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	return &metrics{
		messages: f.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_outreach_messages_total",
			Help: "Messages by channel, topic and what became of them: sent, skipped, held, merged, retried, dead."}, []string{"channel", "state", "topic"}),
		latency: f.NewHistogramVec(prometheus.HistogramOpts{Name: "aftercare_telemetry_to_message_seconds",
			Help:    "Time from the receipt of the telemetry to the message having been sent; messages held for the night are not in it.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200, 43200, 86400}}, []string{"channel"}),
		gaps: f.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_message_gaps_total",
			Help: "Parts of messages of which a sentence was left out or replaced, because a value was missing or a template failed."}, []string{"part"}),
		deferred: f.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_messages_deferred_total",
			Help: "Leased message rows that were left for a later lease because the channel was busy."}, []string{"channel"}),
		errors: f.NewCounter(prometheus.CounterOpts{Name: "aftercare_outreach_errors_total",
			Help: "Times the outbox could not be read or a result not be recorded."}),
		receipts: f.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_outreach_receipts_total",
			Help: "Messages that arrived, were opened or answered, by what was said of them."}, []string{"what"}),
		over: f.NewCounter(prometheus.CounterOpts{Name: "aftercare_outreach_budget_holds_total",
			Help: "Times a message was held because its household had been written to often enough."}),
		instead: f.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_outreach_escalations_total",
			Help: "Messages that went to another endpoint, person or the operators, because nobody had looked at them or they could not be delivered."}, []string{"to"}),
		circuits: f.NewGauge(prometheus.GaugeOpts{Name: "aftercare_outreach_circuits_open",
			Help: "Hosts of receivers that are left alone for a while because they failed several times in a row."}),
		rests: f.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_outreach_circuit_rests_total",
			Help: "Messages put off because their receiver's host is left alone for a while."}, []string{"channel"}),
		fallbacks: f.NewCounter(prometheus.CounterOpts{Name: "aftercare_message_fallbacks_total",
			Help: "Messages for which a template or a translation was missing and another stood in."}),
		depth: f.NewGaugeVec(prometheus.GaugeOpts{Name: "aftercare_outbox_rows",
			Help: "Outbox rows that are not done, by kind and state."}, []string{"kind", "state"}),
		oldest: f.NewGaugeVec(prometheus.GaugeOpts{Name: "aftercare_outbox_oldest_due_timestamp_seconds",
			Help: "When the oldest outbox row of a kind and state was due."}, []string{"kind", "state"}),
	}
}

// Depth counts the outbox's rows; the Outbox of New may have it.
type Depth interface {
	OutboxDepth(ctx context.Context) ([]fleet.OutboxCount, error)
}

// depthEvery is how often the depth is counted.
const depthEvery = 10 * time.Second

// watchDepth keeps the gauges of the outbox up to date where the store can count.
func (o *Outreach) watchDepth(ctx context.Context) {
	d, ok := o.deps.Outbox.(Depth)
	if !ok {
		return
	}
	tick := time.NewTicker(depthEvery)
	defer tick.Stop()
	for {
		if counts, err := d.OutboxDepth(ctx); err == nil {
			o.metrics.depth.Reset()
			o.metrics.oldest.Reset()
			for _, c := range counts {
				o.metrics.depth.WithLabelValues(string(c.Kind), c.State).Set(float64(c.N))
				o.metrics.oldest.WithLabelValues(string(c.Kind), c.State).Set(float64(c.Oldest.UnixMilli()) / 1000)
			}
		} else if ctx.Err() == nil {
			o.deps.Log.Warn("outbox not counted", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
