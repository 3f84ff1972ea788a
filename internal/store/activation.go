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

type activationRow struct {
	bun.BaseModel `bun:"table:activations"`
	N             int64  `bun:"n,pk"`
	At            int64  `bun:"at"`
	By            string `bun:"by_whom"`
	Set           string `bun:"set_hash"`
	Packs         string `bun:"packs"`
	Sent          bool   `bun:"sent"`
}

// ActiveRules returns the rule packs that were activated last; false when none ever were.
func (s *Store) ActiveRules(ctx context.Context) (fleet.RuleActivation, bool, error) {
	var r activationRow
	err := s.r.NewSelect().Model(&r).OrderExpr("n DESC").Limit(1).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return fleet.RuleActivation{}, false, nil
	}
	a := fleet.RuleActivation{N: r.N, At: fromMS(r.At), By: r.By, Set: r.Set, Sent: r.Sent}
	if err == nil {
		err = json.Unmarshal([]byte(r.Packs), &a.Packs)
	}
	if err != nil {
		return fleet.RuleActivation{}, false, fmt.Errorf("look up the active rules: %w", err)
	}
	return a, true, nil
}

// ActivateRules makes a the newest activation, not sent yet. Its N is that of the one it replaces (0: there is none) plus one; if
// somebody else was first that is CodeConflict.
func (s *Store) ActivateRules(ctx context.Context, a fleet.RuleActivation) error {
	packs, err := json.Marshal(a.Packs)
	if err != nil {
		return fmt.Errorf("encode rule packs: %w", err)
	}
	return s.write(ctx, fmt.Sprintf("activate rules %s", a.Set), func(tx bun.Tx) error {
		row := activationRow{N: a.N, At: toMS(a.At), By: a.By, Set: a.Set, Packs: string(packs)}
		_, err := tx.NewInsert().Model(&row).Exec(ctx)
		return err
	})
}

// MarkRulesSent says that every partition of the journal has the activation.
func (s *Store) MarkRulesSent(ctx context.Context, n int64) error {
	return s.write(ctx, "mark an activation as sent", func(tx bun.Tx) error {
		_, err := tx.NewUpdate().Model((*activationRow)(nil)).Set("sent = ?", true).Where("n = ?", n).Exec(ctx)
		return err
	})
}
