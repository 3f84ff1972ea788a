package ingest

import (
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// Doors of our own.
const (
	doorSystem = "system"
	doorAgain  = "again"
)

// meter counts what came in and what became of it. Once the queue is empty,
// readings in = stored + quarantined (by reason) + refused (by reason) holds (REL-12). A reply to a command counts as one
// reading, our own presence readings come in by the door "system", what is tried again after quarantine by the door "again".
type meter struct {
	in          *prometheus.CounterVec
	stored      prometheus.Counter
	quarantined *prometheus.CounterVec
	refused     *prometheus.CounterVec
	dropped     prometheus.Counter
	unnumbered  prometheus.Counter
	corrected   prometheus.Counter
	rebirths    prometheus.Counter
	failures    prometheus.Counter
	waits       prometheus.Counter
	commit      prometheus.Histogram
	perCycle    prometheus.Histogram

	mu       sync.Mutex
	byReason map[string]uint64
	recent   [100]fleet.Refusal
	next     int
	seconds  [60]int // readings stored in each of the last seconds, by unix second modulo 60
	last     time.Time
}

func newMeter(reg prometheus.Registerer) *meter {
	m := &meter{
		in:          prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_readings_in_total", Help: "Readings that reached a door; a message that is refused or cannot be decoded counts as one, and so does a connection that is refused."}, []string{"door"}),
		stored:      prometheus.NewCounter(prometheus.CounterOpts{Name: "aftercare_readings_stored_total", Help: "Readings fsynced in the journal."}),
		quarantined: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_readings_quarantined_total", Help: "Readings or payloads put aside, by reason."}, []string{"reason"}),
		refused:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_readings_refused_total", Help: "Messages neither stored nor put aside, and connections turned away, by door and reason."}, []string{"door", "reason"}),
		dropped:     prometheus.NewCounter(prometheus.CounterOpts{Name: "aftercare_fields_dropped_total", Help: "Fields left out because the profile does not name them."}),
		unnumbered:  prometheus.NewCounter(prometheus.CounterOpts{Name: "aftercare_readings_unidentifiable_total", Help: "Readings stored of which a resend will not be recognised: neither time nor seq, or a wrong time and no seq."}),
		corrected:   prometheus.NewCounter(prometheus.CounterOpts{Name: "aftercare_readings_clock_corrected_total", Help: "Readings stored with another time than the device's, because its clock was wrong."}),
		rebirths:    prometheus.NewCounter(prometheus.CounterOpts{Name: "aftercare_sparkplug_rebirth_requests_total", Help: "Sparkplug edge nodes asked to announce themselves again."}),
		failures:    prometheus.NewCounter(prometheus.CounterOpts{Name: "aftercare_ingest_commit_failures_total", Help: "Cycles the journal did not take at the first try."}),
		waits:       prometheus.NewCounter(prometheus.CounterOpts{Name: "aftercare_ingest_waits_total", Help: "Times a door waited because the queue was full."}),
		commit:      prometheus.NewHistogram(prometheus.HistogramOpts{Name: "aftercare_ingest_commit_seconds", Help: "Time of one group commit, fsync included.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14)}),
		perCycle:    prometheus.NewHistogram(prometheus.HistogramOpts{Name: "aftercare_ingest_commit_readings", Help: "Readings that shared one commit.", Buckets: prometheus.ExponentialBuckets(1, 4, 9)}),
		byReason:    map[string]uint64{},
	}
	reg.MustRegister(m.in, m.stored, m.quarantined, m.refused, m.dropped, m.unnumbered, m.corrected, m.rebirths, m.failures, m.waits, m.commit, m.perCycle)
	return m
}

// count takes note of what w made of a message. A refused message counts as one reading, and so does a reply. What came back
// from quarantine and is still bad stays where it is: it is refused at the door "again".
func (m *meter) count(door string, w *worker) {
	if w.again {
		door = doorAgain
		for i := range w.aside {
			m.refused.WithLabelValues(door, w.aside[i].Reason).Inc()
		}
	}
	m.in.WithLabelValues(door).Add(float64(max(w.stored+len(w.aside), 1)))
	m.dropped.Add(float64(w.dropped))
	m.unnumbered.Add(float64(w.unnumbered))
	m.corrected.Add(float64(w.corrected))
}

// cycle takes note of a commit.
func (m *meter) cycle(c *cycle, now time.Time, took time.Duration) {
	m.stored.Add(float64(c.stored))
	for _, reason := range c.reasons {
		m.quarantined.WithLabelValues(reason).Inc()
	}
	m.commit.Observe(took.Seconds())
	m.perCycle.Observe(float64(c.stored))
	if c.stored > 0 {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.forget(now)
		m.seconds[now.Unix()%60] += c.stored
		m.last = now
	}
}

// forget clears the seconds between the last commit and now.
func (m *meter) forget(now time.Time) {
	for at := max(m.last.Unix(), now.Unix()-60) + 1; at <= now.Unix(); at++ {
		m.seconds[at%60] = 0
	}
}

func (m *meter) pulse(now time.Time) (perMinute float64, last time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(now)
	for _, n := range m.seconds {
		perMinute += float64(n)
	}
	return perMinute, m.last
}

func (m *meter) refuse(r fleet.Refusal) {
	m.refused.WithLabelValues(r.Door, r.Reason).Inc()
	r.Topic = strings.ToValidUTF8(r.Topic[:min(len(r.Topic), wire.MaxTopic)], "?")
	m.mu.Lock()
	defer m.mu.Unlock()
	m.byReason[r.Reason]++
	m.recent[m.next%len(m.recent)] = r
	m.next++
}

func (m *meter) refusals() (recent []fleet.Refusal, byReason map[string]uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := m.next - 1; i >= 0 && i >= m.next-len(m.recent); i-- {
		recent = append(recent, m.recent[i%len(m.recent)])
	}
	return recent, maps.Clone(m.byReason)
}
