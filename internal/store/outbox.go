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

// takenOver is the error of a row whose lease ended and that nobody had put off after a try before.
const takenOver = "its lease ended without a result"

// LeaseOutbox takes up to limit rows of a kind that are due at now, oldest first, and keeps them from everybody else until
// now+lease. A row that is neither finished, delivered nor put off by then is due again: whoever leased it may have
// died, so what is done with it must bear being done twice. A lease is no try: Attempts stays as it is, and a row that comes
// back like this without an error, or with the mark of being held, says so in LastErr, because it may have been sent.
func (s *Store) LeaseOutbox(ctx context.Context, kind fleet.OutboxKind, now time.Time, lease time.Duration,
	limit int) ([]fleet.OutboxRow, error) {
	return s.lease(ctx, "kind = ?", string(kind), now, lease, limit)
}

// LeaseChannel is LeaseOutbox for the rows of one channel that are for people and partners; "" are those that are for none yet. What operators are told
// is leased by its kind.
func (s *Store) LeaseChannel(ctx context.Context, channel string, now time.Time, lease time.Duration, limit int) ([]fleet.OutboxRow, error) {
	return s.lease(ctx, toPeople+" AND channel = ?", channel, now, lease, limit)
}

// OutboxChannels returns the channels that messages, orders and operations wait for or are being sent on.
func (s *Store) OutboxChannels(ctx context.Context) ([]string, error) {
	var out []string
	err := s.r.NewRaw("SELECT DISTINCT channel FROM outbox WHERE "+kindSent+" AND "+stateLive+" ORDER BY channel").Scan(ctx, &out)
	if err != nil {
		return nil, fmt.Errorf("channels of outbox rows: %w", err)
	}
	return out, nil
}

// stateLive are the rows that are neither done nor dead, kindSent those that channels send. Indexes are on exactly these words.
// toPeople are those of them that operators are not told.
const (
	stateLive = "state IN ('pending', 'leased')"
	kindSent  = "kind IN ('message', 'notify', 'order')"
	toPeople  = kindSent + " AND kind <> 'notify'"
)

func (s *Store) lease(ctx context.Context, which, arg string, now time.Time, lease time.Duration, limit int) ([]fleet.OutboxRow, error) {
	op := fmt.Sprintf("lease outbox rows of %q", arg)
	due := which + " AND " + stateLive + " AND due_at <= ? AND lease_until <= ?"
	at := toMS(now)
	// Most polls find nothing: ask a reader before taking the writer's turn.
	var one int
	err := s.r.DB.QueryRowContext(ctx, "SELECT 1 FROM outbox WHERE "+due+" LIMIT 1", arg, at, at).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	query := leaseQuery(which)
	var rows []outboxRow
	err = s.write(ctx, op, func(tx bun.Tx) error {
		found, err := tx.Tx.QueryContext(ctx, query, toMS(now.Add(lease)), takenOver, arg, at, at, limitOr(limit), arg, at, at)
		if err != nil {
			return err
		}
		defer found.Close()
		return errors.Join(s.w.ScanRows(ctx, found, &rows), found.Err())
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(rows, func(a, b outboxRow) int {
		return cmpOr(a.DueAt-b.DueAt, a.Ord-b.Ord)
	})
	out := make([]fleet.OutboxRow, len(rows))
	for i := range rows {
		out[i] = rows[i].row()
	}
	return out, nil
}

// leaseQuery is the statement of a lease. The condition is repeated outside, so that of two servers that chose the same row only
// one gets it.
func leaseQuery(which string) string {
	due := which + " AND " + stateLive + " AND due_at <= ? AND lease_until <= ?"
	return "UPDATE outbox SET state = 'leased', lease_until = ?," +
		" last_err = CASE WHEN state = 'leased' AND (last_err = '' OR last_err LIKE 'held: %') THEN ? ELSE last_err END" +
		" WHERE id IN (SELECT id FROM outbox WHERE " + due + " ORDER BY due_at, ord LIMIT ?) AND " + due + " RETURNING *"
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
		_, _, err := endRow(ctx, tx, id, state, reason, keepAttempts)
		return err
	})
}

// FinishAllOutbox is FinishOutbox for many rows, without a reason. Ids that are not there are passed over.
func (s *Store) FinishAllOutbox(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	return s.write(ctx, fmt.Sprintf("finish %d outbox rows", len(ids)), func(tx bun.Tx) error {
		_, err := tx.NewRaw("UPDATE outbox SET state = 'done', lease_until = 0, done_at = ? WHERE id IN (?) AND "+stateLive,
			toMS(time.Now()), bun.List(ids)).Exec(ctx)
		return err
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
		res, err := tx.Tx.ExecContext(ctx, "UPDATE outbox SET state = 'pending', due_at = ?, lease_until = 0, last_err = ?, attempts = attempts + ? WHERE id = ? AND "+
			stateLive, toMS(due), errText, tries, id)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n > 0 {
			return err
		}
		return knownOutbox(ctx, tx, id)
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
		state, attempts := stateDone, keepAttempts
		if d.State == stateDead {
			state = stateDead
		}
		if d.State != "" {
			attempts = d.Attempts
		}
		tenant, live, err := endRow(ctx, tx, id, state, d.Reason, attempts)
		if err != nil || !live {
			return err
		}
		if m != nil {
			if err := saveInbox(ctx, tx, m); err != nil {
				return err
			}
		}
		if err := saveDelivery(ctx, tx, tenant, id, d); err != nil {
			return err
		}
		return addOutbox(ctx, tx, follow, 0)
	})
}

// SaveInbox keeps a message for its person; one with the same id is left as it is.
func (s *Store) SaveInbox(ctx context.Context, m fleet.Message) error {
	return s.write(ctx, fmt.Sprintf("save message %q", m.ID), func(tx bun.Tx) error { return saveInbox(ctx, tx, &m) })
}

// keepAttempts leaves a row's number of tries as it is.
const keepAttempts = -1

// endRow ends a row and returns its tenant. It does nothing and says so when the row is done or dead already.
func endRow(ctx context.Context, tx bun.Tx, id, state, reason string, attempts int) (tenant string, live bool, err error) {
	err = tx.Tx.QueryRowContext(ctx, "UPDATE outbox SET state = ?, reason = ?, lease_until = 0, done_at = ?, attempts = CASE WHEN ? < 0 THEN attempts ELSE ? END"+
		" WHERE id = ? AND "+stateLive+" RETURNING tenant", state, reason, toMS(time.Now()), attempts, attempts, id).Scan(&tenant)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, knownOutbox(ctx, tx, id)
	}
	return tenant, err == nil, err
}

// knownOutbox is CodeNotFound for a row that does not exist.
func knownOutbox(ctx context.Context, tx bun.Tx, id string) error {
	var one int
	err := tx.Tx.QueryRowContext(ctx, "SELECT 1 FROM outbox WHERE id = ?", id).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return fleet.Errorf(fleet.CodeNotFound, "there is no outbox row %q", id)
	}
	return err
}

func saveInbox(ctx context.Context, tx bun.Tx, m *fleet.Message) error {
	if _, err := insert(ctx, tx, "ON CONFLICT (tenant, id) DO NOTHING", messageToRow(m)); err != nil {
		return fmt.Errorf("inbox: %w", err)
	}
	return nil
}

func saveDelivery(ctx context.Context, tx bun.Tx, tenant, id string, d fleet.Delivery) error {
	if d.State == "" {
		return nil
	}
	const again = "ON CONFLICT (tenant, outbox_id) DO UPDATE SET state = EXCLUDED.state, reason = EXCLUDED.reason, trace = EXCLUDED.trace," +
		" at = EXCLUDED.at, attempts = EXCLUDED.attempts"
	if _, err := insert(ctx, tx, again, deliveryToRow(tenant, id, &d)); err != nil {
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
