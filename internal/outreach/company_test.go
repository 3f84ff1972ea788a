package outreach_test

import (
	"testing"
	"time"

	"aftercare/internal/fleet"
)

// TestWhatDoesNotFitGoesAsOne: three messages over a full budget wait, and leave as one when there is room; nothing is dropped.
func TestWhatDoesNotFitGoesAsOne(t *testing.T) {
	r := receive(t, status(200))
	b := newBench(t, map[string]*receiver{"ntfy": r})
	for _, id := range []string{"a", "b"} {
		_, err := b.store.TakeContact(t.Context(), "demo", "p:anna", id, noon.Add(-time.Hour), 0, 0)
		must(t, err)
	}
	b.change(t, fleet.CaseNew, "opened", noon)
	for _, id := range []string{"two", "three"} {
		must(t, b.store.AddOutbox(t.Context(), []fleet.OutboxRow{{ID: id, Kind: fleet.OutboxMessage, Tenant: "demo", CaseID: "case-1", Topic: "escalated", DueAt: noon}}))
	}
	must(t, b.o.Pass(t.Context(), noon))
	same(t, len(r.received()), 0)
	morning := noon.Add(23 * time.Hour)
	for _, wait := range []time.Duration{0, 5 * time.Second, 10 * time.Second, time.Minute, 2 * time.Minute} {
		must(t, b.o.Pass(t.Context(), morning.Add(wait)))
	}
	same(t, len(r.received()), 1)
	states := map[string]int{}
	ds, err := b.store.CaseDeliveries(t.Context(), "demo", "case-1")
	must(t, err)
	for _, d := range ds {
		states[d.Channel+" "+d.State]++
		if len(d.Trace) == 0 {
			t.Errorf("%s has no trace", d.OutboxID)
		}
	}
	same(t, states, map[string]int{"inbox sent": 3, "ntfy sent": 1, "ntfy merged": 2})
}
