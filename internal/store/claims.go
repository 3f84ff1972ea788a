package store

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/uptrace/bun"

	"aftercare/internal/fleet"
)

type claimRow struct {
	bun.BaseModel `bun:"table:claim_codes"`
	Tenant        string `bun:"tenant,pk"`
	Serial        string `bun:"serial,pk"`
	Hash          string `bun:"hash"`
	CreatedAt     int64  `bun:"created_at"`
	ExpiresAt     int64  `bun:"expires_at"`
	UsedAt        int64  `bun:"used_at"`
	Transfer      bool   `bun:"transfer"`
}

// SaveClaimCodes gives devices claim codes in place of those they had. CodeConflict if another device has the same code.
func (s *Store) SaveClaimCodes(ctx context.Context, codes []fleet.ClaimCode, events ...fleet.SecurityEvent) error {
	return s.write(ctx, fmt.Sprintf("save %d claim codes", len(codes)), func(tx bun.Tx) error {
		for part := range slices.Chunk(codes, chunk) {
			rows := make([]claimRow, len(part))
			for i, c := range part {
				rows[i] = claimRow{Tenant: c.Device.Tenant, Serial: c.Device.Serial, Hash: hex.EncodeToString(c.Hash),
					CreatedAt: toMS(c.CreatedAt), ExpiresAt: toMS(c.ExpiresAt), UsedAt: toMS(c.UsedAt), Transfer: c.Transfer}
			}
			q := tx.NewInsert().Model(&rows).On("CONFLICT (tenant, serial) DO UPDATE")
			if _, err := setExcluded(q, []string{"hash", "created_at", "expires_at", "used_at", "transfer"}).Exec(ctx); err != nil {
				return err
			}
		}
		return addEvents(ctx, tx, events)
	})
}

// Claim makes a person the owner of the device that has the code with this hash, at the event's time, and uses the code up. The
// event is completed with the device. CodeNotFound: there is no such code, or it is used or expired, or its device is
// revoked; CodeConflict: the device belongs to somebody else and the code was not made for a transfer.
func (s *Store) Claim(ctx context.Context, tenant string, hash []byte, personID string, e fleet.SecurityEvent) (fleet.DeviceKey, error) {
	return s.claim(ctx, tenant, hash, personID, e, nil)
}

// ClaimAsNewcomer is Claim for a person who is made in the same transaction: of two with one code, the second is not made. made is
// the event of her making.
func (s *Store) ClaimAsNewcomer(ctx context.Context, hash []byte, p fleet.Person, made, claimed fleet.SecurityEvent) (fleet.DeviceKey, error) {
	return s.claim(ctx, p.Tenant, hash, p.ID, claimed, func(tx bun.Tx, rev int64) error {
		if err := savePeople(ctx, tx, []fleet.Person{p}, rev); err != nil {
			return err
		}
		return addEvents(ctx, tx, []fleet.SecurityEvent{made})
	})
}

// claim does it; first is what happens in the transaction once the code is known to be right.
func (s *Store) claim(ctx context.Context, tenant string, hash []byte, personID string, e fleet.SecurityEvent, first func(bun.Tx, int64) error) (key fleet.DeviceKey, err error) {
	err = s.write(ctx, fmt.Sprintf("claim a device for %q", personID), func(tx bun.Tx) error {
		var code claimRow
		err := tx.NewSelect().Model(&code).Where("tenant = ? AND hash = ?", tenant, hex.EncodeToString(hash)).Scan(ctx)
		if errors.Is(err, sql.ErrNoRows) || (err == nil && (code.UsedAt != 0 || (code.ExpiresAt != 0 && code.ExpiresAt <= toMS(e.At)))) {
			return fleet.Errorf(fleet.CodeNotFound, "there is no such code, or it was used, or it has expired")
		}
		if err != nil {
			return err
		}
		var d deviceRow
		if err := tx.NewSelect().Model(&d).Where("tenant = ? AND serial = ?", tenant, code.Serial).Scan(ctx); err != nil {
			return err
		}
		switch {
		case d.Revoked:
			return fleet.Errorf(fleet.CodeNotFound, "there is no such code, or it was used, or it has expired")
		case d.OwnerID != "" && d.OwnerID != personID && !code.Transfer:
			return fleet.Errorf(fleet.CodeConflict, "the device belongs to somebody else")
		}
		rev, err := nextRevision(ctx, tx)
		if err != nil {
			return err
		}
		if first != nil {
			if err := first(tx, rev); err != nil {
				return err
			}
		}
		if d.OwnerID != "" && d.OwnerID != personID {
			e.Detail = "from " + d.OwnerID
		}
		if err := giveDevice(ctx, tx, &d, personID, toMS(e.At), rev); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE claim_codes SET used_at = ? WHERE tenant = ? AND serial = ?",
			toMS(e.At), tenant, code.Serial); err != nil {
			return err
		}
		key, e.Subject = fleet.DeviceKey{Tenant: tenant, Serial: code.Serial}, code.Serial
		return addEvents(ctx, tx, []fleet.SecurityEvent{e})
	})
	if err != nil {
		return fleet.DeviceKey{}, err
	}
	return key, nil
}
