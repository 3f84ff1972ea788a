package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/uptrace/bun"

	"aftercare/internal/fleet"
)

type partnerRow struct {
	bun.BaseModel `bun:"table:partners"`
	Tenant        string `bun:"tenant,pk"`
	ID            string `bun:"id,pk"`
	Name          string `bun:"name"`
	Partner       string `bun:"partner"` // JSON
	Rev           int64  `bun:"rev"`
}

// partnerJSON is what there is of a partner besides the columns; the secret in clear, which fleet.Secret would not write.
type partnerJSON struct {
	Locale     string   `json:"locale,omitempty"`
	Zone       string   `json:"zone,omitempty"`
	Email      string   `json:"email,omitempty"`
	Webhook    string   `json:"webhook,omitempty"`
	Secret     string   `json:"secret,omitempty"`
	Regions    []string `json:"regions,omitempty"`
	Categories []string `json:"categories,omitempty"`
	Models     []string `json:"models,omitempty"`
	Paused     bool     `json:"paused,omitempty"`
}

func (r *partnerRow) partner() (fleet.Partner, error) {
	var j partnerJSON
	if err := json.Unmarshal([]byte(r.Partner), &j); err != nil {
		return fleet.Partner{}, fmt.Errorf("partner %q: %w", r.Tenant+"/"+r.ID, err)
	}
	return fleet.Partner{ID: r.ID, Tenant: r.Tenant, Name: r.Name, Locale: j.Locale, Zone: j.Zone, Email: j.Email, Webhook: j.Webhook,
		Secret: fleet.Secret(j.Secret), Regions: j.Regions, Categories: j.Categories, Models: j.Models, Paused: j.Paused}, nil
}

// SavePartner makes or replaces a partner.
func (s *Store) SavePartner(ctx context.Context, p fleet.Partner, events ...fleet.SecurityEvent) error {
	text, err := json.Marshal(partnerJSON{Locale: p.Locale, Zone: p.Zone, Email: p.Email, Webhook: p.Webhook, Secret: string(p.Secret),
		Regions: p.Regions, Categories: p.Categories, Models: p.Models, Paused: p.Paused})
	if err != nil {
		return fmt.Errorf("partner %q: %w", p.ID, err)
	}
	return s.write(ctx, fmt.Sprintf("save partner %q", p.ID), func(tx bun.Tx) error {
		row := partnerRow{Tenant: p.Tenant, ID: p.ID, Name: p.Name, Partner: string(text)}
		if err := tx.NewRaw("UPDATE revisions SET value = value + 1 WHERE name = 'partners' RETURNING value").Scan(ctx, &row.Rev); err != nil {
			return fmt.Errorf("next revision: %w", err)
		}
		q := tx.NewInsert().Model(&row).On("CONFLICT (tenant, id) DO UPDATE")
		if _, err := setExcluded(q, []string{"name", "partner", "rev"}).Exec(ctx); err != nil {
			return err
		}
		return addEvents(ctx, tx, events)
	})
}

// LoadPartners hands over every partner that was written after revision since, and returns the revision to ask with the next time.
// When nothing was written it is cheap.
func (s *Store) LoadPartners(ctx context.Context, since int64, each func(fleet.Partner)) (int64, error) {
	revision := since
	err := s.r.RunInTx(ctx, &sql.TxOptions{ReadOnly: true}, func(ctx context.Context, tx bun.Tx) error {
		err := tx.NewSelect().Table("revisions").Column("value").Where("name = 'partners'").Scan(ctx, &revision)
		if err != nil || revision == since {
			return err
		}
		var rows []partnerRow
		if err := tx.NewSelect().Model(&rows).Where("rev > ?", since).Scan(ctx); err != nil {
			return err
		}
		for i := range rows {
			p, err := rows[i].partner()
			if err != nil {
				return err
			}
			each(p)
		}
		return nil
	})
	if err != nil {
		return since, fmt.Errorf("load partners since revision %d: %w", since, err)
	}
	return revision, nil
}
