package gateway

import "github.com/prometheus/client_golang/prometheus"

// metrics are the gateway's numbers. What is refused is counted by whoever gives Deps.Refuse.
type metrics struct {
	connections prometheus.Gauge       // open connections, authenticated or not
	connects    *prometheus.CounterVec // by result
	disconnects *prometheus.CounterVec // authenticated connections that ended, by reason
	farewells   *prometheus.CounterVec // DISCONNECTs sent, by reason code
	publishes   [3]prometheus.Counter  // by QoS
	acks        prometheus.Counter
	ackWrites   prometheus.Counter
	slowWrites  prometheus.Counter
	paused      prometheus.Gauge
	wills       *prometheus.CounterVec // by result
	reloads     *prometheus.CounterVec // by what and result
	expires     *prometheus.GaugeVec   // by what
	downlink    *prometheus.CounterVec // messages to devices, by what became of them
	limited     [limits]prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts{Name: "aftercare_gateway_connections",
			Help: "Open device connections, authenticated or not."}),
		connects: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_gateway_connects_total",
			Help: "Connection attempts by result."}, []string{"result"}),
		disconnects: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_gateway_disconnects_total",
			Help: "Ends of authenticated connections by reason."}, []string{"reason"}),
		farewells: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_gateway_disconnects_sent_total",
			Help: "DISCONNECTs sent to MQTT 5 clients by reason code."}, []string{"code"}),
		acks: prometheus.NewCounter(prometheus.CounterOpts{Name: "aftercare_gateway_acks_total",
			Help: "PUBACKs given to the network."}),
		ackWrites: prometheus.NewCounter(prometheus.CounterOpts{Name: "aftercare_gateway_ack_writes_total",
			Help: "Writes that carried PUBACKs; several share one write."}),
		slowWrites: prometheus.NewCounter(prometheus.CounterOpts{Name: "aftercare_gateway_slow_writes_total",
			Help: "Writes of PUBACKs that a client did not take at once."}),
		paused: prometheus.NewGauge(prometheus.GaugeOpts{Name: "aftercare_gateway_paused_readers",
			Help: "Connections not read now, because too much of theirs is unacknowledged."}),
		downlink: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_gateway_downlink_total",
			Help: "Messages to devices: taken, acked, refused (by the device), away (nobody listens), full, too large."}, []string{"result"}),
		wills: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_gateway_wills_total",
			Help: "Last wills of lost connections by result."}, []string{"result"}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_gateway_tls_reloads_total",
			Help: "Certificate files and revocation lists read again because they changed, by result."}, []string{"result"}),
		expires: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "aftercare_gateway_tls_expires_timestamp_seconds",
			Help: "When the server's certificate ends (certificate), and the revocation list that ends first (crl), as Unix time."}, []string{"what"}),
	}
	publishes := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_gateway_publishes_total",
		Help: "Messages received by quality of service."}, []string{"qos"})
	for q, name := range []string{"0", "1", "2"} {
		m.publishes[q] = publishes.WithLabelValues(name)
	}
	limited := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_gateway_limited_seconds_total",
		Help: "Time in which a connection was not read, by the limit that it had used up."}, []string{"limit"})
	for l := range limits {
		m.limited[l] = limited.WithLabelValues(l.String())
	}
	if r != nil {
		r.MustRegister(m.connections, m.connects, m.disconnects, m.farewells, publishes, m.acks, m.ackWrites, m.slowWrites, m.paused, m.wills,
			m.reloads, m.expires, m.downlink, limited)
	}
	return m
}
