package outreach_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
	"aftercare/internal/outreach"
)

// TestRowsOfAChannelThatIsGoneEnd runs the real loop on a row for a channel that was set up once: it must not wait for ever.
func TestRowsOfAChannelThatIsGoneEnd(t *testing.T) {
	b := newBench(t, map[string]*receiver{"ntfy": receive(t, status(200))})
	b.change(t, fleet.CaseNew, "", noon)
	left := &countdown{Store: b.store, ended: make(chan struct{})}
	left.n.Store(1)
	c := outreach.DefaultConfig()
	c.Poll = time.Hour // the start alone drives it
	b.deps.Outbox, b.deps.Registerer = left, prometheus.NewRegistry()
	o := outreach.New(c, b.deps)
	must(t, b.store.AddOutbox(t.Context(), []fleet.OutboxRow{{ID: "dlv-1", Kind: fleet.OutboxMessage, Tenant: "demo", CaseID: "case-1", PersonID: "anna", Channel: "fax",
		Topic: "opened", Body: []byte(`{"address":"1"}`), DueAt: noon}}))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := o.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	<-left.ended
	cancel()
	wg.Wait()
	ds, err := b.store.CaseDeliveries(t.Context(), "demo", "case-1")
	must(t, err)
	if len(ds) != 1 || ds[0].State != "skipped" {
		t.Errorf("%+v", ds)
	}
}
