package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/uptrace/bun"

	"aftercare/internal/fleet"
)

// The kinds of spans.
const (
	spanMaintenance = "maintenance"
	spanStored      = "stored"
)

type limitRow struct {
	bun.BaseModel `bun:"table:device_limits,alias:x"`
	Tenant        string  `bun:"tenant,pk"`
	Serial        string  `bun:"serial,pk"`
	Name          string  `bun:"name,pk"`
	Value         float64 `bun:"value"`
}

type spanRow struct {
	bun.BaseModel `bun:"table:device_spans,alias:x"`
	Tenant        string `bun:"tenant,pk"`
	Serial        string `bun:"serial,pk"`
	Kind          string `bun:"kind,pk"`
	FromAt        int64  `bun:"from_at,pk"`
	ToAt          int64  `bun:"to_at"`
}

type serviceRow struct {
	bun.BaseModel `bun:"table:device_services,alias:x"`
	Tenant        string `bun:"tenant,pk"`
	Serial        string `bun:"serial,pk"`
	Component     string `bun:"component,pk"`
	At            int64  `bun:"at,pk"`
	By            string `bun:"by_whom"`
}

// DeviceFacts returns what is known of a device now, spans that are over included; CodeNotFound if it is not registered.
func (s *Store) DeviceFacts(ctx context.Context, key fleet.DeviceKey) (f fleet.Facts, err error) {
	err = s.r.RunInTx(ctx, &sql.TxOptions{ReadOnly: true}, func(ctx context.Context, tx bun.Tx) error {
		f, err = deviceFacts(ctx, tx, key)
		return err
	})
	if err != nil {
		return fleet.Facts{}, fmt.Errorf("facts of %q: %w", key, err)
	}
	return f, nil
}

func deviceFacts(ctx context.Context, tx bun.Tx, key fleet.DeviceKey) (fleet.Facts, error) {
	var row deviceRow
	err := tx.NewSelect().Model(&row).Where("tenant = ? AND serial = ?", key.Tenant, key.Serial).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return fleet.Facts{}, fleet.Errorf(fleet.CodeNotFound, "device %q is not registered", key)
	}
	if err != nil {
		return fleet.Facts{}, err
	}
	list := []fleet.Facts{row.facts()}
	err = addExtras(ctx, tx, list, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("x.tenant = ? AND x.serial = ?", key.Tenant, key.Serial)
	})
	return list[0], err
}

func (r *deviceRow) facts() fleet.Facts {
	return fleet.Facts{Device: fleet.DeviceKey{Tenant: r.Tenant, Serial: r.Serial}, Model: r.Model, Firmware: r.Firmware, Hardware: r.Hardware,
		Batch: r.Batch, Region: r.Region, Station: r.Parent, Revoked: r.Revoked}
}

// addExtras fills in limits, spans and services of the devices in list, which where selects.
func addExtras(ctx context.Context, tx bun.Tx, list []fleet.Facts, where func(*bun.SelectQuery) *bun.SelectQuery) error {
	of := make(map[fleet.DeviceKey]*fleet.Facts, len(list))
	for i := range list {
		of[list[i].Device] = &list[i]
	}
	var limits []limitRow
	if err := where(tx.NewSelect().Model(&limits)).Scan(ctx); err != nil {
		return fmt.Errorf("limits: %w", err)
	}
	for _, r := range limits {
		f := of[fleet.DeviceKey{Tenant: r.Tenant, Serial: r.Serial}]
		if f.Limits == nil {
			f.Limits = map[string]float64{}
		}
		f.Limits[r.Name] = r.Value
	}
	var spans []spanRow
	if err := where(tx.NewSelect().Model(&spans)).OrderExpr("x.from_at").Scan(ctx); err != nil {
		return fmt.Errorf("spans: %w", err)
	}
	for _, r := range spans {
		f := of[fleet.DeviceKey{Tenant: r.Tenant, Serial: r.Serial}]
		to := &f.Maintenance
		if r.Kind == spanStored {
			to = &f.Stored
		}
		*to = append(*to, fleet.Span{From: fromMS(r.FromAt), To: fromMS(r.ToAt)})
	}
	var services []serviceRow
	if err := where(tx.NewSelect().Model(&services)).OrderExpr("x.component, x.at DESC").Scan(ctx); err != nil {
		return fmt.Errorf("services: %w", err)
	}
	for _, r := range services {
		f := of[fleet.DeviceKey{Tenant: r.Tenant, Serial: r.Serial}]
		if n := len(f.Services); n == 0 || f.Services[n-1].Component != r.Component { // the newest of each comes first
			f.Services = append(f.Services, fleet.Service{Component: r.Component, At: fromMS(r.At), By: r.By})
		}
	}
	return nil
}

// EditFacts lets edit change limits, spans and services of a device and writes what it made of them, and the security events, in
// one transaction; an error of edit changes nothing and comes back. A service that is replaced in the list stays on record.
func (s *Store) EditFacts(ctx context.Context, key fleet.DeviceKey, edit func(*fleet.Facts) error, events ...fleet.SecurityEvent) error {
	return s.write(ctx, fmt.Sprintf("change what rules know of %q", key), func(tx bun.Tx) error {
		f, err := deviceFacts(ctx, tx, key)
		if err != nil {
			return err
		}
		if err := edit(&f); err != nil {
			return err
		}
		rev, err := nextRevision(ctx, tx)
		if err != nil {
			return err
		}
		if _, err := tx.NewUpdate().Model((*deviceRow)(nil)).Set("rev = ?", rev).
			Where("tenant = ? AND serial = ?", key.Tenant, key.Serial).Exec(ctx); err != nil {
			return err
		}
		if err := saveExtras(ctx, tx, key, &f); err != nil {
			return err
		}
		return addEvents(ctx, tx, events)
	})
}

func saveExtras(ctx context.Context, tx bun.Tx, key fleet.DeviceKey, f *fleet.Facts) error {
	for _, table := range []any{(*limitRow)(nil), (*spanRow)(nil)} {
		if _, err := tx.NewDelete().Model(table).Where("tenant = ? AND serial = ?", key.Tenant, key.Serial).Exec(ctx); err != nil {
			return err
		}
	}
	limits := make([]limitRow, 0, len(f.Limits))
	for name, v := range f.Limits {
		limits = append(limits, limitRow{Tenant: key.Tenant, Serial: key.Serial, Name: name, Value: v})
	}
	var spans []spanRow
	for kind, list := range map[string][]fleet.Span{spanMaintenance: f.Maintenance, spanStored: f.Stored} {
		for _, x := range list {
			spans = append(spans, spanRow{Tenant: key.Tenant, Serial: key.Serial, Kind: kind, FromAt: toMS(x.From), ToAt: toMS(x.To)})
		}
	}
	services := make([]serviceRow, 0, len(f.Services))
	for _, x := range f.Services {
		services = append(services, serviceRow{Tenant: key.Tenant, Serial: key.Serial, Component: x.Component, At: toMS(x.At), By: x.By})
	}
	if len(limits) > 0 {
		if _, err := tx.NewInsert().Model(&limits).Exec(ctx); err != nil {
			return fmt.Errorf("limits: %w", err)
		}
	}
	if len(spans) > 0 {
		if _, err := tx.NewInsert().Model(&spans).Exec(ctx); err != nil {
			return fmt.Errorf("spans: %w", err)
		}
	}
	if len(services) > 0 {
		if _, err := tx.NewInsert().Model(&services).On("CONFLICT DO NOTHING").Exec(ctx); err != nil {
			return fmt.Errorf("services: %w", err)
		}
	}
	return nil
}

// FactsSent returns up to which revision facts have been sent: where UnsentFacts begins.
func (s *Store) FactsSent(ctx context.Context) (rev int64, err error) {
	if err := s.r.NewRaw("SELECT value FROM revisions WHERE name = 'facts'").Scan(ctx, &rev); err != nil {
		return 0, fmt.Errorf("look up which facts were sent: %w", err)
	}
	return rev, nil
}

// MarkFactsSent says that all facts up to a revision are in the journal. It never goes back.
func (s *Store) MarkFactsSent(ctx context.Context, rev int64) error {
	return s.write(ctx, "mark facts as sent", func(tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE revisions SET value = ? WHERE name = 'facts' AND value < ?", rev, rev)
		return err
	})
}

// ResendFacts makes all devices' facts count as not sent: for a journal and rule state that begin anew.
func (s *Store) ResendFacts(ctx context.Context) error {
	return s.write(ctx, "send all facts again", func(tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE revisions SET value = 0 WHERE name = 'facts'")
		return err
	})
}

// UnsentFacts returns the facts of devices that changed after a mark, at most limit, in the order they changed, and the mark
// of the last one. A page that is not full is the end of what there was.
func (s *Store) UnsentFacts(ctx context.Context, after fleet.FactsMark, limit int) (list []fleet.Facts, last fleet.FactsMark, err error) {
	last = after
	err = s.r.RunInTx(ctx, &sql.TxOptions{ReadOnly: true}, func(ctx context.Context, tx bun.Tx) error {
		var rows []deviceRow
		err := tx.NewSelect().Model(&rows).Where("(rev, tenant, serial) > (?, ?, ?)", after.Rev, after.Device.Tenant, after.Device.Serial).
			OrderExpr("rev, tenant, serial").Limit(int64(limit)).Scan(ctx)
		if err != nil || len(rows) == 0 {
			return err
		}
		list = slices.Grow(list, len(rows))
		for i := range rows {
			list = append(list, rows[i].facts())
		}
		end := &rows[len(rows)-1]
		last = fleet.FactsMark{Rev: end.Rev, Device: fleet.DeviceKey{Tenant: end.Tenant, Serial: end.Serial}}
		return addExtras(ctx, tx, list, func(q *bun.SelectQuery) *bun.SelectQuery {
			return q.Join("JOIN devices AS d ON d.tenant = x.tenant AND d.serial = x.serial").
				Where("(d.rev, d.tenant, d.serial) > (?, ?, ?)", after.Rev, after.Device.Tenant, after.Device.Serial).
				Where("(d.rev, d.tenant, d.serial) <= (?, ?, ?)", last.Rev, last.Device.Tenant, last.Device.Serial)
		})
	})
	if err != nil {
		return nil, after, fmt.Errorf("facts after revision %d: %w", after.Rev, err)
	}
	return list, last, nil
}
