package outreach_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
	"aftercare/internal/outreach"
	"aftercare/internal/store"
)

// killed is the real store in a process that dies at chosen moments: before or after its commit, the caller hears nothing.
type killed struct {
	*store.Store
	before, after bool
}

var errKilled = errors.New("killed")

func (k *killed) Deliver(ctx context.Context, id string, m *fleet.Message, d fleet.Delivery, follow []fleet.OutboxRow) error {
	if k.before {
		return errKilled
	}
	err := k.Store.Deliver(ctx, id, m, d, follow)
	if k.after {
		return errKilled
	}
	return err
}

// TestKillBetweenSendingAndRecording (REL-10): each kind of row is sent again under the same id, once, and recorded once.
func TestKillBetweenSendingAndRecording(t *testing.T) {
	r := receive(t, status(200))
	b := newBench(t, map[string]*receiver{"webhook": r})
	k := &killed{Store: b.store}
	b.deps.Outbox, b.deps.Registerer = k, prometheus.NewRegistry()
	o := outreach.New(outreach.DefaultConfig(), b.deps)
	pass := func(now time.Time, wantErr bool) {
		t.Helper()
		if err := o.Pass(t.Context(), now); errors.Is(err, errKilled) != wantErr {
			t.Fatalf("pass: %v", err)
		}
	}
	b.change(t, fleet.CaseNew, "opened", noon)
	lease := outreach.DefaultConfig().Lease

	k.before = true // while the inbox message is being saved
	pass(noon, true)
	same(t, len(b.inbox(t)), 0)
	k.before, k.after = false, true // it is saved, and the endpoint's row with it, but nobody hears of it; the same for the webhook
	pass(noon.Add(lease), true)
	same(t, len(b.inbox(t)), 1)
	same(t, len(r.received()), 1)
	pass(noon.Add(2*lease), false)
	same(t, len(r.received()), 1)

	b.change(t, fleet.CaseNew, "escalated", noon.Add(time.Hour))
	k.before, k.after = false, false
	k.before = true
	pass(noon.Add(time.Hour), true)
	k.before = false
	pass(noon.Add(time.Hour+lease/2), false) // still leased: nothing
	same(t, len(b.inbox(t)), 1)
	must(t, b.store.RetryOutbox(t.Context(), fleet.ID("msg", "case-1", "escalated"), noon.Add(time.Hour), ""))
	k2 := &sendThenDie{killed: k}
	b.deps.Outbox, b.deps.Registerer = k2, prometheus.NewRegistry()
	o = outreach.New(outreach.DefaultConfig(), b.deps)
	pass(noon.Add(time.Hour), true) // inbox recorded; the webhook was sent, then killed before that was recorded
	same(t, len(r.received()), 2)
	k2.alive = true
	pass(noon.Add(time.Hour+lease), false)
	calls := r.received()
	same(t, len(calls), 3)
	same(t, calls[2].header.Get("Webhook-Id"), calls[1].header.Get("Webhook-Id"))
	if calls[0].header.Get("Webhook-Id") == calls[1].header.Get("Webhook-Id") {
		t.Error("two messages have one id")
	}
	same(t, len(b.inbox(t)), 2)
	same(t, b.fates(t), []string{"inbox sent", "inbox sent", "webhook sent", "webhook sent"})
}

// sendThenDie dies before it can record what a channel sent.
type sendThenDie struct {
	*killed
	alive bool
}

func (k *sendThenDie) Deliver(ctx context.Context, id string, m *fleet.Message, d fleet.Delivery, follow []fleet.OutboxRow) error {
	if m == nil && !k.alive {
		return errKilled
	}
	return k.killed.Deliver(ctx, id, m, d, follow)
}

// TestNightAfterAKillKeepsTheID kills the process between a send and its record in the last minute of the day: whatever was
// not counted, the message of the morning must have the id of the one that may have left.
func TestNightAfterAKillKeepsTheID(t *testing.T) {
	r := receive(t, status(200))
	b := newBench(t, map[string]*receiver{"ntfy": r})
	k := &sendThenDie{killed: &killed{Store: b.store}}
	b.deps.Outbox, b.deps.Registerer = k, prometheus.NewRegistry()
	o := outreach.New(outreach.DefaultConfig(), b.deps)
	evening := time.Date(2025, 11, 21, 19, 59, 50, 0, time.UTC)
	b.change(t, fleet.CaseNew, "opened", evening)
	if err := o.Pass(t.Context(), evening); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	same(t, len(r.received()), 1)
	k.alive = true
	must(t, o.Pass(t.Context(), evening.Add(time.Hour)))
	same(t, len(r.received()), 1)
	must(t, o.Pass(t.Context(), evening.Add(12*time.Hour)))
	calls := r.received()
	same(t, len(calls), 2)
	same(t, calls[1].header.Get("X-Sequence-Id"), calls[0].header.Get("X-Sequence-Id"))
}
