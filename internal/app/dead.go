package app

import (
	"context"
	"time"

	"aftercare/internal/store"
)

// dead is what was given up, as the pages and the API see it: who tries again wakes those who send.
type dead struct {
	*store.Store
	s *server
}

// RetryDead is the store's.
func (d dead) RetryDead(ctx context.Context, tenant, id string, at time.Time) error {
	if err := d.Store.RetryDead(ctx, tenant, id, at); err != nil {
		return err
	}
	d.s.outreach.Wake()
	d.s.relay.Wake()
	return nil
}
