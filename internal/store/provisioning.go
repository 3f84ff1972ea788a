package store

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"aftercare/internal/fleet"
)

type provisioningRow struct {
	bun.BaseModel `bun:"table:provisioning_keys"`
	Tenant        string `bun:"tenant,pk"`
	ID            string `bun:"id,pk"`
	Model         string `bun:"model"`
	Open          bool   `bun:"open"`
	Hash          string `bun:"hash"`
	CreatedAt     int64  `bun:"created_at"`
	RevokedAt     int64  `bun:"revoked_at"`
	Rev           int64  `bun:"rev"`
}

type securityRow struct {
	bun.BaseModel `bun:"table:security_events"`
	N             int64  `bun:"n,pk"`
	At            int64  `bun:"at"`
	Tenant        string `bun:"tenant"`
	Actor         string `bun:"actor"`
	Action        string `bun:"action"`
	Subject       string `bun:"subject"`
	Detail        string `bun:"detail"`
}

func loadProvisioning(ctx context.Context, tx bun.Tx, since int64, each func(fleet.ProvisioningKey)) error {
	var rows []provisioningRow
	if err := tx.NewSelect().Model(&rows).Where("rev > ?", since).Scan(ctx); err != nil {
		return fmt.Errorf("provisioning keys: %w", err)
	}
	for _, r := range rows {
		hash, err := hex.DecodeString(r.Hash)
		if err != nil {
			return fmt.Errorf("provisioning key %q: hash: %w", r.ID, err)
		}
		each(fleet.ProvisioningKey{ID: r.ID, Tenant: r.Tenant, Model: r.Model, Open: r.Open, Hash: hash,
			CreatedAt: fromMS(r.CreatedAt), RevokedAt: fromMS(r.RevokedAt)})
	}
	return nil
}

// SaveProvisioning makes or replaces a provisioning key.
func (s *Store) SaveProvisioning(ctx context.Context, k fleet.ProvisioningKey, events ...fleet.SecurityEvent) error {
	return s.write(ctx, fmt.Sprintf("save provisioning key %q", k.ID), func(tx bun.Tx) error {
		rev, err := nextRevision(ctx, tx)
		if err != nil {
			return err
		}
		row := provisioningRow{Tenant: k.Tenant, ID: k.ID, Model: k.Model, Open: k.Open, Hash: hex.EncodeToString(k.Hash),
			CreatedAt: toMS(k.CreatedAt), RevokedAt: toMS(k.RevokedAt), Rev: rev}
		q := tx.NewInsert().Model(&row).On("CONFLICT (tenant, id) DO UPDATE")
		if _, err := setExcluded(q, []string{"revoked_at", "rev"}).Exec(ctx); err != nil {
			return err
		}
		return addEvents(ctx, tx, events)
	})
}

// FirstContact gives a device the credential c in place of those it had and never used. It is CodeDenied, and nothing is written,
// unless all of this holds: the device's model has a valid provisioning key; the device is registered, of that model, not
// revoked and speaks for itself; none of its credentials was ever used. A device that is not registered is registered as
// d is, if one of the model's keys is open.
func (s *Store) FirstContact(ctx context.Context, d fleet.Device, c fleet.Credential, events ...fleet.SecurityEvent) error {
	return s.write(ctx, fmt.Sprintf("first contact of %q", d.Key), func(tx bun.Tx) error {
		rev, err := nextRevision(ctx, tx)
		if err != nil {
			return err
		}
		if err := mayContact(ctx, tx, d, rev); err != nil {
			return err
		}
		_, err = tx.NewUpdate().Model((*credentialRow)(nil)).Set("revoked_at = ?", toMS(c.CreatedAt)).Set("rev = ?", rev).
			Where("tenant = ? AND serial = ? AND revoked_at = 0", d.Key.Tenant, d.Key.Serial).Exec(ctx)
		if err != nil {
			return err
		}
		if err := saveCredentials(ctx, tx, []fleet.Credential{c}, rev); err != nil {
			return err
		}
		return addEvents(ctx, tx, events)
	})
}

func mayContact(ctx context.Context, tx bun.Tx, d fleet.Device, rev int64) error {
	denied := func(why string) error { return fleet.Errorf(fleet.CodeDenied, "device %q: %s", d.Key, why) }
	var keys struct{ Valid, Open int }
	err := tx.NewSelect().Table("provisioning_keys").ColumnExpr("count(*) AS valid").ColumnExpr("count(CASE WHEN open THEN 1 END) AS open").
		Where("tenant = ? AND model = ? AND revoked_at = 0", d.Key.Tenant, d.Model).Scan(ctx, &keys)
	if err != nil {
		return err
	}
	if keys.Valid == 0 {
		return denied("its model has no valid provisioning key")
	}
	var have deviceRow
	err = tx.NewSelect().Model(&have).Where("tenant = ? AND serial = ?", d.Key.Tenant, d.Key.Serial).Scan(ctx)
	switch {
	case errors.Is(err, sql.ErrNoRows) && keys.Open == 0:
		return denied("it is not registered")
	case errors.Is(err, sql.ErrNoRows):
		return saveDevices(ctx, tx, []fleet.Device{d}, rev)
	case err != nil:
		return err
	case have.Revoked || have.Model != d.Model || have.Parent != "":
		return denied("it is revoked, of another model, or a base station speaks for it")
	}
	used, err := tx.NewSelect().Model((*credentialRow)(nil)).
		Where("tenant = ? AND serial = ? AND used_at <> 0", d.Key.Tenant, d.Key.Serial).Exists(ctx)
	if err != nil {
		return err
	}
	if used {
		return denied("it has logged in with a credential of its own: first contact is over")
	}
	return nil
}

// MarkUsed keeps when credentials were first used. One that was revoked meanwhile, or used before, stays as it is. One without
// a hash stands for something we do not keep, such as a certificate: it is added as it is, once.
func (s *Store) MarkUsed(ctx context.Context, credentials []fleet.Credential) error {
	return s.write(ctx, fmt.Sprintf("mark %d credentials used", len(credentials)), func(tx bun.Tx) error {
		rev, err := nextRevision(ctx, tx)
		if err != nil {
			return err
		}
		for i := range credentials {
			c := &credentials[i]
			if c.Hash == nil {
				row := credentialToRow(c, rev)
				_, err = tx.NewInsert().Model(&row).On("CONFLICT DO NOTHING").Exec(ctx)
			} else {
				_, err = tx.ExecContext(ctx, `UPDATE credentials SET used_at = ?, rev = ? WHERE tenant = ? AND serial = ? AND id = ?
					AND used_at = 0 AND revoked_at = 0`, toMS(c.UsedAt), rev, c.Device.Tenant, c.Device.Serial, c.ID)
			}
			if err != nil {
				return fmt.Errorf("credential %q of %q: %w", c.ID, c.Device, err)
			}
		}
		return nil
	})
}

// EndCredentials ends the named credentials of a device, and no other that somebody may have made meanwhile.
func (s *Store) EndCredentials(ctx context.Context, key fleet.DeviceKey, ids []string, at time.Time, events ...fleet.SecurityEvent) error {
	return s.write(ctx, fmt.Sprintf("end credentials of %q", key), func(tx bun.Tx) error {
		rev, err := nextRevision(ctx, tx)
		if err != nil {
			return err
		}
		res, err := tx.NewUpdate().Model((*credentialRow)(nil)).Set("revoked_at = ?", toMS(at)).Set("rev = ?", rev).
			Where("tenant = ? AND serial = ? AND revoked_at = 0", key.Tenant, key.Serial).Where("id IN (?)", bun.List(ids)).Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return err // another process was first, and has told
		}
		return addEvents(ctx, tx, events)
	})
}

// SetFirmware changes what is known of devices' firmware and nothing else of them.
func (s *Store) SetFirmware(ctx context.Context, firmware map[fleet.DeviceKey]string) error {
	return s.write(ctx, fmt.Sprintf("set firmware of %d devices", len(firmware)), func(tx bun.Tx) error {
		rev, err := nextRevision(ctx, tx)
		if err != nil {
			return err
		}
		for key, version := range firmware {
			if _, err := tx.ExecContext(ctx, "UPDATE devices SET firmware = ?, rev = ? WHERE tenant = ? AND serial = ?",
				version, rev, key.Tenant, key.Serial); err != nil {
				return fmt.Errorf("device %q: %w", key, err)
			}
		}
		return nil
	})
}

// addEvents numbers the events in the order of the transactions and adds them.
func addEvents(ctx context.Context, tx bun.Tx, events []fleet.SecurityEvent) error {
	if len(events) == 0 {
		return nil
	}
	var last int64
	err := tx.NewRaw("UPDATE revisions SET value = value + ? WHERE name = 'security' RETURNING value", len(events)).Scan(ctx, &last)
	if err != nil {
		return fmt.Errorf("next security event: %w", err)
	}
	n := last - int64(len(events))
	for part := range slices.Chunk(events, chunk) {
		rows := make([]securityRow, len(part))
		for i, e := range part {
			n++
			rows[i] = securityRow{N: n, At: toMS(e.At), Tenant: e.Tenant, Actor: e.Actor, Action: e.Action, Subject: e.Subject, Detail: e.Detail}
		}
		if _, err := tx.NewInsert().Model(&rows).Exec(ctx); err != nil {
			return fmt.Errorf("security events: %w", err)
		}
	}
	return nil
}

// SecurityEvents returns events of a tenant, newest first.
func (s *Store) SecurityEvents(ctx context.Context, f fleet.SecurityFilter) ([]fleet.SecurityEvent, error) {
	var rows []securityRow
	q := s.r.NewSelect().Model(&rows).Where("tenant = ?", f.Tenant).Order("n DESC").Limit(limitOr(f.Limit))
	if f.Subject != "" {
		q = q.Where("subject = ?", f.Subject)
	}
	if f.Before > 0 {
		q = q.Where("n < ?", f.Before)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("list security events: %w", err)
	}
	out := make([]fleet.SecurityEvent, len(rows))
	for i, r := range rows {
		out[i] = fleet.SecurityEvent{N: r.N, At: fromMS(r.At), Tenant: r.Tenant, Actor: r.Actor, Action: r.Action, Subject: r.Subject, Detail: r.Detail}
	}
	return out, nil
}
