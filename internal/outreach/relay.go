package outreach

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"aftercare/internal/fleet"
)

// Records is where record rows come from. FinishAllOutbox ends some, DeadOutbox gives one up.
type Records interface {
	LeaseOutbox(ctx context.Context, kind fleet.OutboxKind, now time.Time, lease time.Duration, limit int) ([]fleet.OutboxRow, error)
	FinishAllOutbox(ctx context.Context, ids []string) error
	DeadOutbox(ctx context.Context, id, reason string) error
}

// Changes is the changes stream. Append returns when all notices are durable; one that was appended before is appended again
// and recognised by its id.
type Changes interface {
	Append(ctx context.Context, notices []fleet.Notice) error
}

// relayLease is how long rows stay ours; after a failed append that is also the wait before they are tried again.
const relayLease = 15 * time.Second

// Relay moves record rows from the outbox to the changes stream, at least once, in the order they were written as long as
// nothing fails.
type Relay struct {
	records Records
	changes Changes
	poll    time.Duration
	log     *slog.Logger
	wake    chan struct{}
}

// NewRelay returns a relay that looks for rows once per poll, and whenever it is woken.
func NewRelay(records Records, changes Changes, poll time.Duration, log *slog.Logger) *Relay {
	return &Relay{records: records, changes: changes, poll: poll, log: log, wake: make(chan struct{}, 1)}
}

// Wake makes Run look now. It never blocks.
func (r *Relay) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run relays until ctx ends and returns nil.
func (r *Relay) Run(ctx context.Context) error {
	tick := time.NewTicker(r.poll)
	defer tick.Stop()
	for ctx.Err() == nil {
		more, err := r.pass(ctx, time.Now())
		if err != nil && ctx.Err() == nil {
			r.log.Error("records not relayed", "error", err)
		}
		if more {
			continue
		}
		select {
		case <-ctx.Done():
		case <-r.wake:
		case <-tick.C:
		}
	}
	return nil
}

const relayBatch = 512

// pass relays one batch and reports whether there may be more.
func (r *Relay) pass(ctx context.Context, now time.Time) (bool, error) {
	rows, err := r.records.LeaseOutbox(ctx, fleet.OutboxRecord, now, relayLease, relayBatch)
	if err != nil || len(rows) == 0 {
		return false, err
	}
	notices := make([]fleet.Notice, 0, len(rows))
	done := make([]string, 0, len(rows))
	for _, row := range rows {
		var n fleet.Notice
		if err := json.Unmarshal(row.Body, &n); err != nil {
			r.log.Error("record row given up", "row", row.ID, "error", err)
			if err := r.records.DeadOutbox(ctx, row.ID, fmt.Sprintf("not a notice: %v", err)); err != nil {
				return false, err
			}
			continue
		}
		notices, done = append(notices, n), append(done, row.ID)
	}
	if len(notices) > 0 {
		if err := r.changes.Append(ctx, notices); err != nil {
			return false, fmt.Errorf("append %d notices to the changes stream: %w", len(notices), err)
		}
	}
	if err := r.records.FinishAllOutbox(ctx, done); err != nil {
		return false, err
	}
	return len(rows) == relayBatch, nil
}
