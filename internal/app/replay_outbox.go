package app

import (
	"container/heap"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/store"
)

// replayOutbox is the store as cases and outreach see it. It knows when the next message or timer is due, so that nobody asks in vain
// two thousand times a simulated day, and writes down what became of each.
type replayOutbox struct {
	*store.Store
	to     io.Writer
	report *ReplayReport
	times  dueTimes // of messages
	timers dueTimes
	err    error // of writing
}

// ReplayMessage is what became of one message to an owner, a line of a replay's messages.
type ReplayMessage struct {
	At       time.Time      `json:"at"`
	Device   string         `json:"device"`
	Model    string         `json:"model"`
	Problem  string         `json:"problem"`
	Kind     fleet.Kind     `json:"kind"`
	Severity fleet.Severity `json:"severity"`
	Channel  string         `json:"channel"`
	State    string         `json:"state"` // sent, held, skipped, merged, dead
	Detail   string         `json:"detail"`
	Case     string         `json:"case"`
	Person   string         `json:"person"`
	Title    string         `json:"title,omitempty"`
	Body     string         `json:"body,omitempty"`
}

// Commit is the store's; what it puts into the outbox is noted.
func (b *replayOutbox) Commit(ctx context.Context, changes ...fleet.Change) error {
	for i := range changes {
		b.note(changes[i].Outbox)
	}
	return b.Store.Commit(ctx, changes...)
}

// Deliver is the store's; what became of the message is written down.
func (b *replayOutbox) Deliver(ctx context.Context, id string, inbox *fleet.Message, d fleet.Delivery, follow []fleet.OutboxRow) error {
	b.note(follow)
	if err := b.Store.Deliver(ctx, id, inbox, d, follow); err != nil {
		return err
	}
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
	b.note([]fleet.OutboxRow{row})
	if err := b.Store.HoldOutbox(ctx, row, d, follow); err != nil {
		return err
	}
	b.write(nil, d, follow)
	return nil
}

// AddOutbox is the store's; when the rows are due is noted.
func (b *replayOutbox) AddOutbox(ctx context.Context, rows []fleet.OutboxRow) error {
	b.note(rows)
	return b.Store.AddOutbox(ctx, rows)
}

// HurryOutbox is the store's; when the rows are due is noted.
func (b *replayOutbox) HurryOutbox(ctx context.Context, ids []string, due time.Time) error {
	heap.Push(&b.times, due)
	return b.Store.HurryOutbox(ctx, ids, due)
}

// DeliverWith is the store's; what became of the messages is written down.
func (b *replayOutbox) DeliverWith(ctx context.Context, id string, d fleet.Delivery, along []fleet.Delivery, follow []fleet.OutboxRow) error {
	b.note(follow)
	if err := b.Store.DeliverWith(ctx, id, d, along, follow); err != nil {
		return err
	}
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
		switch rows[i].Kind {
		case fleet.OutboxMessage, fleet.OutboxNotify:
			heap.Push(&b.times, rows[i].DueAt)
		case fleet.OutboxTimer:
			heap.Push(&b.timers, rows[i].DueAt)
		}
	}
}

// write notes the fate of a message. What it is about stands in the record for the changes stream that follows it.
func (b *replayOutbox) write(inbox *fleet.Message, d fleet.Delivery, follow []fleet.OutboxRow) {
	m := ReplayMessage{At: d.At, Channel: d.Channel, State: d.State, Case: d.CaseID, Person: d.PersonID}
	for i := range follow {
		var n fleet.Notice
		if follow[i].Kind != fleet.OutboxRecord || json.Unmarshal(follow[i].Body, &n) != nil {
			continue
		}
		m.Device, m.Model, m.Problem, m.Kind, m.Severity, m.Detail = n.Device.Serial, n.Model, n.Problem, n.Kind, n.Severity, n.Detail
	}
	if inbox != nil {
		m.Title, m.Body = inbox.Title, inbox.Body
	}
	b.report.told(m.Channel, m.State)
	if b.to == nil || b.err != nil {
		return
	}
	line, err := json.Marshal(m)
	if err == nil {
		_, err = fmt.Fprintf(b.to, "%s\n", line)
	}
	if err != nil {
		b.err = fmt.Errorf("write messages: %w", err)
	}
}

// replayPhone is a channel that rings, as far as outreach knows, and reaches nobody.
type replayPhone struct{}

// Name is that of the channel whose quiet hours count.
func (replayPhone) Name() string { return "ntfy" }

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
