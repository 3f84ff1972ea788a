package registry

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	logins  *prometheus.CounterVec
	reloads *prometheus.CounterVec
	devices prometheus.Gauge
	// observed counts what devices said of their firmware.
	observed *prometheus.CounterVec
	facts    prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_registry_logins_total",
			Help: "Devices that tried to log in, by result."}, []string{"result"}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_registry_reloads_total",
			Help: "Times the registry took in changes, by result; a look that found nothing new is not counted."}, []string{"result"}),
		devices: prometheus.NewGauge(prometheus.GaugeOpts{Name: "aftercare_registry_devices",
			Help: "Registered devices, revoked ones included."}),
		observed: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_registry_firmware_reports_total",
			Help: "Times a device said which firmware it has, by result; full: too many were waiting to be written."}, []string{"result"}),
		facts: prometheus.NewCounter(prometheus.CounterOpts{Name: "aftercare_registry_facts_sent_total",
			Help: "Times a device's facts were put into the journal, for the rules."}),
	}
	reg.MustRegister(m.logins, m.reloads, m.devices, m.observed, m.facts)
	return m
}
