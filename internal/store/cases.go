package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/uptrace/bun"

	"aftercare/internal/fleet"
)

// LatestCase returns the case of a device's problem that is not resolved, else the one opened last, else nil.
func (s *Store) LatestCase(ctx context.Context, key fleet.DeviceKey, problem string) (*fleet.Case, error) {
	return s.oneCase(ctx, fmt.Sprintf("latest case of %q, problem %q", key, problem), "tenant = ? AND serial = ? AND problem = ?"+
		" ORDER BY CASE WHEN state NOT IN ('resolved', 'watching', 'closed') THEN 0 ELSE 1 END, opened_at DESC, id", key.Tenant, key.Serial, problem)
}

// Case returns one case; one that does not exist in the tenant is CodeNotFound.
func (s *Store) Case(ctx context.Context, tenant, id string) (*fleet.Case, error) {
	c, err := s.oneCase(ctx, fmt.Sprintf("case %q", id), "tenant = ? AND id = ?", tenant, id)
	if err == nil && c == nil {
		return nil, fleet.Errorf(fleet.CodeNotFound, "there is no case %q", id)
	}
	return c, err
}

// oneCase returns the first case of a condition and order, nil when there is none.
func (s *Store) oneCase(ctx context.Context, op, where string, args ...any) (*fleet.Case, error) {
	rows, err := s.r.DB.QueryContext(ctx, "SELECT * FROM cases WHERE "+where+" LIMIT 1", args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	defer rows.Close()
	var found []caseRow
	if err := errors.Join(s.r.ScanRows(ctx, rows, &found), rows.Err()); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if len(found) == 0 {
		return nil, nil //nolint:nilnil // "none" is an answer here
	}
	row := &found[0]
	c, err := row.fleetCase()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	return &c, nil
}

// Commit writes decisions, all of them in one transaction: the cases, what is said about them in their history, the work that
// follows, the messages that are taken back, answers, counts and files. A case's new version is Expected+1 whatever it says
// itself. CodeConflict and nothing is written when a case is not at version Expected any more (0: does not exist), or when
// another case of the same problem is open. Outbox rows that exist already are left as they are.
func (s *Store) Commit(ctx context.Context, changes ...fleet.Change) error {
	rows := make([]caseRow, len(changes))
	for i := range changes {
		changes[i].Case.Version = changes[i].Expected + 1
		var err error
		if rows[i], err = caseToRow(&changes[i].Case); err != nil {
			return err
		}
	}
	op := "commit nothing"
	if len(changes) > 0 {
		op = fmt.Sprintf("commit case %q", changes[0].Case.ID)
	}
	return s.write(ctx, op, func(tx bun.Tx) error {
		for i := range changes {
			if err := commitOne(ctx, tx, &rows[i], &changes[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func commitOne(ctx context.Context, tx bun.Tx, row *caseRow, ch *fleet.Change) error {
	if err := putCase(ctx, tx, row, ch.Expected); err != nil {
		return err
	}
	if err := addAudit(ctx, tx, row, ch.Audit); err != nil {
		return err
	}
	if err := withdraw(ctx, tx, ch); err != nil { // before the new rows: they may be about the same event
		return err
	}
	if err := addOutbox(ctx, tx, ch.Outbox, row.Version*chunk); err != nil {
		return err
	}
	if err := addAnswers(ctx, tx, ch.Answers); err != nil {
		return err
	}
	if err := addRecord(ctx, tx, ch.Record); err != nil {
		return err
	}
	return addFiles(ctx, tx, ch)
}

func putCase(ctx context.Context, tx bun.Tx, row *caseRow, expected int64) error {
	var n int64
	var err error
	if expected == 0 {
		n, err = insert(ctx, tx, "ON CONFLICT DO NOTHING", *row)
	} else {
		var res sql.Result
		if res, err = tx.NewUpdate().Model(row).WherePK().Where("version = ?", expected).Exec(ctx); err == nil {
			n, err = res.RowsAffected()
		}
	}
	if err != nil {
		return err
	}
	if n == 0 {
		return fleet.Errorf(fleet.CodeConflict, "case %q is not at version %d any more", row.ID, expected)
	}
	return nil
}

func addAudit(ctx context.Context, tx bun.Tx, c *caseRow, audit []fleet.Audit) error {
	if len(audit) == 0 {
		return nil
	}
	rows := make([]auditRow, len(audit))
	for i, a := range audit {
		rows[i] = auditRow{Tenant: c.Tenant, CaseID: c.ID, Version: c.Version, Position: i, At: toMS(a.At),
			Actor: a.Actor, Action: a.Action, Detail: a.Detail}
	}
	if _, err := insert(ctx, tx, "", rows...); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return nil
}

// addOutbox adds rows in their order, which first numbers among rows that are due in the same millisecond.
func addOutbox(ctx context.Context, tx bun.Tx, add []fleet.OutboxRow, first int64) error {
	if len(add) == 0 {
		return nil
	}
	rows := make([]outboxRow, len(add))
	for i := range add {
		rows[i] = outboxToRow(&add[i], first+int64(i))
	}
	if _, err := insert(ctx, tx, "ON CONFLICT (id) DO NOTHING", rows...); err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	return nil
}
