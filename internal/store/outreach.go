package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"aftercare/internal/fleet"
)

// stateMerged is the state of a delivery that went along with another one.
const stateMerged = "merged"

// HoldOutbox puts a row off that a stage of the sending decision holds, with what each stage said. Its body is the row's, its time
// row.DueAt. A row that is done or dead stays as it is, and nothing is written.
func (s *Store) HoldOutbox(ctx context.Context, row fleet.OutboxRow, d fleet.Delivery, follow []fleet.OutboxRow) error {
	return s.write(ctx, fmt.Sprintf("hold outbox row %q", row.ID), func(tx bun.Tx) error {
		res, err := tx.Tx.ExecContext(ctx, "UPDATE outbox SET state = 'pending', due_at = ?, lease_until = 0, last_err = ?, body = ? WHERE id = ? AND "+stateLive,
			toMS(row.DueAt), fleet.HeldMark+d.Reason, string(row.Body), row.ID)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, knownOutbox(ctx, tx, row.ID))
		}
		if err := saveDelivery(ctx, tx, row.Tenant, row.ID, d); err != nil {
			return err
		}
		return addOutbox(ctx, tx, follow, 0)
	})
}

// HurryOutbox makes pending rows due at the latest then. Those that are leased, done or dead stay as they are.
func (s *Store) HurryOutbox(ctx context.Context, ids []string, due time.Time) error {
	return s.write(ctx, "hurry outbox rows", func(tx bun.Tx) error {
		_, err := tx.NewUpdate().Model((*outboxRow)(nil)).Set("due_at = ?", toMS(due)).
			Where("id IN (?)", bun.List(ids)).Where("state = ? AND due_at > ?", statePending, toMS(due)).Exec(ctx)
		return err
	})
}

// ClaimOutbox takes those of the rows that nobody works on, as LeaseOutbox does, and returns their ids: the rows that go along with
// another one. Their bodies become those given, which say with which.
func (s *Store) ClaimOutbox(ctx context.Context, rows []fleet.OutboxRow, now time.Time, lease time.Duration) ([]string, error) {
	var got []string
	err := s.write(ctx, "claim outbox rows", func(tx bun.Tx) error {
		got = nil
		for i := range rows {
			res, err := tx.Tx.ExecContext(ctx, "UPDATE outbox SET state = 'leased', lease_until = ?, body = ? WHERE id = ? AND "+stateLive+" AND lease_until <= ?",
				toMS(now.Add(lease)), string(rows[i].Body), rows[i].ID, toMS(now))
			if err != nil {
				return err
			}
			n, err := res.RowsAffected()
			if err != nil {
				return err
			}
			if n > 0 {
				got = append(got, rows[i].ID)
			}
		}
		return nil
	})
	return got, err
}

// OutboxTries returns how often each of the rows was tried that are neither done nor dead.
func (s *Store) OutboxTries(ctx context.Context, ids []string) (map[string]int, error) {
	var rows []struct {
		ID       string
		Attempts int
	}
	if err := s.r.NewRaw("SELECT id, attempts FROM outbox WHERE id IN (?) AND "+stateLive, bun.List(ids)).Scan(ctx, &rows); err != nil {
		return nil, fmt.Errorf("tries of outbox rows: %w", err)
	}
	out := make(map[string]int, len(rows))
	for _, r := range rows {
		out[r.ID] = r.Attempts
	}
	return out, nil
}

// UnderWay returns until when somebody is sending a message of a case to a person on a channel, other than news of an end; zero: nobody is.
func (s *Store) UnderWay(ctx context.Context, tenant, caseID, personID, channel string, now time.Time) (time.Time, error) {
	const which = "tenant = ? AND person_id = ? AND state IN ('pending', 'leased') AND state = 'leased' AND kind = 'message' AND channel = ? AND case_id = ?" +
		" AND lease_until > ? AND topic NOT IN (?, ?, ?, ?)"
	var until int64
	err := s.r.DB.QueryRowContext(ctx, "SELECT COALESCE(MAX(lease_until), 0) FROM outbox WHERE "+which, tenant, personID, channel, caseID, toMS(now),
		fleet.EventCleared, fleet.EventConfirmedFixed, fleet.EventReview, fleet.EventIncidentFixed).Scan(&until)
	if err != nil {
		return time.Time{}, fmt.Errorf("messages under way to %q: %w", personID, err)
	}
	return fromMS(until), nil
}

// Waiting returns the rows of messages to a person on a channel that were put off, first those that nobody works on, then those that
// are leased.
func (s *Store) Waiting(ctx context.Context, tenant, personID, channel string, now time.Time) (free, leased []fleet.OutboxRow, err error) {
	// Most people wait for nothing: that is asked with a statement that is kept.
	const which = "tenant = ? AND person_id = ? AND state IN ('pending', 'leased') AND kind = 'message' AND channel = ? AND last_err <> ''"
	var n int
	err = s.r.DB.QueryRowContext(ctx, "SELECT COUNT(*) FROM outbox WHERE "+which, tenant, personID, channel).Scan(&n)
	var rows []outboxRow
	if err == nil && n > 0 {
		err = s.r.NewSelect().Model(&rows).Where(which, tenant, personID, channel).OrderExpr("due_at, ord, id").Limit(limitOr(0)).Scan(ctx)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("messages that wait for %q: %w", personID, err)
	}
	for i := range rows {
		if rows[i].LeaseUntil > toMS(now) {
			leased = append(leased, rows[i].row())
		} else {
			free = append(free, rows[i].row())
		}
	}
	return free, leased, nil
}

// DeliverWith is Deliver of a message that took others along: their rows end in the same transaction, each as its delivery says. One
// that was ended before stays as it was.
func (s *Store) DeliverWith(ctx context.Context, id string, d fleet.Delivery, along []fleet.Delivery, follow []fleet.OutboxRow) error {
	return s.write(ctx, fmt.Sprintf("deliver outbox row %q and %d more", id, len(along)), func(tx bun.Tx) error {
		for i, d := range append([]fleet.Delivery{d}, along...) {
			tenant, live, err := endRow(ctx, tx, d.OutboxID, stateDone, d.Reason, d.Attempts)
			if err != nil || !live && i == 0 {
				return err
			}
			if live {
				err = saveDelivery(ctx, tx, tenant, d.OutboxID, d)
			}
			if err != nil {
				return err
			}
		}
		return addOutbox(ctx, tx, follow, 0)
	})
}

// Contacts returns when a household was written to after since, by message.
func (s *Store) Contacts(ctx context.Context, tenant, household string, since time.Time) (map[string]time.Time, error) {
	out, err := s.contacts(ctx, tenant, household, since)
	if err != nil {
		return nil, fmt.Errorf("contacts of household %q: %w", household, err)
	}
	return out, nil
}

func (s *Store) contacts(ctx context.Context, tenant, household string, since time.Time) (out map[string]time.Time, err error) {
	rows, err := s.r.DB.QueryContext(ctx, "SELECT id, at FROM contacts WHERE tenant = ? AND household = ? AND at > ?", tenant, household, toMS(since))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	out = map[string]time.Time{}
	for rows.Next() {
		var id string
		var at int64
		if err := rows.Scan(&id, &at); err != nil {
			return nil, err
		}
		out[id] = fromMS(at)
	}
	return out, rows.Err()
}

// TakeContact takes a place in a household's contact budget for a message, if fewer than day places were taken in the 24 hours before
// at and fewer than week in the seven days; 0: without a limit. A message that has its place keeps it. The answer is whether it has
// one. Of two calls at once for the last place one gets it: asking and taking is one statement, and there is one writer.
func (s *Store) TakeContact(ctx context.Context, tenant, household, id string, at time.Time, day, week int) (bool, error) {
	const since = "(SELECT COUNT(*) FROM contacts WHERE tenant = ? AND household = ? AND at > ?)"
	var has bool
	err := s.write(ctx, fmt.Sprintf("contact with household %q", household), func(tx bun.Tx) error {
		res, err := tx.Tx.ExecContext(ctx, "INSERT INTO contacts (tenant, id, household, at) SELECT ?, ?, ?, ? WHERE (? = 0 OR "+since+" < ?) AND (? = 0 OR "+since+
			" < ?) ON CONFLICT (tenant, id) DO NOTHING", tenant, id, household, toMS(at),
			day, tenant, household, toMS(at.Add(-24*time.Hour)), day, week, tenant, household, toMS(at.Add(-7*24*time.Hour)), week)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if has = n > 0; has || err != nil {
			return err
		}
		return tx.Tx.QueryRowContext(ctx, "SELECT COUNT(*) > 0 FROM contacts WHERE tenant = ? AND id = ?", tenant, id).Scan(&has)
	})
	return has && err == nil, err
}

// ReleaseContact gives back the place of a message that reached nobody: none of the rows, which are all it has on channels,
// was sent by itself. What went along with another one used that one's place.
func (s *Store) ReleaseContact(ctx context.Context, tenant, id string, rows []string) error {
	return s.write(ctx, fmt.Sprintf("release contact %q", id), func(tx bun.Tx) error {
		_, err := tx.NewRaw(`DELETE FROM contacts WHERE tenant = ? AND id = ? AND NOT EXISTS
			(SELECT 1 FROM deliveries WHERE tenant = ? AND outbox_id IN (?) AND state = 'sent')`, tenant, id, tenant, bun.List(rows)).Exec(ctx)
		return err
	})
}

// MarkDelivery notes how far a message came: "delivered", "opened", or a verdict, which is both and acted. The first time counts. What went
// along with it came as far. A message that there is not is CodeNotFound.
func (s *Store) MarkDelivery(ctx context.Context, tenant, outboxID, what string, at time.Time) error {
	marks := map[string][]string{"delivered": {"delivered_at"}, "opened": {"delivered_at", "opened_at"}}[what]
	if slices.Contains(fleet.Verdicts(), fleet.Verdict(what)) {
		marks = []string{"delivered_at", "opened_at", "acted_at"}
	}
	if marks == nil {
		return fleet.Errorf(fleet.CodeInvalid, "a message is delivered, opened or answered, not %q", what)
	}
	return s.write(ctx, fmt.Sprintf("mark message %q as %s", outboxID, what), func(tx bun.Tx) error {
		return markDelivery(ctx, tx, tenant, outboxID, what, marks, at)
	})
}

func markDelivery(ctx context.Context, tx bun.Tx, tenant, id, what string, marks []string, at time.Time) error {
	mark := func(which string, args ...any) *bun.UpdateQuery {
		q := tx.NewUpdate().Model((*deliveryRow)(nil)).Where(which, args...)
		for _, m := range marks {
			q = q.Set("? = CASE WHEN ? = 0 THEN ? ELSE ? END", bun.Ident(m), bun.Ident(m), toMS(at), bun.Ident(m))
		}
		if slices.Contains(marks, "acted_at") {
			q = q.Set("acted = ?", what)
		}
		return q
	}
	var persons []string
	if _, err := mark(itself, tenant, id).Returning("person_id").Exec(ctx, &persons); err != nil {
		return err
	}
	if len(persons) > 0 {
		_, err := mark(alongside, tenant, persons[0], stateMerged, "with "+id).Exec(ctx)
		return err
	}
	// The page of a message has the message's id, which need not be that of one of its deliveries.
	has, err := tx.NewSelect().Model((*inboxRow)(nil)).Where("tenant = ? AND id = ?", tenant, id).Exists(ctx)
	if err == nil && !has {
		return fleet.Errorf(fleet.CodeNotFound, "there is no message %q", id)
	}
	return err
}

// Which deliveries a receipt is about, and those about an incident or a work order; children of an incident. Indexes lead to each:
// SQLite takes one that leaves out what is empty only for a question that says so too.
const (
	itself     = "tenant = ? AND outbox_id = ?"
	alongside  = "tenant = ? AND person_id = ? AND state = ? AND reason = ?"
	byRef      = "tenant = ? AND ref = ? AND ref <> ''"
	ofIncident = "tenant = ? AND incident_id = ? AND incident_id <> ''"
)

// RefDeliveries returns what became of the messages about an incident or a work order, oldest first.
func (s *Store) RefDeliveries(ctx context.Context, tenant, ref string) ([]fleet.Delivery, error) {
	if ref == "" {
		return nil, errors.New("deliveries by reference: there is none")
	}
	return s.deliveries(ctx, "at, outbox_id", 1000, byRef, tenant, ref)
}
