package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"aftercare/internal/fleet"
)

// takenOver is the error of a row whose lease ended and that nobody had put off before.
const takenOver = "its lease ended without a result"

// LeaseOutbox takes up to limit rows of a kind that are due at now, oldest first, and keeps them from everybody else until
// now+lease. A row that is neither finished, delivered nor put off by then is due again: whoever leased it may have
// died, so what is done with it must bear being done twice. A lease is no try: Attempts stays as it is, and a row that comes
// back like this without an error says so in LastErr, because it may have been sent.
func (s *Store) LeaseOutbox(ctx context.Context, kind fleet.OutboxKind, now time.Time, lease time.Duration,
	limit int) ([]fleet.OutboxRow, error) {
	due := "kind = ? AND state IN ('pending', 'leased') AND due_at <= ? AND lease_until <= ?"
	args := []any{string(kind), toMS(now), toMS(now)}
	// Most polls find nothing: ask a reader before taking the writer's turn.
	found, err := s.r.NewSelect().Model((*outboxRow)(nil)).Where(due, args...).Exists(ctx)
	if err != nil {
		return nil, fmt.Errorf("lease outbox rows of kind %q: %w", kind, err)
	}
	if !found {
		return nil, nil
	}
	var rows []outboxRow
	err = s.write(ctx, fmt.Sprintf("lease outbox rows of kind %q", kind), func(tx bun.Tx) error {
		ids := tx.NewSelect().Model((*outboxRow)(nil)).Column("id").Where(due, args...).
			OrderExpr("due_at, ord, id").Limit(limitOr(limit))
		// The condition is repeated outside, so that of two servers that chose the same row only one gets it.
		_, err := tx.NewUpdate().Model(&rows).Set("state = ?", stateLeased).Set("lease_until = ?", toMS(now.Add(lease))).
			Set("last_err = CASE WHEN state = ? AND last_err = '' THEN ? ELSE last_err END", stateLeased, takenOver).
			Where("id IN (?)", ids).Where(due, args...).Returning("*").Exec(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(rows, func(a, b outboxRow) int {
		return cmpOr(a.DueAt-b.DueAt, a.Ord-b.Ord)
	})
	out := make([]fleet.OutboxRow, len(rows))
	for i := range rows {
		out[i] = rows[i].row()
	}
	return out, nil
}

func cmpOr(ds ...int64) int {
	for _, d := range ds {
		if d != 0 {
			return int(max(min(d, 1), -1))
		}
	}
	return 0
}

// FinishOutbox marks a row as done; reason says why nothing was sent, if that is so. A row that is done already stays as
// it is. An unknown id is CodeNotFound; so it is with the methods below that take one.
func (s *Store) FinishOutbox(ctx context.Context, id, reason string) error {
	return s.endOutbox(ctx, "finish", id, stateDone, reason)
}

// DeadOutbox gives a row up: it is shown in DeadLetters with the reason.
func (s *Store) DeadOutbox(ctx context.Context, id, reason string) error {
	return s.endOutbox(ctx, "give up", id, stateDead, reason)
}

func (s *Store) endOutbox(ctx context.Context, verb, id, state, reason string) error {
	return s.write(ctx, fmt.Sprintf("%s outbox row %q", verb, id), func(tx bun.Tx) error {
		row, err := liveOutbox(ctx, tx, id)
		if err != nil || row == nil {
			return err
		}
		return setOutboxState(ctx, tx, id, state, reason, row.Attempts)
	})
}

// RetryOutbox puts a row off until due after a try, which it counts; errText says why the try failed. A row that is done or
// dead stays as it is.
func (s *Store) RetryOutbox(ctx context.Context, id string, due time.Time, errText string) error {
	return s.putOff(ctx, id, due, errText, 1)
}

// PutOffOutbox puts a row that was not tried off until due; like RetryOutbox, but no try is counted.
func (s *Store) PutOffOutbox(ctx context.Context, id string, due time.Time, reason string) error {
	return s.putOff(ctx, id, due, reason, 0)
}

func (s *Store) putOff(ctx context.Context, id string, due time.Time, errText string, tries int) error {
	return s.write(ctx, fmt.Sprintf("put off outbox row %q", id), func(tx bun.Tx) error {
		row, err := liveOutbox(ctx, tx, id)
		if err != nil || row == nil {
			return err
		}
		_, err = tx.NewUpdate().Model((*outboxRow)(nil)).Set("state = ?", statePending).Set("due_at = ?", toMS(due)).
			Set("lease_until = 0").Set("last_err = ?", errText).Set("attempts = attempts + ?", tries).Where("id = ?", id).Exec(ctx)
		return err
	})
}

// AddOutbox adds rows; those that exist already are left as they are.
func (s *Store) AddOutbox(ctx context.Context, rows []fleet.OutboxRow) error {
	return s.write(ctx, fmt.Sprintf("add %d outbox rows", len(rows)), func(tx bun.Tx) error {
		return addOutbox(ctx, tx, rows, 0)
	})
}

// Deliver ends a message row in one transaction: it keeps the message for the person's inbox (nil for channels outside),
// what became of it, and the rows that follow from it (a record for the changes stream, rows of single channels). The
// outbox row is dead when the delivery's state is "dead", else done. Its attempts, the last one
// included, become the row's. A delivery without a state is not kept. When the row was ended before, by whoever leased it
// meanwhile, nothing is written at all.
func (s *Store) Deliver(ctx context.Context, id string, m *fleet.Message, d fleet.Delivery, follow []fleet.OutboxRow) error {
	return s.write(ctx, fmt.Sprintf("deliver outbox row %q", id), func(tx bun.Tx) error {
		row, err := liveOutbox(ctx, tx, id)
		if err != nil || row == nil {
			return err
		}
		if m != nil {
			if err := saveInbox(ctx, tx, m); err != nil {
				return err
			}
		}
		if err := saveDelivery(ctx, tx, row.Tenant, id, d); err != nil {
			return err
		}
		if err := addOutbox(ctx, tx, follow, 0); err != nil {
			return err
		}
		state := stateDone
		if d.State == stateDead {
			state = stateDead
		}
		attempts := row.Attempts
		if d.State != "" {
			attempts = d.Attempts
		}
		return setOutboxState(ctx, tx, id, state, d.Reason, attempts)
	})
}

// SaveInbox keeps a message for its person; one with the same id is left as it is.
func (s *Store) SaveInbox(ctx context.Context, m fleet.Message) error {
	return s.write(ctx, fmt.Sprintf("save message %q", m.ID), func(tx bun.Tx) error { return saveInbox(ctx, tx, &m) })
}

// liveOutbox returns the row, nil if it is done or dead.
func liveOutbox(ctx context.Context, tx bun.Tx, id string) (*outboxRow, error) {
	var row outboxRow
	err := tx.NewSelect().Model(&row).Where("id = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fleet.Errorf(fleet.CodeNotFound, "there is no outbox row %q", id)
	}
	if err != nil || row.State == stateDone || row.State == stateDead {
		return nil, err
	}
	return &row, nil
}

func setOutboxState(ctx context.Context, tx bun.Tx, id, state, reason string, attempts int) error {
	_, err := tx.NewUpdate().Model((*outboxRow)(nil)).Set("state = ?", state).Set("reason = ?", reason).
		Set("lease_until = 0").Set("attempts = ?", attempts).Where("id = ?", id).Exec(ctx)
	return err
}

func saveInbox(ctx context.Context, tx bun.Tx, m *fleet.Message) error {
	row := messageToRow(m)
	if _, err := tx.NewInsert().Model(&row).On("CONFLICT (tenant, id) DO NOTHING").Exec(ctx); err != nil {
		return fmt.Errorf("inbox: %w", err)
	}
	return nil
}

func saveDelivery(ctx context.Context, tx bun.Tx, tenant, id string, d fleet.Delivery) error {
	if d.State == "" {
		return nil
	}
	row := deliveryToRow(tenant, id, &d)
	q := tx.NewInsert().Model(&row).On("CONFLICT (tenant, outbox_id) DO UPDATE")
	if _, err := setExcluded(q, []string{"state", "reason", "trace", "at", "attempts"}).Exec(ctx); err != nil {
		return fmt.Errorf("deliveries: %w", err)
	}
	return nil
}

// OutboxDepth counts the rows that are not done, by kind and state.
func (s *Store) OutboxDepth(ctx context.Context) ([]fleet.OutboxCount, error) {
	var rows []struct {
		Kind   string
		State  string
		N      int
		Oldest int64
	}
	err := s.r.NewRaw(`SELECT kind, state, COUNT(*) AS n, MIN(due_at) AS oldest FROM outbox WHERE state IN ('pending', 'leased')
		GROUP BY kind, state UNION ALL
		SELECT kind, state, COUNT(*) AS n, MIN(due_at) AS oldest FROM outbox WHERE state = 'dead' GROUP BY kind, state
		ORDER BY kind, state`).Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("outbox depth: %w", err)
	}
	out := make([]fleet.OutboxCount, len(rows))
	for i, r := range rows {
		out[i] = fleet.OutboxCount{Kind: fleet.OutboxKind(r.Kind), State: r.State, N: r.N, Oldest: fromMS(r.Oldest)}
	}
	return out, nil
}

// DeadLetters returns the rows of a tenant that were given up, newest first; LastErr is the reason.
func (s *Store) DeadLetters(ctx context.Context, tenant string, limit int) ([]fleet.OutboxRow, error) {
	var rows []outboxRow
	err := s.r.NewSelect().Model(&rows).Where("tenant = ? AND state = 'dead'", tenant).
		OrderExpr("due_at DESC, ord DESC, id").Limit(limitOr(limit)).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("dead letters of %q: %w", tenant, err)
	}
	out := make([]fleet.OutboxRow, len(rows))
	for i := range rows {
		out[i] = rows[i].row()
		if rows[i].Reason != "" {
			out[i].LastErr = rows[i].Reason
		}
	}
	return out, nil
}
