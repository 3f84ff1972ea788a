package engine

import (
	"strconv"

	"aftercare/internal/rules"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	readings, evaluations, late, duplicates, outOfOrder, unknownModel, badLines, facts, unknownLimits, setBack, takeovers, lost, counters, warmed prometheus.Counter
	fleetLeft                                                                                                                                     prometheus.Counter
	summaries                                                                                                                                     *prometheus.CounterVec

	batch            prometheus.Histogram
	findings         *prometheus.CounterVec
	devices          *prometheus.GaugeVec
	sequence         *prometheus.GaugeVec
	saved            *prometheus.GaugeVec
	epoch            *prometheus.GaugeVec
	snapshotBytes    prometheus.Counter
	snapshotSeconds  prometheus.Histogram
	snapshotPause    prometheus.Histogram
	snapshotFallback prometheus.Counter
	summaryBytes     prometheus.Gauge
	fleetPause       prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "aftercare_rules_" + name, Help: help})
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return f.NewGaugeVec(prometheus.GaugeOpts{Name: "aftercare_rules_" + name, Help: help}, []string{"partition"})
	}
	seconds := func(name, help string, first float64) prometheus.Histogram {
		return f.NewHistogram(prometheus.HistogramOpts{
			Name: "aftercare_rules_" + name, Help: help, Buckets: prometheus.ExponentialBuckets(first, 4, 9),
		})
	}
	return &metrics{
		readings:      counter("readings_total", "Readings stepped through the rules."),
		evaluations:   counter("evaluations_total", "Rule conditions evaluated."),
		late:          counter("late_total", "Readings older than the allowed lateness: history only."),
		duplicates:    counter("duplicates_total", "Resends left out."),
		outOfOrder:    counter("out_of_order_total", "Readings within the lateness: counted in windows, not as current values."),
		unknownModel:  counter("unknown_model_total", "Readings of a model without profile."),
		badLines:      counter("bad_lines_total", "Lines of the journal that are not of the batch format."),
		facts:         counter("facts_total", "Devices' facts taken in."),
		unknownLimits: counter("unknown_limits_total", "Devices' own limits that no rule which runs for them has: a rule was changed or the name is wrong."),
		setBack:       counter("set_back_total", "Times the journal gave sequences out anew that were stepped before: it has lost records."),
		counters:      counter("counter_lines_total", "Lines on how much a device was used, for history: one a device and day."),
		warmed:        counter("warmed_devices_total", "Devices whose state was made from history."),
		summaries: f.NewCounterVec(prometheus.CounterOpts{
			Name: "aftercare_rules_summaries_total", Help: "Summaries of the fleet made, by the process that works partition 0: new, or the same as the one before and not handed over.",
		}, []string{"result"}),
		fleetLeft: counter("summary_left_out_total", "Groups of devices, the smallest, that did not fit into a summary of the fleet."),
		takeovers: counter("takeovers_total", "Partitions taken over from a process that did not give them back."),
		lost:      counter("lost_partitions_total", "Partitions that another process took over from this one."),
		batch:     seconds("batch_seconds", "Time to step one batch of readings.", 10e-6),
		findings: f.NewCounterVec(prometheus.CounterOpts{
			Name: "aftercare_rules_findings_total", Help: "Findings handed over.",
		}, []string{"kind", "phase"}),
		devices:         gauge("devices", "Devices with rule state."),
		sequence:        gauge("sequence", "Stream sequence of the last record stepped."),
		saved:           gauge("snapshot_sequence", "Stream sequence the newest snapshot holds."),
		epoch:           gauge("epoch", "Epoch of the partition while this process works it, which grows with each take-over; 0: another process does."),
		snapshotBytes:   counter("snapshot_bytes_total", "Bytes of snapshots written."),
		snapshotSeconds: seconds("snapshot_seconds", "Time to write a snapshot, evaluation going on.", 1e-3),
		snapshotPause:   seconds("snapshot_pause_seconds", "Time evaluation stood still to encode a slice of a snapshot.", 10e-6),
		summaryBytes: f.NewGauge(prometheus.GaugeOpts{
			Name: "aftercare_rules_summary_bytes", Help: "Size of the last summary of the fleet that came, compressed.",
		}),
		fleetPause:       seconds("fleet_pause_seconds", "Time evaluation stood still to look at some devices for the summary of the fleet.", 10e-6),
		snapshotFallback: counter("snapshot_fallbacks_total", "Snapshots found damaged when they were loaded."),
	}
}

// add counts the difference of two counts of one state.
func (m *metrics) add(before, after rules.Counts) {
	m.readings.Add(float64(after.Readings - before.Readings))
	m.evaluations.Add(float64(after.Evaluations - before.Evaluations))
	m.late.Add(float64(after.Late - before.Late))
	m.duplicates.Add(float64(after.Duplicates - before.Duplicates))
	m.outOfOrder.Add(float64(after.OutOfOrder - before.OutOfOrder))
	m.unknownModel.Add(float64(after.UnknownModel - before.UnknownModel))
	m.badLines.Add(float64(after.BadLines - before.BadLines))
	m.facts.Add(float64(after.Facts - before.Facts))
	m.unknownLimits.Add(float64(after.UnknownLimits - before.UnknownLimits))
}

func (m *metrics) partition(p int, seq uint64, devices int) {
	label := strconv.Itoa(p)
	m.sequence.WithLabelValues(label).Set(float64(seq))
	m.devices.WithLabelValues(label).Set(float64(devices))
}
