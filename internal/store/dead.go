package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"aftercare/internal/fleet"
)

type deadRow struct {
	outboxRow `bun:",extend"`
	Endpoint  string `bun:"endpoint"`
}

// DeadLetterList returns the rows of a tenant that were given up, the one that ended last first, each with why and to where.
func (s *Store) DeadLetterList(ctx context.Context, tenant string, limit int) ([]fleet.DeadLetter, error) {
	var rows []deadRow
	err := s.r.NewRaw(`SELECT outbox.*, COALESCE(deliveries.endpoint, '') AS endpoint FROM outbox
		LEFT JOIN deliveries ON deliveries.tenant = outbox.tenant AND deliveries.outbox_id = outbox.id
		WHERE outbox.tenant = ? AND outbox.state = 'dead' ORDER BY outbox.done_at DESC, outbox.id LIMIT ?`, tenant, limitOr(limit)).Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("dead letters of %q: %w", tenant, err)
	}
	out := make([]fleet.DeadLetter, len(rows))
	for i := range rows {
		r := &rows[i]
		out[i] = fleet.DeadLetter{Row: r.row(), Endpoint: r.Endpoint, Reason: r.Reason, At: fromMS(r.DoneAt)}
		if r.Reason == "" {
			out[i].Reason = r.LastErr
		}
	}
	return out, nil
}

// RetryDead makes a row that was given up due at the given time, with all its tries before it. It keeps its id, which is the key by which a
// receiver knows it again. What became of it before stays among the deliveries, under the id with "~" and a number, and says when it was
// tried again. One that does not exist in the tenant is CodeNotFound, one that is not dead is CodeConflict.
func (s *Store) RetryDead(ctx context.Context, tenant, id string, at time.Time) error {
	return s.write(ctx, fmt.Sprintf("retry dead letter %q", id), func(tx bun.Tx) error {
		var row outboxRow
		err := tx.NewRaw("SELECT * FROM outbox WHERE tenant = ? AND id = ?", tenant, id).Scan(ctx, &row)
		if errors.Is(err, sql.ErrNoRows) {
			return fleet.Errorf(fleet.CodeNotFound, "there is no message %q", id)
		}
		if err != nil {
			return err
		}
		if row.State != stateDead {
			return fleet.Errorf(fleet.CodeConflict, "message %q is not given up: it is %s", id, row.State)
		}
		if err := keepDeath(ctx, tx, tenant, id, at); err != nil {
			return err
		}
		_, err = tx.Tx.ExecContext(ctx, "UPDATE outbox SET state = 'pending', due_at = ?, body = ?, lease_until = 0, attempts = 0, reason = '', done_at = 0 WHERE id = ?",
			toMS(at), since(row.Body, at), id)
		return err
	})
}

// keepDeath moves the delivery that says why a row was given up out of the way of the one that is to come.
func keepDeath(ctx context.Context, tx bun.Tx, tenant, id string, at time.Time) error {
	var before int
	err := tx.Tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM deliveries WHERE tenant = ? AND outbox_id > ? AND outbox_id < ?", tenant, id+"~", id+"~~").Scan(&before)
	if err != nil {
		return fmt.Errorf("deliveries: %w", err)
	}
	_, err = tx.Tx.ExecContext(ctx, "UPDATE deliveries SET outbox_id = ?, reason = reason || ? WHERE tenant = ? AND outbox_id = ?",
		fmt.Sprintf("%s~%d", id, before+1), "; tried again by hand at "+at.UTC().Format(time.RFC3339), tenant, id)
	if err != nil {
		return fmt.Errorf("deliveries: %w", err)
	}
	return nil
}

// since sets the time that the body of a channel's row counts its tries from; other bodies stay as they are.
func since(body string, at time.Time) string {
	var fields map[string]json.RawMessage
	if json.Unmarshal([]byte(body), &fields) != nil || fields["from"] == nil {
		return body
	}
	from, err := json.Marshal(at)
	if err != nil {
		return body
	}
	fields["from"] = from
	out, err := json.Marshal(fields)
	if err != nil {
		return body
	}
	return string(out)
}
