package store

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"aftercare/internal/fleet"
)

type sessionRow struct {
	bun.BaseModel `bun:"table:sessions"`
	Tenant        string `bun:"tenant,pk"`
	ID            string `bun:"id,pk"`
	PersonID      string `bun:"person_id"`
	Hash          string `bun:"hash"`
	Agent         string `bun:"agent"`
	CreatedAt     int64  `bun:"created_at"`
	UsedAt        int64  `bun:"used_at"`
	ExpiresAt     int64  `bun:"expires_at"`
	RevokedAt     int64  `bun:"revoked_at"`
}

func (r *sessionRow) session() (fleet.Session, error) {
	hash, err := hex.DecodeString(r.Hash)
	if err != nil {
		return fleet.Session{}, fmt.Errorf("session %q: hash: %w", r.ID, err)
	}
	return fleet.Session{ID: r.ID, Tenant: r.Tenant, PersonID: r.PersonID, Hash: hash, Agent: r.Agent, CreatedAt: fromMS(r.CreatedAt),
		UsedAt: fromMS(r.UsedAt), ExpiresAt: fromMS(r.ExpiresAt), RevokedAt: fromMS(r.RevokedAt)}, nil
}

// sessionKept is how long a session that has expired stays on record.
const sessionKept = 90 * 24 * time.Hour

// OpenSession keeps a new session. A link that is named is used up by it: CodeDenied if it was used before. What expired long
// ago is forgotten on the way.
func (s *Store) OpenSession(ctx context.Context, v fleet.Session, link string, linkExpires time.Time, events ...fleet.SecurityEvent) error {
	return s.write(ctx, fmt.Sprintf("open a session of %q", v.PersonID), func(tx bun.Tx) error {
		if link != "" {
			if err := useLink(ctx, tx, v.Tenant, link, linkExpires); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM used_links WHERE expires_at < ?", toMS(v.CreatedAt)); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE tenant = ? AND person_id = ? AND expires_at < ?",
			v.Tenant, v.PersonID, toMS(v.CreatedAt.Add(-sessionKept))); err != nil {
			return err
		}
		row := sessionRow{Tenant: v.Tenant, ID: v.ID, PersonID: v.PersonID, Hash: hex.EncodeToString(v.Hash), Agent: v.Agent,
			CreatedAt: toMS(v.CreatedAt), UsedAt: toMS(v.UsedAt), ExpiresAt: toMS(v.ExpiresAt)}
		if _, err := tx.NewInsert().Model(&row).Exec(ctx); err != nil {
			return err
		}
		return addEvents(ctx, tx, events)
	})
}

// UseLink uses up a link that works once; CodeDenied if it was used before.
func (s *Store) UseLink(ctx context.Context, tenant, link string, expires time.Time) error {
	return s.write(ctx, "use a link", func(tx bun.Tx) error { return useLink(ctx, tx, tenant, link, expires) })
}

func useLink(ctx context.Context, tx bun.Tx, tenant, link string, expires time.Time) error {
	res, err := tx.ExecContext(ctx, "INSERT INTO used_links (tenant, id, expires_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", tenant, link, toMS(expires))
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, fleet.Errorf(fleet.CodeDenied, "the link was used before: each works once"))
	}
	return nil
}

// SessionByHash returns the session whose token has the hash, also one that is over; CodeNotFound if there is none.
func (s *Store) SessionByHash(ctx context.Context, hash []byte) (fleet.Session, error) {
	var row sessionRow
	err := s.r.NewSelect().Model(&row).Where("hash = ?", hex.EncodeToString(hash)).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return fleet.Session{}, fleet.Errorf(fleet.CodeNotFound, "there is no such session")
	}
	if err != nil {
		return fleet.Session{}, fmt.Errorf("session: %w", err)
	}
	return row.session()
}

// SessionUsed notes when a session was used last.
func (s *Store) SessionUsed(ctx context.Context, tenant, id string, at time.Time) error {
	return s.write(ctx, "note that a session was used", func(tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE sessions SET used_at = ? WHERE tenant = ? AND id = ? AND used_at < ?", toMS(at), tenant, id, toMS(at))
		return err
	})
}

// RevokeSessions ends a session of a person, or all of hers but those that are over with an empty id, at the event's time. The
// event is written if one ended, which is what is returned.
func (s *Store) RevokeSessions(ctx context.Context, tenant, personID, id string, e fleet.SecurityEvent) (ended int, err error) {
	err = s.write(ctx, fmt.Sprintf("end sessions of %q", personID), func(tx bun.Tx) error {
		q := tx.NewUpdate().Model((*sessionRow)(nil)).Set("revoked_at = ?", toMS(e.At)).
			Where("tenant = ? AND person_id = ? AND revoked_at = 0 AND expires_at > ?", tenant, personID, toMS(e.At))
		if id != "" {
			q = q.Where("id = ?", id)
		}
		res, err := q.Exec(ctx)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if ended = int(n); err != nil || n == 0 {
			return err
		}
		return addEvents(ctx, tx, []fleet.SecurityEvent{e})
	})
	return ended, err
}

// Sessions returns those of a person, newest first, ended ones included.
func (s *Store) Sessions(ctx context.Context, tenant, personID string) ([]fleet.Session, error) {
	var rows []sessionRow
	err := s.r.NewSelect().Model(&rows).Where("tenant = ? AND person_id = ?", tenant, personID).Order("created_at DESC", "id").Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("sessions of %q: %w", personID, err)
	}
	out := make([]fleet.Session, len(rows))
	for i := range rows {
		if out[i], err = rows[i].session(); err != nil {
			return nil, err
		}
	}
	return out, nil
}
