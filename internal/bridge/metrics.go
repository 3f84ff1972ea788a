package bridge

import "github.com/prometheus/client_golang/prometheus"

// metrics are the bridge's numbers. What is refused is counted by whoever gives Deps.Refuse.
type metrics struct {
	connected  prometheus.Gauge
	subscribed prometheus.Gauge
	silent     prometheus.Gauge
	queued     prometheus.Gauge
	connects   *prometheus.CounterVec // by result
	messages   [2]prometheus.Counter  // by QoS
	acks       prometheus.Counter
	postponed  prometheus.Counter
	published  *prometheus.CounterVec // by result
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
		acks:      counter("acks_total", "Messages acknowledged, or given up with their connection."),
		postponed: counter("postponed_total", "Messages left to be delivered again, because the queue was full."),
	}
	m.published = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_bridge_published_total",
		Help: "Messages to publish to the broker, by what became of them."}, []string{"result"})
	messages := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_bridge_messages_total",
		Help: "Messages received by quality of service."}, []string{"qos"})
	m.messages[0], m.messages[1] = messages.WithLabelValues("0"), messages.WithLabelValues("1")
	if r != nil {
		r.MustRegister(m.connected, m.subscribed, m.silent, m.queued, m.connects, messages, m.acks, m.postponed, m.published)
	}
	return m
}
