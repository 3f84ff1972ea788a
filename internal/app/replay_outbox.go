package app

import (
	"container/heap"
	"context"
	"io"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/registry"
	"aftercare/internal/store"
)

// replayOutbox is the store as cases, incidents and outreach see it. It knows when the next message or timer is due, so that nobody asks in
// vain two thousand times a simulated day, and writes down what became of each.
type replayOutbox struct {
	*store.Store
	to       io.Writer
	report   *ReplayReport
	registry *registry.Registry
	tenant   string
	now      func() time.Time
	told     func(*ReplayMessage) // called with what rang
	times    dueTimes             // of messages
	timers   dueTimes
	asked    map[string]fleet.OutboxRow // messages that did not end yet, by id
	ended    map[string]bool
	changed  bool  // a case or an incident has, since it was set to false
	err      error // of writing
}

// Commit is the store's; what it puts into the outbox is noted, and what it takes back.
func (b *replayOutbox) Commit(ctx context.Context, changes ...fleet.Change) error {
	if err := b.Store.Commit(ctx, changes...); err != nil {
		return err
	}
	b.changed = true
	for i := range changes {
		b.note(changes[i].Outbox)
		if len(changes[i].Withdraw) > 0 {
			if err := b.withdrawn(ctx, &changes[i].Case); err != nil {
				return err
			}
		}
	}
	return nil
}

// CommitIncident is the store's; what it puts into the outbox is noted.
func (b *replayOutbox) CommitIncident(ctx context.Context, ch fleet.IncidentChange) error {
	if err := b.Store.CommitIncident(ctx, ch); err != nil {
		return err
	}
	b.changed = true
	b.note(ch.Outbox)
	return nil
}

// Deliver is the store's; what became of the message is written down.
func (b *replayOutbox) Deliver(ctx context.Context, id string, inbox *fleet.Message, d fleet.Delivery, follow []fleet.OutboxRow) error {
	if err := b.Store.Deliver(ctx, id, inbox, d, follow); err != nil {
		return err
	}
	b.note(follow)
	b.write(inbox, d, follow)
	return nil
}

// RetryOutbox is the store's; when the row is due again is noted.
func (b *replayOutbox) RetryOutbox(ctx context.Context, id string, due time.Time, errText string) error {
	heap.Push(&b.times, due)
	return b.Store.RetryOutbox(ctx, id, due, errText)
}

// PutOffOutbox is the store's; when the row is due again is noted.
func (b *replayOutbox) PutOffOutbox(ctx context.Context, id string, due time.Time, reason string) error {
	heap.Push(&b.times, due)
	heap.Push(&b.timers, due)
	return b.Store.PutOffOutbox(ctx, id, due, reason)
}

// HoldOutbox is the store's; when the row is due again is noted, and that it is held.
func (b *replayOutbox) HoldOutbox(ctx context.Context, row fleet.OutboxRow, d fleet.Delivery, follow []fleet.OutboxRow) error {
	heap.Push(&b.times, row.DueAt)
	if err := b.Store.HoldOutbox(ctx, row, d, follow); err != nil {
		return err
	}
	b.write(nil, d, follow)
	return nil
}

// AddOutbox is the store's; when the rows are due is noted.
func (b *replayOutbox) AddOutbox(ctx context.Context, rows []fleet.OutboxRow) error {
	if err := b.Store.AddOutbox(ctx, rows); err != nil {
		return err
	}
	b.note(rows)
	return nil
}

// HurryOutbox is the store's; when the rows are due is noted.
func (b *replayOutbox) HurryOutbox(ctx context.Context, ids []string, due time.Time) error {
	heap.Push(&b.times, due)
	return b.Store.HurryOutbox(ctx, ids, due)
}

// DeliverWith is the store's; what became of the messages is written down.
func (b *replayOutbox) DeliverWith(ctx context.Context, id string, d fleet.Delivery, along []fleet.Delivery, follow []fleet.OutboxRow) error {
	if err := b.Store.DeliverWith(ctx, id, d, along, follow); err != nil {
		return err
	}
	b.note(follow)
	for _, d := range append([]fleet.Delivery{d}, along...) {
		b.write(nil, d, recordOf(d, follow))
	}
	return nil
}

// recordOf is the record of one delivery among those of several.
func recordOf(d fleet.Delivery, follow []fleet.OutboxRow) []fleet.OutboxRow {
	want := fleet.ID("rec", fleet.ID("ntc", d.OutboxID, d.State))
	for i := range follow {
		if follow[i].ID == want {
			return follow[i : i+1]
		}
	}
	return nil
}

func (b *replayOutbox) note(rows []fleet.OutboxRow) {
	for i := range rows {
		switch r := &rows[i]; r.Kind {
		case fleet.OutboxMessage, fleet.OutboxNotify:
			heap.Push(&b.times, r.DueAt)
			if _, open := b.asked[r.ID]; r.Kind == fleet.OutboxMessage && !open && !b.ended[r.ID] {
				b.asked[r.ID] = *r
				m := b.about(r)
				m.At, m.State, m.Due = b.now(), "asked", r.DueAt
				b.print(&m)
			}
		case fleet.OutboxTimer:
			heap.Push(&b.timers, r.DueAt)
		}
	}
}

// replayPhone is a channel that rings, as far as outreach knows, and reaches nobody.
type replayPhone string

// Name is that of a channel whose quiet hours count.
func (p replayPhone) Name() string { return string(p) }

// Send does nothing: the outbox writes down what became of the message.
func (replayPhone) Send(context.Context, fleet.Message, fleet.Endpoint) error { return nil }

// dueTimes is a heap of moments.
type dueTimes []time.Time

// due reports whether one has come, and forgets those that have.
func (h *dueTimes) due(now time.Time) (one bool) {
	for len(*h) > 0 && !(*h)[0].After(now) {
		heap.Pop(h)
		one = true
	}
	return one
}

func (h dueTimes) Len() int           { return len(h) }
func (h dueTimes) Less(i, j int) bool { return h[i].Before(h[j]) }
func (h dueTimes) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *dueTimes) Push(x any)        { *h = append(*h, x.(time.Time)) }
func (h *dueTimes) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
