package bridge

import "github.com/prometheus/client_golang/prometheus"

// What the broker is told of a message. messages_total = answers_total + postponed_total + queued + refused with the reason
// queue_full. What was told to nobody comes again, and is counted as received again.
const (
	answerAcked  = iota
	answerLate   // its connection was gone
	answerFailed // ingest did not take it
	answerNone   // QoS 0
)

var answerNames = [4]string{"acknowledged", "connection gone", "failed", "QoS 0"}

// metrics are the bridge's numbers. What is refused is counted by whoever gives Deps.Refuse.
type metrics struct {
	connected   prometheus.Gauge
	subscribed  prometheus.Gauge
	silent      prometheus.Gauge
	queued      prometheus.Gauge
	connects    *prometheus.CounterVec // by result
	messages    [2]prometheus.Counter  // by QoS
	sessions    *prometheus.CounterVec // by result
	answers     [4]prometheus.Counter  // by result
	postponed   prometheus.Counter
	redelivered prometheus.Counter
	strays      prometheus.Counter
	published   *prometheus.CounterVec // by result
}

func newMetrics(r prometheus.Registerer) *metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "aftercare_bridge_" + name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "aftercare_bridge_" + name, Help: help})
	}
	m := &metrics{
		connected:  gauge("connected", "1 while connected to the broker."),
		subscribed: gauge("subscribed", "1 while the broker has granted all our subscriptions."),
		silent:     gauge("silent", "1 while connected, but without a message for longer than silent_after."),
		queued:     gauge("queued", "Messages received and not yet answered."),
		connects: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_bridge_connects_total",
			Help: "Attempts to connect and subscribe, and lost connections, by result."}, []string{"result"}),
		sessions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_bridge_sessions_total",
			Help: "Connections by what the broker knew of our session: new, resumed, lost."}, []string{"result"}),
		redelivered: counter("redelivered_total", "Messages received that the broker marked as sent again."),
		strays:      counter("strays_total", "Messages received on topics that no configured filter names."),
		postponed:   counter("postponed_total", "Messages left to be delivered again, because the queue was full."),
	}
	m.published = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_bridge_published_total",
		Help: "Messages to publish to the broker, by what became of them."}, []string{"result"})
	messages := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_bridge_messages_total",
		Help: "Messages received by quality of service."}, []string{"qos"})
	m.messages[0], m.messages[1] = messages.WithLabelValues("0"), messages.WithLabelValues("1")
	answers := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_bridge_answers_total",
		Help: "Messages that left the queue, by what the broker was told."}, []string{"result"})
	for i, name := range answerNames {
		m.answers[i] = answers.WithLabelValues(name)
	}
	if r != nil {
		r.MustRegister(m.connected, m.subscribed, m.silent, m.queued, m.connects, messages, m.sessions, answers,
			m.postponed, m.redelivered, m.strays, m.published)
	}
	return m
}
