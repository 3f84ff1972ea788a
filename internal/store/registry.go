package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"aftercare/internal/fleet"
)

// chunk is how many rows one INSERT carries: large enough that its cost is spread, small enough for SQLite's 1 MB limit on
// a statement.
const chunk = 500

// LoadRegistry hands every device, credential, person and provisioning key that was written after revision since to the functions, and
// returns the revision they now stand at: what to pass the next time. since 0 loads everything. All of it is one
// consistent snapshot. When nothing was written it costs one look-up. Nothing is ever deleted from the registry, only revoked.
func (s *Store) LoadRegistry(ctx context.Context, since int64, device func(fleet.Device),
	credential func(fleet.Credential), person func(fleet.Person), key func(fleet.ProvisioningKey)) (int64, error) {
	revision := since
	err := s.r.RunInTx(ctx, &sql.TxOptions{ReadOnly: true}, func(ctx context.Context, tx bun.Tx) error {
		err := tx.NewSelect().Table("revisions").Column("value").Where("name = 'registry'").Scan(ctx, &revision)
		if err != nil || revision == since {
			return err
		}
		if err := loadDevices(ctx, tx, since, device); err != nil {
			return err
		}
		if err := loadCredentials(ctx, tx, since, credential); err != nil {
			return err
		}
		if err := loadPeople(ctx, tx, "p.rev > ?", []any{since}, person); err != nil {
			return err
		}
		return loadProvisioning(ctx, tx, since, key)
	})
	if err != nil {
		return since, fmt.Errorf("load registry since revision %d: %w", since, err)
	}
	return revision, nil
}

// loadDevices scans by hand: a hundred thousand rows at every start are worth it.
func loadDevices(ctx context.Context, tx bun.Tx, since int64, each func(fleet.Device)) error {
	rows, err := tx.QueryContext(ctx, `SELECT tenant, serial, model, category, name, room, region, firmware, hardware, batch,
		parent, owner_id, seller, installed_at, warranty_until, revoked, owned_since,
		contract, contract_until FROM devices WHERE rev > ?`, since)
	if err != nil {
		return fmt.Errorf("devices: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below reports what matters
	var r deviceRow
	for rows.Next() {
		if err := rows.Scan(&r.Tenant, &r.Serial, &r.Model, &r.Category, &r.Name, &r.Room, &r.Region, &r.Firmware,
			&r.Hardware, &r.Batch, &r.Parent, &r.OwnerID, &r.Seller, &r.InstalledAt, &r.WarrantyUntil, &r.Revoked, &r.OwnedSince,
			&r.Contract, &r.ContractUntil); err != nil {
			return fmt.Errorf("devices: %w", err)
		}
		each(r.device())
	}
	return rows.Err()
}

func loadCredentials(ctx context.Context, tx bun.Tx, since int64, each func(fleet.Credential)) error {
	rows, err := tx.QueryContext(ctx, `SELECT tenant, serial, id, hash, created_at, used_at, revoked_at FROM credentials WHERE rev > ?`, since)
	if err != nil {
		return fmt.Errorf("credentials: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var r credentialRow
	for rows.Next() {
		if err := rows.Scan(&r.Tenant, &r.Serial, &r.ID, &r.Hash, &r.CreatedAt, &r.UsedAt, &r.RevokedAt); err != nil {
			return fmt.Errorf("credentials: %w", err)
		}
		c, err := r.credential()
		if err != nil {
			return err
		}
		each(c)
	}
	return rows.Err()
}

// SaveRegistry writes people, devices and credentials in one transaction: each row is made or replaced, but of a person who
// exists only the profile and the household are, and a device whose owner is empty keeps the one it has. Of a device that gets
// another owner OwnedSince is when. Any of them may be empty. A credential of an unknown device is an error and nothing is written. The security events
// are written with them.
func (s *Store) SaveRegistry(ctx context.Context, devices []fleet.Device, credentials []fleet.Credential,
	people []fleet.Person, events ...fleet.SecurityEvent) error {
	op := fmt.Sprintf("save %d devices, %d credentials, %d people", len(devices), len(credentials), len(people))
	return s.write(ctx, op, func(tx bun.Tx) error {
		rev, err := nextRevision(ctx, tx)
		if err != nil {
			return err
		}
		if err := savePeople(ctx, tx, people, rev); err != nil {
			return err
		}
		if err := saveDevices(ctx, tx, devices, rev); err != nil {
			return err
		}
		if err := saveCredentials(ctx, tx, credentials, rev); err != nil {
			return err
		}
		return addEvents(ctx, tx, events)
	})
}

func nextRevision(ctx context.Context, tx bun.Tx) (rev int64, err error) {
	err = tx.NewRaw("UPDATE revisions SET value = value + 1 WHERE name = 'registry' RETURNING value").Scan(ctx, &rev)
	if err != nil {
		return 0, fmt.Errorf("next revision: %w", err)
	}
	return rev, nil
}

var deviceColumns = []string{"model", "category", "name", "room", "region", "firmware", "hardware", "batch", "parent",
	"seller", "installed_at", "warranty_until", "revoked", "contract", "contract_until", "rev"}

// saveDevices leaves a device whose owner is not named the one it has.
func saveDevices(ctx context.Context, tx bun.Tx, devices []fleet.Device, rev int64) error {
	for part := range slices.Chunk(devices, chunk) {
		rows := make([]deviceRow, len(part))
		for i := range part {
			rows[i] = deviceToRow(&part[i], rev)
		}
		changes, err := newOwners(ctx, tx, rows)
		if err != nil {
			return err
		}
		q := tx.NewInsert().Model(&rows).On("CONFLICT (tenant, serial) DO UPDATE")
		q = setExcluded(q, deviceColumns).Set("owner_id = CASE EXCLUDED.owner_id WHEN '' THEN ?TableAlias.owner_id ELSE EXCLUDED.owner_id END").
			Set("owned_since = CASE EXCLUDED.owner_id WHEN '' THEN ?TableAlias.owned_since ELSE EXCLUDED.owned_since END")
		if _, err := q.Exec(ctx); err != nil {
			return fmt.Errorf("devices: %w", err)
		}
		if err := writeOwnerships(ctx, tx, changes); err != nil {
			return err
		}
	}
	return nil
}

func saveCredentials(ctx context.Context, tx bun.Tx, credentials []fleet.Credential, rev int64) error {
	for part := range slices.Chunk(credentials, chunk) {
		rows := make([]credentialRow, len(part))
		for i := range part {
			rows[i] = credentialToRow(&part[i], rev)
		}
		q := tx.NewInsert().Model(&rows).On("CONFLICT (tenant, serial, id) DO UPDATE")
		if _, err := setExcluded(q, []string{"hash", "created_at", "used_at", "revoked_at", "rev"}).Exec(ctx); err != nil {
			return fmt.Errorf("credentials: %w", err)
		}
	}
	return nil
}

func setExcluded(q *bun.InsertQuery, columns []string) *bun.InsertQuery {
	for _, c := range columns {
		q = q.Set("? = EXCLUDED.?", bun.Ident(c), bun.Ident(c))
	}
	return q
}

// RevokeCredentials ends the credentials of a device at the given time, all but the one named keep. With an empty keep the
// device itself is marked revoked too. An unknown device is CodeNotFound. The security events are written with it.
func (s *Store) RevokeCredentials(ctx context.Context, key fleet.DeviceKey, keep string, at time.Time, events ...fleet.SecurityEvent) error {
	op := fmt.Sprintf("revoke credentials of %q", key)
	return s.write(ctx, op, func(tx bun.Tx) error {
		rev, err := nextRevision(ctx, tx)
		if err != nil {
			return err
		}
		_, err = tx.NewUpdate().Model((*credentialRow)(nil)).Set("revoked_at = ?", toMS(at)).Set("rev = ?", rev).
			Where("tenant = ? AND serial = ? AND id <> ? AND revoked_at = 0", key.Tenant, key.Serial, keep).Exec(ctx)
		if err != nil {
			return err
		}
		q := tx.NewUpdate().Model((*deviceRow)(nil)).Set("rev = ?", rev)
		if keep == "" {
			q = q.Set("revoked = ?", true)
		}
		res, err := q.Where("tenant = ? AND serial = ?", key.Tenant, key.Serial).Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return notFound(err, "device %q is not registered", key)
		}
		return addEvents(ctx, tx, events)
	})
}

// notFound is CodeNotFound, or err when asking for the number of rows failed.
func notFound(err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	return fleet.Errorf(fleet.CodeNotFound, format, args...)
}
