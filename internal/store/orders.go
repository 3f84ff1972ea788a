package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/uptrace/bun"

	"aftercare/internal/fleet"
)

type orderRow struct {
	bun.BaseModel `bun:"table:orders"`
	Tenant        string `bun:"tenant,pk"`
	ID            string `bun:"id,pk"`
	Version       int64  `bun:"version"`
	CaseID        string `bun:"case_id"`
	Serial        string `bun:"serial"`
	PartnerID     string `bun:"partner_id"`
	State         string `bun:"state"`
	CreatedAt     int64  `bun:"created_at"`
	UpdatedAt     int64  `bun:"updated_at"`
	Work          string `bun:"work"` // JSON of the whole order; the columns are what is looked for
}

func (r *orderRow) order() (fleet.Order, error) {
	var o fleet.Order
	if err := json.Unmarshal([]byte(r.Work), &o); err != nil {
		return o, fmt.Errorf("work order %q: %w", r.ID, err)
	}
	o.Version = r.Version
	return o, nil
}

// Order returns one work order; one that does not exist in the tenant is CodeNotFound.
func (s *Store) Order(ctx context.Context, tenant, id string) (*fleet.Order, error) {
	var row orderRow
	err := s.r.NewSelect().Model(&row).Where("tenant = ? AND id = ?", tenant, id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fleet.Errorf(fleet.CodeNotFound, "there is no work order %q", id)
	}
	if err != nil {
		return nil, fmt.Errorf("work order %q: %w", id, err)
	}
	o, err := row.order()
	return &o, err
}

// Orders returns the work orders that a filter selects, newest first.
func (s *Store) Orders(ctx context.Context, f fleet.OrderFilter) ([]fleet.Order, error) {
	var rows []orderRow
	q := s.r.NewSelect().Model(&rows).Where("tenant = ?", f.Tenant).OrderExpr("created_at DESC, id").Limit(limitOr(f.Limit))
	if f.CaseID != "" {
		q = q.Where("case_id = ?", f.CaseID)
	}
	if f.PartnerID != "" {
		q = q.Where("partner_id = ?", f.PartnerID)
	}
	if len(f.States) > 0 {
		q = q.Where("state IN (?)", bun.List(f.States))
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("work orders of %q: %w", f.Tenant, err)
	}
	out := make([]fleet.Order, 0, len(rows))
	for i := range rows {
		o, err := rows[i].order()
		if err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

// CommitOrder writes a decision about a work order with what follows from it in one transaction. The order's new version is Expected+1
// whatever it says itself. CodeConflict and nothing is written when it is not at version Expected any more, or when another order
// of the case is open.
func (s *Store) CommitOrder(ctx context.Context, ch fleet.OrderChange) error {
	o := ch.Order
	o.Version = ch.Expected + 1
	work, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encode work order %q: %w", o.ID, err)
	}
	row := orderRow{Tenant: o.Tenant, ID: o.ID, Version: o.Version, CaseID: o.CaseID, Serial: o.Device.Serial, PartnerID: o.PartnerID,
		State: string(o.State), CreatedAt: toMS(o.CreatedAt), UpdatedAt: toMS(o.UpdatedAt), Work: string(work)}
	return s.write(ctx, fmt.Sprintf("commit work order %q", o.ID), func(tx bun.Tx) error {
		var res sql.Result
		var err error
		if ch.Expected == 0 {
			res, err = tx.NewInsert().Model(&row).On("CONFLICT DO NOTHING").Exec(ctx)
		} else {
			res, err = tx.NewUpdate().Model(&row).WherePK().Where("version = ?", ch.Expected).Exec(ctx)
		}
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			if err != nil {
				return err
			}
			return fleet.Errorf(fleet.CodeConflict, "work order %q is not at version %d any more, or the case has another one", o.ID, ch.Expected)
		}
		return addOutbox(ctx, tx, ch.Outbox, row.Version*chunk)
	})
}
