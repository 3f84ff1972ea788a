package outreach_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
	"aftercare/internal/outreach"
	"aftercare/internal/seal"
)

// escalation is a fault told at noon to Anna, who has two endpoints, in an installation with links and operators who have none.
func escalation(t *testing.T) (*bench, *outreach.Outreach, func(time.Duration)) {
	t.Helper()
	b := newBench(t, map[string]*receiver{"ntfy": receive(t, status(200)), "webhook": receive(t, status(200))})
	c := outreach.DefaultConfig()
	c.URL = "https://care.example"
	b.deps.Seal, b.deps.Registerer = seal.New(bytes.Repeat([]byte{7}, 32)), prometheus.NewRegistry()
	o := outreach.New(c, b.deps)
	pass := func(after time.Duration) {
		t.Helper()
		must(t, o.Pass(t.Context(), noon.Add(after)))
	}
	b.change(t, fleet.CaseNew, "opened", noon, func(c *fleet.Case) { c.Kind, c.Severity = fleet.KindFault, fleet.Fault })
	pass(0)
	return b, o, pass
}

func TestSilentFaultGoesOn(t *testing.T) {
	b, _, pass := escalation(t)
	same(t, b.fates(t), []string{"inbox sent", "ntfy sent"})
	pass(29 * time.Minute)
	same(t, b.fates(t), []string{"inbox sent", "ntfy sent"})
	pass(31 * time.Minute)
	same(t, b.fates(t), []string{"inbox sent", "ntfy sent", "webhook sent"})
	pass(3 * time.Hour)
	same(t, b.fates(t), []string{"inbox sent", "ntfy sent", "operations skipped: outreach.operations names nobody", "webhook sent"})
}

func TestOpenedFaultStays(t *testing.T) {
	b, o, pass := escalation(t)
	ds, err := b.store.CaseDeliveries(t.Context(), "demo", "case-1")
	must(t, err)
	for _, d := range ds {
		if d.Channel == "ntfy" {
			must(t, o.MarkDelivery(t.Context(), "demo", d.OutboxID, "opened", noon.Add(time.Minute)))
		}
	}
	pass(31 * time.Minute)
	pass(3 * time.Hour)
	same(t, b.fates(t), []string{"inbox sent", "ntfy sent", "operations skipped: anna has opened it", "webhook skipped: it arrived: ntfy"})
}
