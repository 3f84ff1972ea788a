package store

import (
	"context"

	"aftercare/internal/fleet"
)

func (s *Store) SavePartner(ctx context.Context, p fleet.Partner) error {
	_, err := s.w.ExecContext(ctx, "INSERT INTO partners (tenant,id,name,partner) VALUES (?,?,?,'{}') ON CONFLICT DO NOTHING", p.Tenant, p.ID, p.Name)
	return err
}
