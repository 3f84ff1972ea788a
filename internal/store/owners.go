package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/uptrace/bun"

	"aftercare/internal/fleet"
)

type ownershipRow struct {
	bun.BaseModel `bun:"table:ownerships,alias:o"`
	Tenant        string `bun:"tenant,pk"`
	Serial        string `bun:"serial,pk"`
	PersonID      string `bun:"person_id"`
	FromAt        int64  `bun:"from_at,pk"`
	ToAt          int64  `bun:"to_at"`
}

// owned is whose a device is, as it stands in the database.
type owned struct {
	Serial  string
	OwnerID string
	Before  bool  // it has, or had, an owner
	Last    int64 // when the last ownership began or ended
	Since   int64 // devices.owned_since
}

// newOwners finds the rows that give a device to somebody it does not belong to, and sets their OwnedSince: the zero time for
// its first owner ever, else when it is given. Of the others that name an owner OwnedSince becomes what it was.
func newOwners(ctx context.Context, tx bun.Tx, rows []deviceRow) (changes []ownershipRow, err error) {
	serials := map[string][]string{}
	for i := range rows {
		if rows[i].OwnerID != "" {
			serials[rows[i].Tenant] = append(serials[rows[i].Tenant], rows[i].Serial)
		}
	}
	have := map[fleet.DeviceKey]owned{}
	for tenant, list := range serials {
		var found []owned
		err := tx.NewRaw(`SELECT d.serial, d.owner_id, d.owned_since AS since, count(o.serial) > 0 AS before, coalesce(max(CASE WHEN o.to_at > o.from_at THEN o.to_at ELSE o.from_at END), 0) AS last
			FROM devices d LEFT JOIN ownerships o ON o.tenant = d.tenant AND o.serial = d.serial
			WHERE d.tenant = ? AND d.serial IN (?) GROUP BY d.tenant, d.serial, d.owner_id, d.owned_since`, tenant, bun.List(list)).Scan(ctx, &found)
		if err != nil {
			return nil, fmt.Errorf("owners: %w", err)
		}
		for _, o := range found {
			have[fleet.DeviceKey{Tenant: tenant, Serial: o.Serial}] = o
		}
	}
	for i := range rows {
		r := &rows[i]
		if r.OwnerID == "" {
			continue
		}
		o := have[fleet.DeviceKey{Tenant: r.Tenant, Serial: r.Serial}]
		if o.OwnerID == r.OwnerID {
			r.OwnedSince = o.Since
			continue
		}
		r.OwnedSince = beginning(o, r.OwnedSince)
		changes = append(changes, ownershipRow{Tenant: r.Tenant, Serial: r.Serial, PersonID: r.OwnerID, FromAt: r.OwnedSince})
	}
	return changes, nil
}

// beginning is when an ownership begins: with everything for the first owner ever, and never before or with the one before, also
// when a clock was set back.
func beginning(o owned, at int64) int64 {
	if !o.Before {
		return 0
	}
	return max(at, o.Last+1)
}

// writeOwnerships ends the ownerships that go on and adds the new ones.
func writeOwnerships(ctx context.Context, tx bun.Tx, changes []ownershipRow) error {
	for i := range changes {
		c := &changes[i]
		if c.FromAt == 0 {
			continue // the first owner ever
		}
		if err := endOwnership(ctx, tx, c.Tenant, c.Serial, c.FromAt); err != nil {
			return err
		}
	}
	return insertAll(ctx, tx, changes, "ownerships")
}

func endOwnership(ctx context.Context, tx bun.Tx, tenant, serial string, at int64) error {
	_, err := tx.ExecContext(ctx, "UPDATE ownerships SET to_at = ? WHERE tenant = ? AND serial = ? AND to_at = 0", at, tenant, serial)
	if err != nil {
		return fmt.Errorf("ownerships: %w", err)
	}
	return nil
}

// giveDevice makes a person, or nobody, the owner of a device at a time. Whose it is already stays as it is.
func giveDevice(ctx context.Context, tx bun.Tx, d *deviceRow, personID string, at, rev int64) error {
	if d.OwnerID == personID {
		return nil
	}
	var o owned
	err := tx.NewRaw("SELECT count(*) > 0 AS before, coalesce(max(CASE WHEN to_at > from_at THEN to_at ELSE from_at END), 0) AS last FROM ownerships WHERE tenant = ? AND serial = ?", d.Tenant, d.Serial).Scan(ctx, &o)
	if err != nil {
		return fmt.Errorf("ownerships: %w", err)
	}
	since := beginning(o, at)
	if since > 0 {
		if err := endOwnership(ctx, tx, d.Tenant, d.Serial, since); err != nil {
			return err
		}
	}
	if personID == "" {
		since = 0
	} else if err := insertAll(ctx, tx, []ownershipRow{{Tenant: d.Tenant, Serial: d.Serial, PersonID: personID, FromAt: since}}, "ownerships"); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "UPDATE devices SET owner_id = ?, owned_since = ?, rev = ? WHERE tenant = ? AND serial = ?",
		personID, since, rev, d.Tenant, d.Serial)
	return err
}

// SetOwner gives a device to a person, or to nobody with an empty id, at the event's time, and tells from whom. A device that is
// hers already stays so, and nothing is told. CodeNotFound if there is no such device.
func (s *Store) SetOwner(ctx context.Context, key fleet.DeviceKey, personID string, e fleet.SecurityEvent) error {
	return s.write(ctx, fmt.Sprintf("give device %q to %q", key, personID), func(tx bun.Tx) error {
		var d deviceRow
		err := tx.NewSelect().Model(&d).Where("tenant = ? AND serial = ?", key.Tenant, key.Serial).Scan(ctx)
		if errors.Is(err, sql.ErrNoRows) {
			return fleet.Errorf(fleet.CodeNotFound, "device %q is not registered", key)
		}
		if err != nil || d.OwnerID == personID {
			return err
		}
		e.Detail = "from " + nobody(d.OwnerID) + " to " + nobody(personID)
		rev, err := nextRevision(ctx, tx)
		if err != nil {
			return err
		}
		if err := giveDevice(ctx, tx, &d, personID, toMS(e.At), rev); err != nil {
			return err
		}
		// A code that was made for the owner before must not give the device away.
		if _, err := tx.ExecContext(ctx, "UPDATE claim_codes SET used_at = ? WHERE tenant = ? AND serial = ? AND used_at = 0 AND transfer", toMS(e.At), key.Tenant, key.Serial); err != nil {
			return err
		}
		return addEvents(ctx, tx, []fleet.SecurityEvent{e})
	})
}

func nobody(id string) string {
	if id == "" {
		return "nobody"
	}
	return id
}

// Ownerships returns whose a device was and when, oldest first; of one person only if one is named.
func (s *Store) Ownerships(ctx context.Context, key fleet.DeviceKey, personID string) ([]fleet.Ownership, error) {
	var rows []ownershipRow
	q := s.r.NewSelect().Model(&rows).Where("tenant = ? AND serial = ?", key.Tenant, key.Serial).Order("from_at")
	if personID != "" {
		q = q.Where("person_id = ?", personID)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("owners of %q: %w", key, err)
	}
	out := make([]fleet.Ownership, len(rows))
	for i, r := range rows {
		out[i] = fleet.Ownership{Device: key, PersonID: r.PersonID, From: fromMS(r.FromAt), To: fromMS(r.ToAt)}
	}
	return out, nil
}
