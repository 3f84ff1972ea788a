package outreach

import (
	"context"
	"errors"
	"time"

	"aftercare/internal/fleet"
)

// Pass leases what is due at now and handles it, one row after the other, until nothing is due: the loop without its clock.
func (o *Outreach) Pass(ctx context.Context, now time.Time) error {
	var errs []error
	for {
		rows, err := o.deps.Outbox.LeaseOutbox(ctx, fleet.OutboxMessage, now, o.config.Lease, o.config.Batch)
		if err != nil || len(rows) == 0 {
			return errors.Join(append(errs, err)...)
		}
		for _, r := range rows {
			errs = append(errs, o.process(ctx, r, now))
		}
	}
}

// Pass relays what is due at now.
func (r *Relay) Pass(ctx context.Context, now time.Time) error {
	_, err := r.pass(ctx, now)
	return err
}

// Failed names the class of an error, "" for none.
func Failed(err error) string {
	if err == nil {
		return ""
	}
	c, _ := classify(err)
	return [...]string{"again", "never", "gone"}[c]
}

// Wish is how long the receiver wants to be left alone.
func Wish(err error) time.Duration {
	_, after := classify(err)
	return after
}
