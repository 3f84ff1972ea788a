package store

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"aftercare/internal/fleet"
)

// QualityKept is how long the counts of what devices send are kept.
const QualityKept = 90 * 24 * time.Hour

// qualityRows is how many rows go into one statement.
const qualityRows = 500

type qualityRow struct {
	bun.BaseModel `bun:"table:quality,alias:q"`
	Tenant        string `bun:"tenant,pk"`
	Model         string `bun:"model,pk"`
	Firmware      string `bun:"firmware,pk"`
	Day           int64  `bun:"day,pk"`
	Reason        string `bun:"reason,pk"`
	Field         string `bun:"field,pk"`
	N             int64  `bun:"n"`
	Example       string `bun:"example"`
	LastAt        int64  `bun:"last_at"`
}

type qualityKey struct {
	tenant, model, firmware, reason, field string
	day                                    int64
}

// SaveQuality adds counts to what is stored, all rows or none; of an example the newest is kept. Rows that are older than
// QualityKept, counted from the newest day among the rows, are deleted.
func (s *Store) SaveQuality(ctx context.Context, rows []fleet.Quality) error {
	if len(rows) == 0 {
		return nil
	}
	list, newest := mergeQuality(rows)
	return s.write(ctx, fmt.Sprintf("save %d counts of what devices send", len(rows)), func(tx bun.Tx) error {
		for from := 0; from < len(list); from += qualityRows {
			part := list[from:min(from+qualityRows, len(list))]
			_, err := tx.NewInsert().Model(&part).On("CONFLICT (tenant, model, firmware, day, reason, field) DO UPDATE").
				Set("n = q.n + EXCLUDED.n").
				Set("example = CASE WHEN EXCLUDED.example <> '' AND EXCLUDED.last_at >= q.last_at THEN EXCLUDED.example ELSE q.example END").
				Set("last_at = CASE WHEN EXCLUDED.last_at > q.last_at THEN EXCLUDED.last_at ELSE q.last_at END").Exec(ctx)
			if err != nil {
				return err
			}
		}
		_, err := tx.NewDelete().Model((*qualityRow)(nil)).Where("day < ?", newest-QualityKept.Milliseconds()).Exec(ctx)
		return err
	})
}

// mergeQuality adds up rows of the same key, because one statement may touch a row only once.
func mergeQuality(rows []fleet.Quality) (list []qualityRow, newest int64) {
	at := make(map[qualityKey]int, len(rows))
	for _, q := range rows {
		r := qualityRow{Tenant: q.Tenant, Model: q.Model, Firmware: q.Firmware, Day: toMS(q.Day.UTC().Truncate(24 * time.Hour)), Reason: q.Reason, Field: q.Field,
			N: q.N, Example: q.Example, LastAt: toMS(q.LastAt)}
		newest = max(newest, r.Day)
		k := qualityKey{r.Tenant, r.Model, r.Firmware, r.Reason, r.Field, r.Day}
		i, ok := at[k]
		if !ok {
			at[k] = len(list)
			list = append(list, r)
			continue
		}
		list[i].N += r.N
		if r.Example != "" && r.LastAt >= list[i].LastAt {
			list[i].Example = r.Example
		}
		list[i].LastAt = max(list[i].LastAt, r.LastAt)
	}
	return list, newest
}

// Quality returns the counts of a tenant's model, of all its models if model is empty, from the day of since on: by model and
// firmware, the newest day first, the most frequent reason first (the count of all readings, with the reason "", leads).
func (s *Store) Quality(ctx context.Context, tenant, model string, since time.Time) ([]fleet.Quality, error) {
	var rows []qualityRow
	q := s.r.NewSelect().Model(&rows).Where("tenant = ?", tenant).Where("day >= ?", toMS(since.UTC().Truncate(24*time.Hour)))
	if model != "" {
		q = q.Where("model = ?", model)
	}
	if err := q.OrderExpr("model, firmware, day DESC, CASE WHEN reason = '' THEN 0 ELSE 1 END, n DESC, reason, field").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read the quality of model %q: %w", model, err)
	}
	out := make([]fleet.Quality, len(rows))
	for i, r := range rows {
		out[i] = fleet.Quality{Tenant: r.Tenant, Model: r.Model, Firmware: r.Firmware, Day: fromMS(r.Day), Reason: r.Reason, Field: r.Field,
			N: r.N, Example: r.Example, LastAt: fromMS(r.LastAt)}
	}
	return out, nil
}
